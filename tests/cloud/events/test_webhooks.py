"""Webhooks to a real HTTP server: signed, in order, at least once, tried again when it may help."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from cloud.events.outbox import Outbox
from cloud.events.webhooks import Pace, Webhook, read_secret
from cloud.metrics import Metrics
from common.errors import BadSettings
from tests.cloud.receiver import SECRET, Receiver, receiving
from tests.cloud.serving import until

QUICK = Pace(timeout_s=5.0, first_s=0.02, most_s=0.05, give_up_s=3600.0)


class Rig:
    """One webhook and what it stands on."""

    def __init__(self, folder: Path, url: str, pace: Pace = QUICK, queue: int = 100) -> None:
        self.secret = folder / "secret"
        if not self.secret.exists():
            self.secret.write_bytes(SECRET + b"\n")
        self.metrics = Metrics(CollectorRegistry())
        self.outbox = Outbox(folder / "outbox.sqlite3")
        self.hook = Webhook(
            "office", url, self.secret, self.outbox, self.metrics, pace=pace, queue=queue
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Webhook]:
        task = asyncio.create_task(self.hook.run())
        try:
            yield self.hook
        finally:
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            self.outbox.close()

    def count(self, outcome: str) -> float:
        labels = {"webhook": "office", "outcome": outcome}
        return self.metrics.registry.get_sample_value("glimpse_webhooks_total", labels) or 0.0


def bodies(receiver: Receiver) -> list[int]:
    return [message["n"] for _, message in receiver.taken]


async def put(hook: Webhook, *numbers: int) -> None:
    for n in numbers:
        await hook.put(f"gate/b1/{n}", b'{"n": %d}' % n)


def answers(*statuses: int, **headers: str) -> Callable[[], web.Response]:
    """These one after the other, then 200."""
    waiting = iter(statuses)

    def answer() -> web.Response:
        status = next(waiting, 200)
        return web.Response(status=status, headers=headers if status != 200 else None)

    return answer


async def test_signed_and_in_order(tmp_path: Path) -> None:
    async with receiving() as receiver:
        rig = Rig(tmp_path, receiver.url)
        async with rig.running() as hook:
            await put(hook, *range(20))
            await until(lambda: rig.count("delivered") == 20)
        assert bodies(receiver) == list(range(20))
        assert receiver.taken[7][0] == "gate/b1/7"
        assert receiver.tries == [f"gate/b1/{n}" for n in range(20)]


@pytest.mark.parametrize("status", [500, 503, 429, 408])
async def test_what_may_pass_is_tried_again(tmp_path: Path, status: int) -> None:
    async with receiving(answer=answers(status, status)) as receiver:
        rig = Rig(tmp_path, receiver.url)
        async with rig.running() as hook:
            await put(hook, 0, 1)
            await until(lambda: bodies(receiver) == [0, 1])
            await until(lambda: rig.count("delivered") == 2)
        assert receiver.tries == ["gate/b1/0"] * 3 + ["gate/b1/1"]
        assert (rig.count("failed"), rig.count("dropped")) == (2, 0)


@pytest.mark.parametrize("status", [400, 401, 404, 410, 301])
async def test_what_will_not_pass_is_dropped_and_counted(tmp_path: Path, status: int) -> None:
    async with receiving(answer=answers(status, Location="/elsewhere")) as receiver:
        rig = Rig(tmp_path, receiver.url)
        async with rig.running() as hook:
            await put(hook, 0, 1)
            await until(lambda: bodies(receiver) == [1])
        assert (rig.count("failed"), rig.count("dropped")) == (0, 1)


async def test_it_waits_as_long_as_it_is_asked_to(tmp_path: Path) -> None:
    answer = answers(503, **{"Retry-After": "1"})
    async with receiving(answer=answer) as receiver:
        rig = Rig(tmp_path, receiver.url)
        async with rig.running() as hook:
            began = asyncio.get_running_loop().time()
            await put(hook, 0)
            await until(lambda: bodies(receiver) == [0])
            assert asyncio.get_running_loop().time() - began >= 1.0


async def test_a_receiver_that_is_away_gets_everything_later(tmp_path: Path) -> None:
    async with receiving() as receiver:
        url = receiver.url
    rig = Rig(tmp_path, url)
    async with rig.running() as hook:
        await put(hook, 0, 1, 2)
        await until(lambda: rig.count("failed") >= 3)
        async with receiving(port=int(url.split(":")[2].split("/")[0])) as receiver:
            await until(lambda: bodies(receiver) == [0, 1, 2])


async def test_one_that_does_not_answer_in_time(tmp_path: Path) -> None:
    async with receiving(pause_s=0.3) as receiver:
        rig = Rig(tmp_path, receiver.url, replace(QUICK, timeout_s=0.1))
        async with rig.running() as hook:
            await put(hook, 0)
            await until(lambda: rig.count("failed") >= 1)
            receiver.pause_s = 0.0
            await until(lambda: rig.count("delivered") == 1)
        assert set(receiver.tries) == {"gate/b1/0"}  # more than once, and its key says so


async def test_what_waits_is_sent_by_the_next_process(tmp_path: Path) -> None:
    rig = Rig(tmp_path, "http://127.0.0.1:9/hook")
    async with rig.running() as hook:
        await put(hook, 0, 1)
        await until(lambda: rig.count("failed") >= 1)
    async with receiving() as receiver:
        second = Rig(tmp_path, receiver.url)
        async with second.running():
            await until(lambda: bodies(receiver) == [0, 1])


async def test_a_full_queue_lets_the_oldest_go(tmp_path: Path) -> None:
    async with receiving(answer=answers(*[503] * 5, **{"Retry-After": "0"})) as receiver:
        rig = Rig(tmp_path, receiver.url, queue=3)
        await put(rig.hook, *range(7))
        assert rig.count("overflowed") == 4
        async with rig.running():
            await until(lambda: bodies(receiver) == [4, 5, 6])


async def test_what_fails_for_too_long_is_dropped(tmp_path: Path) -> None:
    async with receiving(answer=lambda: web.Response(status=500)) as receiver:
        rig = Rig(tmp_path, receiver.url, replace(QUICK, give_up_s=0.2))
        async with rig.running() as hook:
            await put(hook, 0)
            await until(lambda: rig.count("dropped") == 1)
            assert rig.count("failed") >= 1
            receiver.answer = web.Response
            await put(hook, 1)
            await until(lambda: bodies(receiver) == [1])


async def test_the_secret_is_read_anew(tmp_path: Path) -> None:
    async with receiving() as receiver:
        rig = Rig(tmp_path, receiver.url)
        async with rig.running() as hook:
            await put(hook, 0)
            await until(lambda: bodies(receiver) == [0])
            rig.secret.write_bytes(b"")  # half of a change
            await put(hook, 1)
            await until(lambda: rig.count("failed") >= 1)
            receiver.secret = b"another secret, longer"
            rig.secret.write_bytes(receiver.secret)
            await until(lambda: bodies(receiver) == [0, 1])


@pytest.mark.parametrize("content", [b"", b"short", b"  fifteen bytes  \n"])
def test_a_secret_that_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "secret"
    with pytest.raises(BadSettings, match="secret_file"):
        read_secret(path)
    path.write_bytes(content)
    with pytest.raises(BadSettings, match="no secret"):
        read_secret(path)


def test_pauses_double_up_to_a_bound_and_a_part_of_them_is_waited(tmp_path: Path) -> None:
    rig = Rig(tmp_path, "http://127.0.0.1:9/hook", Pace(first_s=1.0, most_s=10.0))
    rig.hook._draw = lambda: 0.5
    waits = [rig.hook._wait(failures, None) for failures in range(1, 7)]
    assert waits == [0.5, 1, 2, 4, 5, 5]
    assert rig.hook._wait(1, 7.0) == 7.0
    assert rig.hook._wait(1, 1e9) == 3600.0
    rig.outbox.close()
