"""Micro-batching: layers of all cameras wait a few milliseconds for each other, then run as one.

`submit` parks the caller until its layer's boxes are there. The queue is bounded: a full one makes
callers wait, which reaches the cameras as layers that are not read from their streams. First come,
first read: an inter layer finds the one that it leans on just read. A batch on which the detector
fails is halved, so that the layer at fault has none but itself without boxes.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from cloud.chains import Chains
from cloud.detector import Detection, LayerDetector
from cloud.metrics import Metrics
from common.codec import Coded
from common.errors import DecoderUnavailable, GlimpseError
from common.types import Layer

log = structlog.get_logger()

_Read = Callable[[], Coded]
_Answers = dict[int, Detection | GlimpseError]


@dataclass(eq=False)
class _Waiting:
    read: _Read
    done: asyncio.Future[Detection]
    since: float  # seconds of the monotonic clock


class BatchingDetector:
    """Runs a LayerDetector on one thread, a batch at a time.

    chains      reads what cameras send; it is this detector's alone
    window_s    how long the first layer of a batch waits for others, seconds
    most        layers in a batch at the most
    queue_size  layers that may wait; more make `submit` wait
    """

    def __init__(
        self,
        detector: LayerDetector,
        chains: Chains,
        metrics: Metrics,
        *,
        window_s: float = 0.003,
        most: int = 16,
        queue_size: int = 256,
    ) -> None:
        self._detector, self._chains, self._metrics = detector, chains, metrics
        self._window_s, self._most = window_s, most
        self.done = 0  # layers that were looked at, or tried
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(queue_size)
        self._waiting: deque[_Waiting] = deque()  # in the queue, or for room in it
        metrics.detect_queue.set_function(self._queue.qsize)
        self._turn = asyncio.Lock()  # a queue that was full lets late ones in first

    def wait(self, now: float) -> float:
        """For how long the first in the line has waited, seconds; `now` by the monotonic clock."""
        return now - self._waiting[0].since if self._waiting else 0.0

    async def submit(self, layer: Layer) -> Detection:
        """The boxes of a camera's layer; those of one boot are to be submitted in their order.

        Raises CorruptStream or ModelMismatch: this layer will never have any; DecoderUnavailable
        or StoreFull: the detector, or reading its chain, failed, and may not fail the next time.
        """
        return await self._submit(partial(self._chains.read, layer))

    async def submit_alone(self, data: bytes) -> Detection:
        """The boxes of a layer that leans on none. Raises as `submit` does."""
        return await self._submit(partial(self._detector.read, data))

    async def _submit(self, read: _Read) -> Detection:
        waiting = _Waiting(read, asyncio.get_running_loop().create_future(), time.monotonic())
        self._waiting.append(waiting)
        try:
            async with self._turn:
                await self._queue.put(waiting)
        except asyncio.CancelledError:
            self._waiting.remove(waiting)
            raise
        return await waiting.done

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            batch = await self._gather()
            if not batch:
                continue
            started = time.perf_counter()
            answers = await self._answers([waiting.read for waiting in batch])
            self._metrics.detect_seconds.observe(time.perf_counter() - started)
            self._metrics.detect_batch_size.observe(len(batch))
            self.done += len(batch)
            for waiting, answer in zip(batch, answers, strict=True):
                _settle(waiting.done, answer)

    async def _gather(self) -> list[_Waiting]:
        batch = [self._first(await self._queue.get())]
        if self._window_s > 0 and self._queue.qsize() + 1 < self._most:
            await asyncio.sleep(self._window_s)
        while len(batch) < self._most and not self._queue.empty():
            batch.append(self._first(self._queue.get_nowait()))
        return [waiting for waiting in batch if not waiting.done.done()]  # its caller has left

    def _first(self, waiting: _Waiting) -> _Waiting:
        """It came first, so it is the first in the line."""
        self._waiting.remove(waiting)
        return waiting

    async def _answers(self, layers: Sequence[_Read]) -> Sequence[Detection | GlimpseError]:
        try:
            return await asyncio.to_thread(self._work, layers)
        except Exception:  # not of the network: of reading, say
            log.exception("the detector failed", layers=len(layers))
            self._metrics.detect_failures.inc()
            return [_failed()] * len(layers)

    def _work(self, layers: Sequence[_Read]) -> list[Detection | GlimpseError]:
        """On the worker thread: one bad layer must not take its batch along."""
        answers: _Answers = {}
        read: dict[int, Coded] = {}
        for i, layer in enumerate(layers):
            try:
                read[i] = layer()
            except GlimpseError as error:
                answers[i] = error
        failures: list[Exception] = []
        answers |= self._halved(read, failures)
        if failures:
            log.error("the detector failed", layers=len(layers), exc_info=failures[0])
            self._metrics.detect_failures.inc()
        return [answers[i] for i in range(len(layers))]

    def _halved(self, read: Mapping[int, Coded], failures: list[Exception]) -> _Answers:
        try:
            return dict(zip(read, self._detector.detect_read(list(read.values())), strict=True))
        except GlimpseError as error:
            own: GlimpseError = error
        except Exception as error:  # noqa: BLE001  out of memory, say; it is logged with its batch
            failures.append(error)
            own = _failed()
        if len(read) <= 1:
            return dict.fromkeys(read, own)
        items, half = list(read.items()), len(read) // 2
        return {
            **self._halved(dict(items[:half]), failures),
            **self._halved(dict(items[half:]), failures),
        }


def _failed() -> DecoderUnavailable:
    return DecoderUnavailable("the detector failed; its log says why")


def _settle(done: asyncio.Future[Detection], answer: Detection | GlimpseError) -> None:
    if done.done():  # its caller left meanwhile
        return
    if isinstance(answer, GlimpseError):
        done.set_exception(answer)
    else:
        done.set_result(answer)
