"""A camera's whole uplink and a whole server: streams grow old, certificates change, all arrives.

Both in this process, over real connections; what is swapped is swapped under both of them.
"""

from __future__ import annotations

import asyncio
import datetime
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cloud.access.certificates import cameras_authority, make_camera_certificate, make_certificates
from cloud.access.identity import Identities
from cloud.access.shown import read_certificate
from cloud.folder import data_files
from common.session import EdgePolicy, EdgeSession
from edge.ledger import Ledger
from edge.link.renewed import Links
from edge.settings import EdgeSettings
from edge.spool.sqlite import SqliteSpool
from edge.uplink import Uplink
from tests.cloud.serving import Served, serving, until

NOW = datetime.datetime.now(datetime.UTC)
QUICK = EdgePolicy(backoff_base=0.05, backoff_cap=0.2)


class Edge:
    """One camera, from coded layers on."""

    def __init__(self, folder: Path, server: str, model_id: int, **options: Any) -> None:
        links = Links(EdgeSettings(camera="gate", server=server, **options).link)
        self.spool = SqliteSpool(folder / "gate.sqlite", "gate", max_bytes=1 << 24)
        self.ledger = Ledger("b1", 0)
        session = EdgeSession(
            "gate", "b1", model_id, random=random.random, want_boxes=True, policy=QUICK
        )
        self.uplink = Uplink(session, links(), self.spool, self.ledger, renew=links)
        self.sent = 0

    def send(self, data: bytes) -> None:
        self.ledger.captured += 1
        self.ledger.on_coded(self.sent, 0.0, len(data))
        self.uplink.frame(self.sent, time.time(), data)
        self.sent += 1

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.uplink.run())
        try:
            yield
            self.uplink.end()
            await asyncio.wait_for(task, 20)
        finally:
            task.cancel()
            await asyncio.wait([task])
            self.waiting = self.spool.status().frames
            self.spool.close()


@pytest.fixture
def own(tmp_path: Path) -> dict[str, Path]:
    """Settings of a camera with a certificate."""
    files = make_camera_certificate(tmp_path / "data" / "tls", "gate", NOW)
    return {"certificate": files.certificate, "key": files.key}


def edge(served: Served, folder: Path, port: int, **options: Any) -> Edge:
    authority = data_files(served.settings.data)[2].authority
    model = served.running.ingest.intake.model_id
    return Edge(folder, f"127.0.0.1:{port}", model, ca=authority, **options)


def check_all_arrived(served: Served, camera: Edge) -> None:
    assert sorted(served.stored()) == list(range(camera.sent))
    stored = served.count("glimpse_layers_total", camera="gate", outcome="stored")
    assert stored == camera.sent == camera.ledger.acked
    assert camera.ledger.adds_up(camera.waiting)


async def test_old_streams_are_renewed_and_nothing_is_lost(
    tmp_path: Path, layers: list[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(tmp_path / "data", max_stream_age_s=1) as served:
        token = served.token("camera", "gate")
        camera = edge(served, tmp_path, served.running.port, token=token)
        async with camera.running():
            while camera.ledger.connections < 4:
                camera.send(layers[camera.sent % len(layers)])
                await asyncio.sleep(0.02)
            assert camera.uplink.trouble is None
        assert camera.sent >= 50
        check_all_arrived(served, camera)
        told = capsys.readouterr().out
        assert "trying again" not in told  # that is no trouble
        assert "renew: this stream has been open for long" in told


@asynccontextmanager
async def certified(folder: Path, own: dict[str, Path], layer: bytes) -> AsyncIterator[Edge]:
    """A camera with a certificate whose first layer is acked; at the end all has arrived."""
    changes: dict[str, Any] = {"mtls_listen": "127.0.0.1:0", "max_stream_age_s": 1}
    async with serving(folder / "data", **changes) as served:
        camera = edge(served, folder, served.running.mtls_port, **own)
        async with camera.running():
            camera.send(layer)
            await until(lambda: camera.ledger.acked == 1)
            yield camera
        check_all_arrived(served, camera)


async def test_certificates_of_both_sides_change_under_them(
    tmp_path: Path, layers: list[bytes], own: dict[str, Path]
) -> None:
    """New authorities all round: the old ones open no door any more, and nobody restarts."""
    data = tmp_path / "data"
    async with certified(tmp_path, own, layers[0]) as camera:
        old = read_certificate(own["certificate"].read_bytes())
        cameras_authority(data / "tls").unlink()
        cameras_authority(data / "tls").with_suffix(".key").unlink()
        make_camera_certificate(data / "tls", "gate", NOW)
        make_certificates(data / "tls", ["127.0.0.1"], NOW)
        Identities(data_files(data)[1]).withdraw(old)

        before = camera.ledger.connections
        await until(lambda: camera.ledger.connections >= before + 2)
        for n in range(5):
            camera.send(layers[n])
        await until(lambda: camera.ledger.acked == 6)


async def test_a_camera_that_is_withdrawn_is_out_by_the_next_stream_and_keeps_its_frames(
    tmp_path: Path, layers: list[bytes], own: dict[str, Path]
) -> None:
    data = tmp_path / "data"
    async with certified(tmp_path, own, layers[0]) as camera:
        shown = read_certificate(own["certificate"].read_bytes())
        Identities(data_files(data)[1]).withdraw(shown)
        await until(lambda: "withdrawn" in str(camera.uplink.trouble))
        camera.send(layers[1])
        await until(lambda: camera.spool.status().frames == 1)
        make_camera_certificate(data / "tls", "gate", NOW)
        await until(lambda: camera.ledger.acked == 2)
