"""The page of a whole server: what a camera sends over gRPC is seen in a browser's stream."""

from __future__ import annotations

import ssl
import time
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from cloud.folder import data_files
from cloud.server import prepare, running
from common.errors import BadSettings
from tests.cloud.serving import Served, serving, settings, until
from tests.cloud.web.page import PATIENCE_S, events, log_in


def browser(served: Served) -> httpx.AsyncClient:
    authority = data_files(served.settings.data)[2].authority
    return httpx.AsyncClient(
        base_url=f"https://127.0.0.1:{served.running.web_port}",
        verify=ssl.create_default_context(cafile=str(authority)), timeout=PATIENCE_S,
    )  # fmt: skip


async def test_from_camera_to_page(tmp_path: Path, layers: list[bytes]) -> None:
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(
            serving(tmp_path, web_listen="127.0.0.1:0", min_score=0.0)
        )
        client = await stack.enter_async_context(browser(served))
        assert (await log_in(client, served.viewer_token)).status_code == 303
        about = (await client.get("/api/session")).json()
        async with events(client) as stream, served.camera() as camera:
            await stream.next("state")
            now = time.time()
            await camera.send((7, layers[0]), at_us=round(now * 1e6))
            _, message = await stream.next("seen")
            await camera.boxes([7])
            [seen] = message["seen"]
            assert (seen["camera"], seen["seq"], seen["bytes"]) == ("gate", "7", len(layers[0]))
            assert seen["boxes"]
            assert {box[0] for box in seen["boxes"]} <= set(about["labels"])
            while not (states := (await stream.next("cameras"))[1]["cameras"]):
                pass
            assert (states[0]["state"], states[0]["connected"]) == ("live", True)
        await until(lambda: served.stored()[7].boxes is not None)
        name = "frames/gate/b1/7"
        frame = (await client.get(f"/api/{name}")).json()
        assert [box[:1] for box in frame["boxes"]] == [box[:1] for box in seen["boxes"]]
        assert frame["detector"] == about["model"]
        assert (await client.get(f"/api/{name}/layer")).content == layers[0]


async def test_plaintext_asks_for_a_login_as_grpc_does(tmp_path: Path) -> None:
    async with serving(tmp_path, web_listen="127.0.0.1:0", insecure=True) as served:
        address = f"http://127.0.0.1:{served.running.web_port}"
        async with httpx.AsyncClient(base_url=address, timeout=PATIENCE_S) as client:
            assert (await client.get("/api/session")).status_code == 401
            await log_in(client, served.viewer_token)
            assert (await client.get("/api/session")).status_code == 200


async def test_none_is_served_where_none_is_wanted(tmp_path: Path) -> None:
    async with serving(tmp_path, web_listen="") as served:
        assert served.running.web_port == 0


async def test_a_port_in_use_stops_the_start(tmp_path: Path) -> None:
    async with serving(tmp_path / "a", web_listen="127.0.0.1:0") as served:
        address = f"127.0.0.1:{served.running.web_port}"
        chosen = settings(tmp_path / "b", web_listen=address)
        prepare(chosen)
        with pytest.raises(BadSettings, match=address):
            async with running(chosen):
                pass
