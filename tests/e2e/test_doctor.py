"""`glimpse-edge doctor` against a real server, well and ill."""

from __future__ import annotations

import asyncio
import datetime
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cloud.access.certificates import make_camera_certificate, make_certificates
from cloud.folder import data_files
from common.findings import Finding
from edge.coding.weights import DEFAULT_WEIGHTS
from edge.coding.weights import load_weights as load_edge_weights
from edge.doctor import examine
from edge.link.doctor import Wish, hops
from edge.link.peer import own_expiry
from edge.settings import EdgeSettings, read_settings
from tests.cloud.serving import Served, serving
from tests.weights import photograph

NOW = datetime.datetime.now(datetime.UTC)
LONG_AGO = NOW - datetime.timedelta(days=400)
MODEL = load_edge_weights().manifest.model_id
WAY = ["name", "connection", "tls", "round trip", "model", "clock", "login", "upload", "keepalive"]


def camera_of(served: Served, **changes: Any) -> EdgeSettings:
    """A camera that does everything right but for the changes."""
    data = served.settings.data
    token = changes.pop("token", None) or served.token("camera", "gate")
    right = {
        "camera": "gate",
        "server": f"localhost:{served.running.port}",
        "ca": data_files(data)[2].authority,
        "token": token,
    }
    return read_settings(**(right | changes))


async def way(settings: EdgeSettings, **wish: Any) -> dict[str, Finding]:
    """What the doctor finds on the way to the server, in order."""
    found = [one async for one in hops(settings, Wish(**({"model_id": MODEL} | wish)))]
    return {one.about: one for one in found}


def levels(found: dict[str, Finding]) -> dict[str, str]:
    return {about: one.level for about, one in found.items()}


async def test_all_is_well(tmp_path: Path) -> None:
    picture = tmp_path / "photo.png"
    Image.fromarray(photograph(np.random.default_rng(8), 120, 160)).save(picture)
    async with serving(tmp_path) as served:
        settings = camera_of(served, source=str(picture), spool=tmp_path / "spool", fps=0.1)
        found = [one async for one in examine(settings, Wish(None))]
    assert [one.about for one in found] == [
        "version",
        "camera",
        "weights",
        "encoder",
        "spool",
        *WAY,
    ]
    assert [one for one in found if one.level != "ok"] == []
    assert "160 x 120" in found[1].says
    assert not (tmp_path / "spool").exists()  # it only looks


async def test_the_camera_that_runs_is_not_disturbed(tmp_path: Path, layers: list[bytes]) -> None:
    async with serving(tmp_path) as served, served.camera() as running:
        found = await way(camera_of(served))
        assert found["login"].level == "ok"
        await running.send((0, layers[0]))
        await running.acks(1)
        assert served.count("glimpse_sessions") == 1


@pytest.mark.parametrize("role", ["nobody", "viewer"])
async def test_a_wrong_token(tmp_path: Path, role: str) -> None:
    async with serving(tmp_path) as served:
        token = served.viewer_token if role == "viewer" else "nobodys-token"
        found = await way(camera_of(served, token=token))
    assert levels(found)["login"] == "fail"
    assert "glimpse-cloud token" in found["login"].do
    assert list(found) == WAY


