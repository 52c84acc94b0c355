"""Layers that are stored and have no boxes are looked at again, without a restart."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

import cloud.intake
from cloud.bus import Bus
from cloud.detector import LayerDetector
from cloud.folder import data_files
from cloud.server import prepare
from cloud.store import Found
from cloud.store.sqlite import SqliteFrameStore
from cloud.store.writer import StoreWriter
from common.codec import Coded
from common.errors import StoreFull
from common.types import FrameId, Layer
from tests.cloud.serving import PATIENCE_S, serving, settings, until
from tests.cloud.test_ingest import held


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud.intake, "_AGAIN_S", 0.05)
    monkeypatch.setattr(cloud.intake, "_AGAIN_MOST_S", 0.1)


async def test_boxes_that_the_disk_did_not_take_come_later(
    tmp_path: Path, layers: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failures = StoreWriter.put_boxes, list(range(5))

    async def failing(writer: StoreWriter, found: Found) -> None:
        if failures:
            failures.pop()
            raise StoreFull("no room left")
        await real(writer, found)

    monkeypatch.setattr(StoreWriter, "put_boxes", failing)
    async with serving(tmp_path) as served, served.camera() as camera:
        await camera.send(*enumerate(layers[:3]))
        await camera.boxes(range(3))  # the camera has them, the store has not
        await until(lambda: all(f.boxes is not None for f in served.stored().values()))
    assert not failures


async def test_a_disk_that_cannot_be_read_ends_nobody(
    tmp_path: Path, layers: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failures = SqliteFrameStore.undetected, list(range(3))

    def failing(store: SqliteFrameStore, limit: int) -> tuple[Layer, ...]:
        if failures:
            failures.pop()
            raise StoreFull("disk I/O error")
        return real(store, limit)

    monkeypatch.setattr(SqliteFrameStore, "undetected", failing)
    async with serving(tmp_path) as served, served.camera() as camera:
        await until(lambda: not failures)
        await camera.send((0, layers[0]))
        await camera.boxes([0])


async def test_hopeless_layers_do_not_stand_before_the_others(
    tmp_path: Path, layers: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them than failures that end a round, and older than all others."""
    monkeypatch.setattr(cloud.intake, "_CATCH_UP_FAILURES", 2)
    monkeypatch.setattr(cloud.intake, "_CATCH_UP", 2)
    real, is_broken = LayerDetector.detect_read, [True]

    def fragile(self: LayerDetector, read: list[Coded]) -> Any:
        if is_broken and any(coded.data == layers[0] for coded in read):
            raise RuntimeError("out of memory")
        return real(self, read)

    monkeypatch.setattr(LayerDetector, "detect_read", fragile)
    prepare(settings(tmp_path))
    store = SqliteFrameStore(data_files(tmp_path)[0])
    store.put([Layer(FrameId("gate", "b0", n), 1.0, layers[n >= 5]) for n in range(8)])
    store.close()
    # Structlog's own way to print what was raised takes seconds for each.
    with capture_logs() as told:
        async with serving(tmp_path) as served:

            def without() -> set[int]:
                return {seq for seq, frame in served.stored().items() if frame.boxes is None}

            await until(lambda: without() == set(range(5)))
            is_broken.clear()
            await until(lambda: not without())
    assert any(entry["event"] == "the detector failed" for entry in told)


async def test_a_layer_whose_way_ends_in_an_error_is_looked_at_again(
    tmp_path: Path, layers: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failures = Bus.publish, [1]

    def failing(bus: Bus[Any], item: Any) -> None:
        if failures:
            failures.pop()
            raise RuntimeError("nobody thought of this")
        real(bus, item)

    monkeypatch.setattr(Bus, "publish", failing)
    async with serving(tmp_path) as served, served.camera() as camera:
        await camera.send((0, layers[0]))
        await camera.acks(1)
        await until(lambda: served.stored()[0].boxes is not None)
    assert not failures


async def test_a_layer_that_comes_again_while_others_are_caught_up_with(
    tmp_path: Path, layers: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The catch-up passes it over, as it is in hand; and it turns out to be stored already."""
    prepare(settings(tmp_path))
    store = SqliteFrameStore(data_files(tmp_path)[0])
    store.put([Layer(FrameId("gate", "b1", 0), 1.0, layers[0])])
    store.close()
    real, go = SqliteFrameStore.undetected, threading.Event()
    looks: list[tuple[Layer, ...]] = []

    def late(store: SqliteFrameStore, limit: int) -> tuple[Layer, ...]:
        go.wait(PATIENCE_S)
        looks.append(real(store, limit))
        return looks[-1]

    monkeypatch.setattr(SqliteFrameStore, "undetected", late)
    with held(monkeypatch, LayerDetector, "detect_read") as gate:
        async with serving(tmp_path) as served, served.camera() as camera:
            await camera.send((0, layers[0]))
            await camera.acks(1)
            await until(lambda: bool(served.running.ingest.intake._in_hand))
            go.set()
            await until(lambda: bool(looks))
            assert len(looks[0]) == 1
            gate.set()
            await until(lambda: served.stored()[0].boxes is not None)
