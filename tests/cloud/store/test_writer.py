"""Writes of one moment are one commit, and each writer hears what became of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from cloud.metrics import Metrics
from cloud.store import Found, Outcome
from cloud.store.memory import MemoryFrameStore
from cloud.store.writer import StoreWriter
from common.errors import StoreFull
from common.types import Box, FrameId, Layer

STORED, DUPLICATE = Outcome.STORED, Outcome.DUPLICATE
CAR = Box("car", 0.9, 1.0, 2.0, 3.0, 4.0)


class Store(MemoryFrameStore):
    """Counts commits; each waits until it may."""

    def __init__(self, max_bytes: int | None = None) -> None:
        super().__init__(max_bytes=max_bytes)
        self.commits = 0
        self.open = threading.Event()
        self.open.set()
        self.error: Exception | None = None

    def write(self, layers: Sequence[Layer], found: Sequence[Found]) -> tuple[Outcome, ...]:
        self.open.wait()
        self.commits += 1
        if self.error:
            raise self.error
        return super().write(layers, found)


@asynccontextmanager
async def writing(**options: Any) -> AsyncIterator[tuple[StoreWriter, Store, Metrics]]:
    store, metrics = Store(**options), Metrics(CollectorRegistry())
    writer = StoreWriter(store, metrics)
    worker = asyncio.create_task(writer.run())
    try:
        yield writer, store, metrics
    finally:
        store.open.set()
        worker.cancel()
        await asyncio.wait([worker])


def layer(seq: int, size: int = 10) -> Layer:
    return Layer(FrameId("gate", "b1", seq), 1000.0, bytes(size))


async def test_put_returns_when_it_is_stored() -> None:
    async with writing() as (writer, store, metrics):
        assert await writer.put([layer(1), layer(2)]) == (STORED, STORED)
        assert await writer.put([layer(2), layer(3)]) == (DUPLICATE, STORED)
        await writer.put_boxes(Found(layer(1).frame, (CAR,), "m"))
        stored = store.get(layer(1).frame)
        assert stored is not None
        assert (stored.boxes, stored.model) == ((CAR,), "m")
        assert metrics.registry.get_sample_value("glimpse_store_commit_seconds_count") == 3


async def test_what_gathers_during_a_commit_is_one_commit() -> None:
    async with writing() as (writer, store, _):
        store.open.clear()
        first = asyncio.create_task(writer.put([layer(0)]))
        await asyncio.sleep(0.05)  # it is on its way to the disk
        rest = [asyncio.create_task(writer.put([layer(n), layer(0)])) for n in range(1, 20)]
        boxes = asyncio.create_task(writer.put_boxes(Found(layer(7).frame, (CAR,), "m")))
        await asyncio.sleep(0)
        assert not first.done()
        store.open.set()
        assert await first == (STORED,)
        assert await asyncio.gather(*rest) == [(STORED, DUPLICATE)] * 19
        await boxes
        assert store.commits == 2
        stored = store.get(layer(7).frame)
        assert stored is not None
        assert stored.boxes == (CAR,)


async def test_a_full_store_fails_the_write_and_not_the_next() -> None:
    async with writing(max_bytes=100) as (writer, store, metrics):
        with pytest.raises(StoreFull):
            await writer.put([layer(1, 60), layer(2, 60)])
        assert store.held([layer(1).frame]) == frozenset()
        assert await writer.put([layer(3, 60)]) == (STORED,)
        assert metrics.registry.get_sample_value("glimpse_store_failures_total") == 1


async def test_any_other_failure_is_told_and_survived() -> None:
    async with writing() as (writer, store, metrics):
        store.error = OSError(5, "Input/output error")
        with pytest.raises(StoreFull, match="Input/output error"):
            await writer.put([layer(1)])
        store.error = None
        assert await writer.put([layer(1)]) == (STORED,)
        assert metrics.registry.get_sample_value("glimpse_store_failures_total") == 1


async def test_a_caller_that_left_is_stored_all_the_same() -> None:
    async with writing() as (writer, store, _):
        store.open.clear()
        gone = asyncio.create_task(writer.put([layer(1)]))
        await asyncio.sleep(0)
        gone.cancel()
        stays = asyncio.create_task(writer.put([layer(2)]))
        store.open.set()
        assert await stays == (STORED,)
        assert len(store.held([layer(1).frame, layer(2).frame])) == 2
