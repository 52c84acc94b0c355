"""Layers share batches, and not their fates."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from cloud.batching import BatchingDetector
from cloud.chains import Chains
from cloud.detector import LayerDetector
from cloud.metrics import Metrics
from common.codec import Coded
from common.errors import CorruptStream, DecoderUnavailable, ModelMismatch, StoreFull
from common.types import FrameId, Layer

NOTHING = np.zeros((1, 1, 1), np.int16)


class Detector:
    """Answers a layer with its own bytes.

    b'bad' cannot be read, b'away' not now; b'fatal' breaks the detector, b'other' is not for it.
    """

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.open = threading.Event()
        self.open.set()

    def read(self, layer: bytes, last: Coded | None = None) -> Coded:
        if layer == b"bad":
            raise CorruptStream("bad")
        if layer == b"away":
            raise StoreFull("disk I/O error")
        return Coded(layer, cast(Any, None), NOTHING, NOTHING, 0, 1)

    def detect_read(self, layers: Sequence[Coded]) -> tuple[Any, ...]:
        self.open.wait()
        batch = [layer.data for layer in layers]
        self.batches.append(batch)
        if b"fatal" in batch:
            raise RuntimeError("out of memory")
        if b"other" in batch:
            raise ModelMismatch("no recogniser")
        return tuple(batch)


@asynccontextmanager
async def batching(**options: Any) -> AsyncIterator[tuple[BatchingDetector, Detector, Metrics]]:
    metrics, detector = Metrics(CollectorRegistry()), Detector()
    chains = Chains(detector.read, lambda _: (), metrics, max_bytes=1 << 20)
    batcher = BatchingDetector(cast(LayerDetector, detector), chains, metrics, **options)
    worker = asyncio.create_task(batcher.run())
    try:
        yield batcher, detector, metrics
    finally:
        detector.open.set()
        worker.cancel()
        await asyncio.wait([worker])


def submit(batcher: BatchingDetector, data: bytes) -> Any:
    return batcher.submit(Layer(FrameId("gate", "b1", 0), 0.0, data))


def many(batcher: BatchingDetector, layers: Sequence[bytes]) -> list[asyncio.Task[Any]]:
    return [asyncio.create_task(submit(batcher, layer)) for layer in layers]


async def test_layers_that_come_together_run_together() -> None:
    async with batching(window_s=0.01) as (batcher, detector, metrics):
        layers = [bytes([n]) for n in range(10)]
        assert await asyncio.gather(*many(batcher, layers)) == layers
        assert detector.batches == [layers]
        count = metrics.registry.get_sample_value
        assert count("glimpse_detect_batch_size_sum") == 10
        assert count("glimpse_detect_seconds_count") == 1


async def test_a_batch_has_a_bound() -> None:
    async with batching(most=4) as (batcher, detector, _):
        layers = [bytes([n]) for n in range(10)]
        await asyncio.gather(*many(batcher, layers))
        assert [len(batch) for batch in detector.batches] == [4, 4, 2]


async def test_without_a_window_a_lone_layer_does_not_wait() -> None:
    async with batching(window_s=0) as (batcher, detector, _):
        assert await submit(batcher, b"a") == b"a"
        assert cast(Any, await batcher.submit_alone(b"b")) == b"b"
        assert detector.batches == [[b"a"], [b"b"]]


async def test_a_bad_layer_fails_alone() -> None:
    async with batching() as (batcher, detector, _):
        a, bad, b = many(batcher, [b"a", b"bad", b"b"])
        assert [await a, await b] == [b"a", b"b"]
        with pytest.raises(CorruptStream):
            await bad
        assert detector.batches == [[b"a", b"b"]]


async def test_a_layer_whose_chain_cannot_be_read_now_fails_alone() -> None:
    async with batching() as (batcher, _, _metrics):
        a, away, b = many(batcher, [b"a", b"away", b"b"])
        assert [await a, await b] == [b"a", b"b"]
        with pytest.raises(StoreFull):
            await away


async def test_a_detector_that_breaks_is_told_counted_and_used_again() -> None:
    async with batching() as (batcher, _, metrics):
        for task in many(batcher, [b"fatal", b"fatal", b"fatal"]):
            with pytest.raises(DecoderUnavailable):
                await task
        assert metrics.registry.get_sample_value("glimpse_detect_failures_total") == 1
        assert await submit(batcher, b"b") == b"b"


async def test_a_layer_that_breaks_the_detector_does_so_alone() -> None:
    async with batching() as (batcher, _, metrics):
        layers = [b"%d" % n for n in range(16)]
        layers[3], layers[11] = b"fatal", b"other"
        tasks = many(batcher, layers)
        for n, (layer, task) in enumerate(zip(layers, tasks, strict=True)):
            if n == 3:
                with pytest.raises(DecoderUnavailable):
                    await task
            elif n == 11:
                with pytest.raises(ModelMismatch):
                    await task
            else:
                assert await task == layer
        assert metrics.registry.get_sample_value("glimpse_detect_failures_total") == 1


async def test_who_has_left_is_not_served() -> None:
    async with batching() as (batcher, detector, metrics):
        detector.open.clear()
        [first] = many(batcher, [b"first"])
        await asyncio.sleep(0.05)  # it is on the worker's thread now
        gone, stays = many(batcher, [b"gone", b"stays"])
        await asyncio.sleep(0)
        gone.cancel()
        first.cancel()
        detector.open.set()
        assert await stays == b"stays"
        assert detector.batches == [[b"first"], [b"stays"]]
        assert metrics.registry.get_sample_value("glimpse_detect_batch_size_sum") == 2


async def test_a_full_queue_makes_callers_wait() -> None:
    async with batching(most=1, queue_size=2, window_s=0) as (batcher, detector, _):
        detector.open.clear()
        tasks = many(batcher, [bytes([n]) for n in range(8)])
        await asyncio.sleep(0.05)  # as many as can have gone in
        assert batcher._queue.qsize() == 2
        detector.open.set()
        assert await asyncio.gather(*tasks) == [bytes([n]) for n in range(8)]


async def test_first_come_first_read_even_where_the_queue_was_full() -> None:
    async with batching(most=1, queue_size=1, window_s=0) as (batcher, detector, _):
        tasks = []
        for n in range(40):
            tasks += many(batcher, [bytes([n])])
            if n % 4 == 3:  # those that come now meet others that wait for room
                await tasks[n // 2]
        await asyncio.gather(*tasks)
        assert detector.batches == [[bytes([n])] for n in range(40)]
