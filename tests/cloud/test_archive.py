"""The archive over real gRPC, by hand: pages, bounds, and who may look."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from cloud.folder import data_files
from cloud.sightings import UNREADABLE
from cloud.store import Found
from cloud.store.sqlite import SqliteFrameStore
from common.types import Box, FrameId, Layer
from glimpse.v1 import archive_pb2, archive_pb2_grpc
from tests.cloud.serving import PATIENCE_S, Served, raw_channel, serving

PERSON = Box("person", 0.75, 1.5, 2.0, 3.0, 4.0)


class Archive:
    def __init__(self, stub: Any, metadata: tuple[tuple[str, str], ...]) -> None:
        self._stub, self._options = stub, {"metadata": metadata, "timeout": PATIENCE_S}

    async def page(self, **fields: Any) -> Any:
        request = archive_pb2.ListFramesRequest(**fields)
        return await self._stub.ListFrames(request, **self._options)

    async def seqs(self, **fields: Any) -> list[int]:
        return [frame.seq for frame in (await self.page(**fields)).frames]

    async def get(self, **fields: Any) -> Any:
        return await self._stub.GetFrame(archive_pb2.GetFrameRequest(**fields), **self._options)


@asynccontextmanager
async def archive(served: Served, token: str | None = None) -> AsyncIterator[Archive]:
    endpoint = served.endpoint(served.viewer_token if token is None else token)
    async with raw_channel(endpoint) as channel:
        yield Archive(archive_pb2_grpc.ArchiveServiceStub(channel), endpoint.metadata)


@pytest.fixture
def data(tmp_path: Path, layers: list[bytes]) -> Path:
    """Frames 0..9 of the gate, a person in 3 and 6; one of the yard. All are looked at, else the
    server would look at the others while a test reads them."""
    store = SqliteFrameStore(data_files(tmp_path)[0])
    gate = [FrameId("gate", "b1", n) for n in range(10)]
    store.put([Layer(name, 100.0 + name.seq, layers[name.seq % 6]) for name in gate])
    yard = FrameId("yard", "b7", 5)
    store.put([Layer(yard, 103.5, layers[5])])
    looked = [*gate[:8], gate[9], yard]
    found = [Found(n, (PERSON,) if n in (gate[3], gate[6]) else (), "m-1") for n in looked]
    store.write((), [*found, Found(gate[8], (), UNREADABLE + "it ends early")])
    store.pin(gate[3])
    store.close()
    return tmp_path


async def code(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    assert refused.value.details()
    return refused.value.code()


async def test_what_is_known_of_a_frame(data: Path, layers: list[bytes]) -> None:
    async with serving(data) as served, archive(served) as viewer:
        [frame] = (await viewer.page(label="person", camera="gate", until_us=104_000_000)).frames
        assert (frame.camera, frame.boot, frame.seq) == ("gate", "b1", 3)
        assert (frame.captured_at_us, frame.layer_bytes) == (103_000_000, len(layers[3]))
        assert (frame.width, frame.height, frame.pinned) == (160, 120, True)
        assert (frame.has_boxes, frame.detector, frame.fault) == (True, "m-1", "")
        [box] = frame.boxes
        assert (box.label, box.score, box.x1, box.y2) == ("person", 0.75, 1.5, 4.0)
        whole = await viewer.get(camera="gate", boot="b1", seq=3)
        assert (whole.frame, whole.layer) == (frame, layers[3])
        bad = (await viewer.get(camera="gate", boot="b1", seq=8)).frame
        assert (bad.has_boxes, bad.detector, bad.fault) == (False, "", "it ends early")


async def test_what_is_asked_for_and_nothing_else(data: Path) -> None:
    async with serving(data) as served, archive(served) as viewer:
        assert await viewer.seqs(camera="gate") == list(range(9, -1, -1))
        assert await viewer.seqs(camera="yard") == [5]
        assert await viewer.seqs(camera="roof") == []
        assert await viewer.seqs(since_us=103_000_000, until_us=104_000_000) == [5, 3]
        assert await viewer.seqs(since_us=0, until_us=0) == []
        assert await viewer.seqs(until_us=2**64 - 1, page_size=2) == [9, 8]
        assert await viewer.seqs(label="person") == [6, 3]


@pytest.mark.parametrize("fields", [{}, {"camera": "gate"}, {"label": "person"}], ids=str)
async def test_pages_join_up(data: Path, fields: dict[str, str]) -> None:
    async with serving(data) as served, archive(served) as viewer:
        whole = await viewer.page(**fields)
        assert whole.next_page_token == ""
        for size in (1, 2, 3, len(whole.frames)):
            frames, token, pages = [], "", 0
            while pages == 0 or token:
                page = await viewer.page(**fields, page_size=size, page_token=token)
                assert len(page.frames) <= size
                assert len(page.next_page_token) <= 64
                frames += page.frames
                token, pages = page.next_page_token, pages + 1
            assert frames == list(whole.frames)


async def test_pages_join_up_while_frames_expire(data: Path) -> None:
    async with serving(data) as served, archive(served) as viewer:
        page = await viewer.page(camera="gate", page_size=3)
        beside = SqliteFrameStore(data_files(data)[0])
        beside.expire(8)  # all but the pinned one, up to the page's last frame and more
        beside.close()
        rest = await viewer.seqs(camera="gate", page_token=page.next_page_token)
        assert rest == [3]


async def test_a_page_is_bounded_in_frames_and_in_bytes(
    tmp_path: Path, layers: list[bytes]
) -> None:
    store = SqliteFrameStore(data_files(tmp_path)[0])
    names = [FrameId("gate", "b1", n) for n in range(1300)]
    crowd = tuple(Box("person", 0.5, 1.0, 2.0, 3.0, 4.0) for _ in range(500))
    store.write(
        [Layer(name, 100.0 + name.seq, layers[0]) for name in names],
        [Found(name, crowd if name.seq < 200 else (), "m") for name in names],
    )
    store.close()
    async with serving(tmp_path) as served, archive(served) as viewer:
        assert len((await viewer.page()).frames) == 100
        page = await viewer.page(page_size=4_000_000_000)
        assert len(page.frames) == 1000
        crowded = await viewer.page(page_size=1000, until_us=300_000_000)
        assert 0 < len(crowded.frames) < 200
        assert crowded.next_page_token
        assert crowded.ByteSize() < 2 << 20


@pytest.mark.parametrize("token", ["x", "AAAA", "%%", "f_gAAAAAAAAAAAAAAAAAAA==", "é" * 9])
async def test_a_token_that_is_none(data: Path, token: str) -> None:
    async with serving(data) as served, archive(served) as viewer:
        call = viewer.page(page_token=token)
        assert await code(call) is grpc.StatusCode.INVALID_ARGUMENT


async def test_names_that_are_none_and_frames_that_are_not_there(data: Path) -> None:
    invalid, missing = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
    async with serving(data) as served, archive(served) as viewer:
        assert await code(viewer.page(camera="../gate")) is invalid
        assert await code(viewer.get(camera="gate", boot="", seq=1)) is invalid
        assert await code(viewer.get(camera="gate", boot="b1", seq=2**63)) is invalid
        assert await code(viewer.get(camera="gate", boot="b1", seq=99)) is missing


async def test_viewers_only(data: Path) -> None:
    async with serving(data) as served:
        for token, expected in (
            (served.token("camera", "gate"), grpc.StatusCode.PERMISSION_DENIED),
            ("guess", grpc.StatusCode.UNAUTHENTICATED),
        ):
            async with archive(served, token) as stranger:
                assert await code(stranger.page()) is expected
                assert await code(stranger.get(camera="gate", boot="b1", seq=1)) is expected


async def test_a_layer_that_rotted_is_listed_and_says_so(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, archive(served) as viewer:
        beside = SqliteFrameStore(data_files(tmp_path)[0])
        beside.put([Layer(FrameId("gate", "b1", 1), 1.0, b"\xff" * 30)])
        beside.close()
        [frame] = (await viewer.page()).frames
        assert (frame.width, frame.height) == (0, 0)
        assert frame.fault


async def test_many_lists_at_once_hold_no_camera_up(data: Path, layers: list[bytes]) -> None:
    async with serving(data) as served, archive(served) as viewer, served.camera("roof") as camera:
        asked = [asyncio.create_task(viewer.page()) for _ in range(100)]
        await camera.send((0, layers[0]))
        await camera.acks(1)
        assert all(len(page.frames) >= 11 for page in await asyncio.gather(*asked))
