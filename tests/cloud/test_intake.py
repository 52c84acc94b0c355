"""Layers that are stored and have no boxes are looked at again, without a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

import cloud.intake
from cloud.store import Found
from cloud.store.sqlite import SqliteFrameStore
from cloud.store.writer import StoreWriter
from common.errors import StoreFull
from common.types import Layer
from tests.cloud.serving import serving, until


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud.intake, "_AGAIN_S", 0.05)


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
