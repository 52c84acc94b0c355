"""The server's disk gets full while a camera sends: nothing that was acked is lost, all arrives."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

import cloud.intake
from bench.service.disk import fill, mounted
from cloud.folder import data_files
from tests.cloud.serving import Served, serving, until
from tests.e2e.test_renewal import check_all_arrived, edge

Full = tuple[Callable[[], object], Callable[[], object]]


@contextmanager
def filling(data: Path, served: list[Served]) -> Iterator[Full]:
    """How the store's disk is filled, and freed again: a real one, where one may be mounted."""

    def pages(most: int) -> None:  # SQLite's own bound: what can be had everywhere
        store: Any = served[0].running.ingest.intake._store
        store._database._db.execute(f"PRAGMA max_page_count = {most}")

    with mounted(data, 1 << 20) as is_mounted:
        if is_mounted:
            yield lambda: fill(data), lambda: (data / "filler").unlink()
        else:
            yield lambda: pages(1), lambda: pages(1 << 30)


async def test_a_full_store(
    tmp_path: Path,
    layers: list[bytes],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cloud.intake, "_AGAIN_S", 0.1)
    data, servers = tmp_path / "data", list[Served]()
    with filling(data, servers) as (fill_up, free):
        async with serving(data) as served:
            servers.append(served)
            token = served.token("camera", "gate")
            camera = edge(served, tmp_path, served.running.port, token=token)
            async with camera.running():
                camera.send(layers[0])
                await until(lambda: camera.ledger.acked == 1)
                fill_up()
                while camera.uplink.trouble is None:  # there is some room in files already
                    camera.send(layers[camera.sent % len(layers)])
                    await asyncio.sleep(0.02)
                assert "no room left" in str(camera.uplink.trouble)
                acked = camera.ledger.acked
                assert sorted(served.stored())[:acked] == list(range(acked))
                assert acked < camera.sent
                free()
                await until(lambda: camera.ledger.acked == camera.sent)
                assert camera.uplink.trouble is None
            check_all_arrived(served, camera)
            await until(lambda: without_boxes(data) == 0)
    assert capsys.readouterr().out.count("trying again") == 1


def without_boxes(data: Path) -> int:
    path = data_files(data)[0]
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        [count] = db.execute("SELECT count(*) FROM frame WHERE boxes IS NULL").fetchone()
    return int(count)
