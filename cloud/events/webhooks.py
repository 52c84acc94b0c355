"""Webhooks: messages in an outbox, posted one after the other, each until it is taken.

Taken is what is answered with 2xx. What may pass (no connection, no answer in time, 408, 425, 429,
5xx) is tried again after a random part of a pause that doubles, or after what the receiver asks
for; what will not pass (any other answer) is dropped, logged and counted, and so is what was tried
in vain for `give_up_s`. So each message comes at least once, in order, and maybe twice: its
Idempotency-Key tells. Redirects are not followed: a signed message goes where it was told to go.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

import aiohttp
import structlog

from cloud.events.outbox import Message, Outbox
from cloud.metrics import Metrics
from common.errors import BadSettings, StoreFull
from glimpse.webhooks import KEY, SIGNATURE, sign_webhook

log = structlog.get_logger()

_MAY_PASS = frozenset({408, 425, 429})
_LEAST_SECRET = 16  # bytes
_MOST_RETRY_AFTER_S = 3600.0


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds. The bound of a pause begins at `first_s` and doubles up to `most_s`."""

    timeout_s: float = 10.0
    first_s: float = 1.0
    most_s: float = 300.0
    give_up_s: float = 86_400.0


class _Answer(Enum):
    TAKEN = auto()
    LATER = auto()
    NEVER = auto()


@dataclass(frozen=True, slots=True)
class _Result:
    """retry_after: seconds, None if the receiver did not say."""

    answer: _Answer
    reason: str
    retry_after: float | None = None


class Webhook:
    """Posts one receiver's queue to its URL.

    secret_file  read anew for each try, so that it can be replaced
    queue        messages that wait at the most
    """

    def __init__(
        self,
        name: str,
        url: str,
        secret_file: Path,
        outbox: Outbox,
        metrics: Metrics,
        *,
        pace: Pace,
        queue: int,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self._url, self._secret_file, self._outbox, self._metrics = (
            url,
            secret_file,
            outbox,
            metrics,
        )
        self._pace, self._queue, self._draw = pace, queue, draw
        self._stirred = asyncio.Event()
        read_secret(secret_file)

    async def put(self, key: str, body: bytes) -> None:
        """Returns when the message is on disk. Raises StoreFull: then it is not."""
        put = self._outbox.put
        gone = await asyncio.to_thread(put, self.name, key, body, most=self._queue)
        self._count("overflowed", gone)
        self._stirred.set()

    async def run(self) -> None:
        """Works until cancelled."""
        timeout = aiohttp.ClientTimeout(total=self._pace.timeout_s)
        async with aiohttp.ClientSession(timeout=timeout, trust_env=True) as session:
            while True:
                self._stirred.clear()
                try:
                    await self._empty(session)
                except StoreFull as error:  # of the disk; what was posted may be posted again
                    log.warning("the outbox fails", webhook=self.name, reason=str(error))
                    await asyncio.sleep(self._pace.most_s * self._draw())
                    continue
                await self._stirred.wait()

    async def _empty(self, session: aiohttp.ClientSession) -> None:
        """Posts what waits."""
        failures = 0
        while message := await asyncio.to_thread(self._outbox.first, self.name):
            await self._measure()
            result = await self._post(session, message)
            if result.answer is _Answer.LATER and not self._is_hopeless(message):
                failures += 1
                if failures == 1:
                    log.warning("webhook waits", webhook=self.name, reason=result.reason)
                self._count("failed")
                await asyncio.sleep(self._wait(failures, result.retry_after))
                continue
            if result.answer is _Answer.TAKEN:
                failures = 0
                self._count("delivered")
            else:
                log.warning(
                    "webhook dropped", webhook=self.name, key=message.key, reason=result.reason
                )
                self._count("dropped")
            await asyncio.to_thread(self._outbox.done, message)
        await self._measure()

    async def _post(self, session: aiohttp.ClientSession, message: Message) -> _Result:
        try:
            secret = read_secret(self._secret_file)
        except BadSettings as error:  # it is being replaced, one hopes
            return _Result(_Answer.LATER, str(error))
        headers = {
            "Content-Type": "application/json",
            KEY: message.key,
            SIGNATURE: sign_webhook(message.body, secret, int(time.time())),
        }
        try:
            async with session.post(
                self._url, data=message.body, headers=headers, allow_redirects=False
            ) as response:
                return _judge(response)
        except TimeoutError:
            return _Result(_Answer.LATER, f"no answer within {self._pace.timeout_s:g} s")
        except (aiohttp.ClientError, OSError) as error:
            return _Result(_Answer.LATER, str(error) or type(error).__name__)

    def _wait(self, failures: int, retry_after: float | None) -> float:
        if retry_after is not None:
            return min(retry_after, _MOST_RETRY_AFTER_S)
        bound = min(self._pace.most_s, self._pace.first_s * 2.0 ** min(failures - 1, 64))
        return self._draw() * bound

    def _is_hopeless(self, message: Message) -> bool:
        return time.time() - message.put_at > self._pace.give_up_s

    async def _measure(self) -> None:
        waiting = await asyncio.to_thread(self._outbox.waiting, self.name)
        self._metrics.webhook_queue.labels(self.name).set(waiting)

    def _count(self, outcome: str, messages: int = 1) -> None:
        self._metrics.webhooks.labels(self.name, outcome).inc(messages)


def _judge(response: aiohttp.ClientResponse) -> _Result:
    status = response.status
    reason = f"{status} {response.reason or ''}".rstrip()
    if 200 <= status < 300:
        return _Result(_Answer.TAKEN, reason)
    if status >= 500 or status in _MAY_PASS:
        after = response.headers.get("Retry-After", "")
        seconds = float(after) if after.isascii() and after.isdigit() else None  # or it is a date
        return _Result(_Answer.LATER, reason, seconds)
    return _Result(_Answer.NEVER, reason)


def read_secret(path: Path) -> bytes:
    """Without the white space around it. Raises BadSettings."""
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise BadSettings(f"secret_file {path}: {error.strerror}") from error
    if len(secret) < _LEAST_SECRET:
        raise BadSettings(f"secret_file {path}: fewer than {_LEAST_SECRET} bytes are no secret")
    return secret
