"""Pictures as the page asks for them: lines on the way, who may, and what is refused."""

from __future__ import annotations

import asyncio
import io
import json
from base64 import b64decode
from typing import Any

import httpx
import pytest
from PIL import Image

from cloud.store import Auxiliary
from common.types import FrameId
from tests.cloud.decoders import auxiliary_of, did
from tests.cloud.serving import until
from tests.cloud.web.page import Page, layer_bytes, scene_layer

OURS = {"sec-fetch-site": "same-origin"}
PATH = "/api/frames/gate/b1/1/picture"


async def post(client: httpx.AsyncClient, path: str = PATH, **wish: Any) -> httpx.Response:
    return await client.post(path, json=wish, headers=OURS)


async def lines(client: httpx.AsyncClient, **wish: Any) -> list[Any]:
    reply = await post(client, **wish)
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in reply.text.splitlines()]


@pytest.fixture
def shown(served: Page) -> Page:
    """With frame 1 of the gate, and a decoder."""
    served.decoder()
    served.keep(1, data=scene_layer().data)
    return served


async def test_all_that_happens_on_the_way(shown: Page, viewer: httpx.AsyncClient) -> None:
    told = await lines(viewer, steps=2, seed=3, why="a look")
    done = told[-1]["done"]
    assert (done["steps"], done["seed"], done["generated"]) == (2, 3, True)
    assert (done["width"], done["height"], done["auxiliary_bytes"]) == (640, 480, 0)
    assert (done["notes"], done["seen"], done["upgrade_expected"]) == (["it is tiny"], None, False)
    with Image.open(io.BytesIO(b64decode(done["file"]))) as picture:
        assert json.loads(picture.info["glimpse"])["frame"] == "gate/b1/1"
    for step in (line for line in told if "step" in line):
        assert (step["of"], b64decode(step["preview"])[:4]) == (2, b"RIFF")
    [entry] = map(json.loads, (shown.data / "audit.jsonl").read_text().splitlines())
    assert (entry["who"], entry["call"], entry["why"]) == ("viewer alice", "page", "a look")


async def test_the_page_knows_whether_there_is_a_decoder(
    served: Page, viewer: httpx.AsyncClient
) -> None:
    assert not (await viewer.get("/api/session")).json()["pictures"]
    served.keep(1, data=scene_layer().data)
    refused = await post(viewer)
    assert (refused.status_code, "no human decoder" in refused.text) == (409, True)
    served.decoder()
    assert (await viewer.get("/api/session")).json()["pictures"]


async def test_the_page_knows_whether_detail_can_be_added(
    served: Page, viewer: httpx.AsyncClient
) -> None:
    assert (await viewer.get("/api/session")).json()["steps"] == 0
    served.decoder(prior=False)
    assert (await viewer.get("/api/session")).json()["steps"] == 0
    served.keep(1, data=scene_layer().data)
    refused = await post(viewer, steps=1)
    assert (refused.status_code, "ask for 0 steps" in refused.text) == (409, True)
    assert did(served.data / "human") == []
    assert (await lines(viewer))[-1]["done"]["steps"] == 0
    served.decoder()
    assert (await viewer.get("/api/session")).json()["steps"] == 8


async def test_the_cameras_auxiliary_layer(shown: Page, viewer: httpx.AsyncClient) -> None:
    away = await lines(viewer, auxiliary="fetch")
    assert away[0] == {"waiting": 3.0}
    assert away[-1]["done"]["notes"][0] == "no auxiliary layer: gate is not connected"
    shown.gate.answer = auxiliary_of(scene_layer())
    there = await lines(viewer, auxiliary="fetch")
    assert there[-1]["done"]["auxiliary_bytes"] == len(shown.gate.answer)
    assert there[-1]["done"]["seen"]["share"] == pytest.approx(0.5, abs=0.01)
    assert there[-1]["done"]["elsewhere"] == {}  # what was seen before cost nothing of this
    details = (await viewer.get("/api/frames/gate/b1/1")).json()
    assert details["auxiliary_bytes"] == len(shown.gate.answer)
    never = await lines(viewer, auxiliary="never")
    assert never[-1]["done"]["auxiliary_bytes"] == 0