class TestCertificates:
    async def test_expired(self, tmp_path: Path) -> None:
        make_certificates(data_files(tmp_path)[2].authority.parent, ["localhost"], LONG_AGO)
        async with serving(tmp_path) as served:
            found = await way(camera_of(served))
        assert list(found) == ["name", "connection", "tls"]
        assert found["tls"].level == "fail"
        assert "expired" in found["tls"].says
        assert "glimpse-cloud certificates" in found["tls"].do

    async def test_about_to_expire(self, tmp_path: Path) -> None:
        made = NOW - datetime.timedelta(days=390)
        make_certificates(data_files(tmp_path)[2].authority.parent, ["localhost"], made)
        async with serving(tmp_path) as served:
            found = await way(camera_of(served))
        assert found["tls"].level == "warn"
        assert "has 7 days left" in found["tls"].says

    async def test_for_another_host(self, tmp_path: Path) -> None:
        make_certificates(data_files(tmp_path)[2].authority.parent, ["example.org"], NOW)
        async with serving(tmp_path) as served:
            found = await way(camera_of(served))
        assert "for another host" in found["tls"].says

    async def test_of_another_authority(self, tmp_path: Path) -> None:
        other = make_certificates(tmp_path / "other", ["localhost"], NOW)
        async with serving(tmp_path) as served:
            found = await way(camera_of(served, ca=other.authority))
        assert "not signed by the authority" in found["tls"].says
        assert "--ca" in found["tls"].do

    async def test_the_cameras_own(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as served:
            folder = data_files(tmp_path)[2].authority.parent
            for made, level in ((NOW, "ok"), (LONG_AGO, "fail")):
                files = make_camera_certificate(folder, "gate", made)
                own = {"certificate": files.certificate, "key": files.key}
                found = await way(camera_of(served, **own))
                assert found["own tls"].level == level
            assert "expired" in found["own tls"].says
            assert "certificates --camera gate" in found["own tls"].do

    def test_days_of_ones_own(self, tmp_path: Path) -> None:
        files = make_camera_certificate(tmp_path, "gate", NOW)
        end = own_expiry(files.certificate, files.key)
        assert end == int((NOW + datetime.timedelta(days=397)).timestamp())


async def test_a_server_without_tls(tmp_path: Path) -> None:
    async with serving(tmp_path, insecure=True) as served:
        ca = make_certificates(tmp_path / "other", ["localhost"], NOW).authority
        found = await way(camera_of(served, ca=ca))
        assert "does not speak TLS" in found["tls"].says
        found = await way(camera_of(served, ca=None, insecure=True))
        assert found["tls"].level == "warn"
        assert found["login"].level == "ok"


async def test_another_model(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        found = await way(camera_of(served), model_id=MODEL ^ 1)
    assert found["model"].level == "fail"
    assert f"{MODEL:04x}" in found["model"].says


async def test_weights_that_are_damaged(tmp_path: Path) -> None:
    weights = Path(shutil.copytree(DEFAULT_WEIGHTS, tmp_path / "weights"))
    with (weights / "tables.npz").open("r+b") as file:
        file.seek(1000)
        file.write(b"damage")
    async with serving(tmp_path) as served:
        settings = camera_of(served, weights=weights, source=str(tmp_path), fps=0.1)
        found = {one.about: one async for one in examine(settings, Wish(None))}
    assert found["weights"].level == "fail"
    assert "tables.npz" in found["weights"].says
    assert found["camera"].level == "fail"  # a folder without pictures
    assert found["model"].level == "warn"
    assert found["login"].level == "ok"


async def test_a_link_that_is_too_slow_for_the_frames(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        found = await way(camera_of(served), needs=1e12)
        assert found["upload"].level == "warn"
        assert "--budget" in found["upload"].do
        found = await way(camera_of(served), needs=1e12, upload=0)
        assert found["upload"].says == "not measured"


async def test_nobody_listens(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        found = await way(read_settings(camera="gate", server=f"127.0.0.1:{port}"))
    assert list(found) == ["name", "connection"]
    assert found["connection"].level == "fail"


async def test_a_name_that_is_none() -> None:
    found = await way(read_settings(camera="gate", server="no-such-host.invalid:50051"))
    assert levels(found) == {"name": "fail"}


async def test_files_that_are_not_there(tmp_path: Path) -> None:
    settings = read_settings(camera="gate", token_file=tmp_path / "none")
    found = await way(settings)
    assert levels(found) == {"files": "fail"}
    assert str(tmp_path / "none") in found["files"].says


class TestKeepalive:
    async def test_a_silent_connection_lives(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as served:
            found = await way(camera_of(served), idle_s=0.3)
        assert found["keepalive"].level == "ok"

    async def test_something_on_the_way_drops_it(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as served, router(served.running.port) as port:
            found = await way(camera_of(served, server=f"localhost:{port}"), idle_s=60)
        assert levels(found)["login"] == "ok"
        assert found["keepalive"].level == "fail"
        assert "idle timeout" in found["keepalive"].do


@asynccontextmanager
async def router(target: int, idle_s: float = 3.0) -> AsyncIterator[int]:
    """A port that leads to the target's; each connection until nothing was said for so long."""

    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, here = await asyncio.open_connection("127.0.0.1", target)

        async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while data := await asyncio.wait_for(reader.read(65536), idle_s):
                    writer.write(data)
            except (TimeoutError, OSError):
                pass

        ways = (pass_on(reader, here), pass_on(there, writer))
        tasks = [asyncio.create_task(way) for way in ways]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for end in (writer, here):
            end.transport.abort()
        await asyncio.wait(tasks)

    async with await asyncio.start_server(lead, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