async def test_a_stored_one(shown: Page, viewer: httpx.AsyncClient) -> None:
    data = auxiliary_of(scene_layer())
    shown.store.put_auxiliary(FrameId("gate", "b1", 1), Auxiliary(data, 100))
    assert (await lines(viewer))[-1]["done"]["auxiliary_bytes"] == len(data)


async def test_a_decoder_that_fails_in_the_middle(shown: Page, viewer: httpx.AsyncClient) -> None:
    (shown.decoder() / "fail").write_text("no memory")
    told = await lines(viewer)
    assert told[-1]["fault"]["status"] == 503
    assert "log" in told[-1]["fault"]["error"]


@pytest.mark.parametrize(
    "wish",
    [
        {"steps": 9},
        {"steps": 0.5},
        {"steps": True},
        {"steps": "4"},
        {"fidelity": 2},
        {"fidelity": None},
        {"seed": -1},
        {"auxiliary": "sometimes"},
        {"auxiliary": 1},
        {"why": "x" * 257},
        {"why": "x" * 5000},
    ],
    ids=str,
)
async def test_wishes_that_cannot_be(
    shown: Page, viewer: httpx.AsyncClient, wish: dict[str, Any]
) -> None:
    assert (await post(viewer, **wish)).status_code == 400


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff", b"[" * 4000, b'{"steps": 1e999}'])
async def test_bodies_that_are_none(shown: Page, viewer: httpx.AsyncClient, body: bytes) -> None:
    assert (await viewer.post(PATH, content=body, headers=OURS)).status_code == 400


async def test_frames_that_cannot_be_shown(shown: Page, viewer: httpx.AsyncClient) -> None:
    shown.keep(2, data=layer_bytes())
    for path, status in (
        ("/api/frames/gate/b1/77/picture", 404),
        ("/api/frames/gate/b1/x/picture", 400),
        ("/api/frames/..%2fgate/b1/1/picture", 404),
        ("/api/frames/gate/b1/2/picture", 404),  # its layer cannot be read
    ):
        assert (await post(viewer, path)).status_code == status, path


async def test_only_our_own_page_of_a_viewer(shown: Page, viewer: httpx.AsyncClient) -> None:
    assert (await viewer.get(PATH)).status_code == 405
    assert (await viewer.post(PATH)).status_code == 403
    cross = {"sec-fetch-site": "cross-site"}
    assert (await viewer.post(PATH, headers=cross)).status_code == 403
    async with shown.client() as stranger:
        assert (await post(stranger)).status_code == 401
    assert did(shown.decoder()) == []


async def test_a_page_that_leaves_frees_the_decoder(shown: Page, viewer: httpx.AsyncClient) -> None:
    hold = shown.decoder() / "hold"
    hold.touch()
    async with viewer.stream("POST", PATH, json={"steps": 8}, headers=OURS) as reply:
        assert reply.status_code == 200
        await until(lambda: "begin 8" in did(shown.decoder()))
    line = shown.pictures._line
    await until(lambda: not any(entry.askers for entry in line.entries()))
    hold.unlink()
    assert (await lines(viewer))[-1]["done"]["steps"] == 0
    assert did(shown.decoder())[1:] == ["begin 8", "begin 0", "end"]


async def test_two_pages_share_the_work(shown: Page, viewer: httpx.AsyncClient) -> None:
    hold = shown.decoder() / "hold"
    hold.touch()
    asking = [asyncio.create_task(lines(viewer)) for _ in range(3)]
    await until(lambda: "begin 0" in did(shown.decoder()))
    hold.unlink()
    files = {told[-1]["done"]["file"] for told in await asyncio.gather(*asking)}
    assert len(files) == 1
    assert did(shown.decoder()).count("begin 0") == 1
