"""Both clients against a real server: what they return, what they raise, what they leave behind."""

from __future__ import annotations

import asyncio
import datetime
import gc
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

import glimpse
from cloud.access.identity import Identities
from cloud.folder import data_files
from cloud.server import prepare
from cloud.sightings import Sighting
from cloud.store import Found
from cloud.store.sqlite import SqliteFrameStore
from common.bitstream import pack, unpack
from common.types import Box, FrameId, Layer
from tests.cloud.serving import Served, serving, settings, until
from tests.glimpse.clients import KINDS, QUICK, Either, client, reasons

PERSON = Box("person", 0.3, 1.5, 2.0, 3.0, 4.0)
pytestmark = pytest.mark.parametrize("kind", KINDS)


def sighting(seq: int, camera: str = "gate", score: float = 0.5) -> Sighting:
    box = Box("car", score, 1.0, 2.0, 3.0, 4.0)
    return Sighting(FrameId(camera, "b1", seq), 1000.0 + seq, 300, 160, 120, (box,))


async def publish(served: Served, *items: Sighting, watchers: int = 1) -> None:
    """As soon as so many watch."""
    await until(lambda: served.running.bus.subscribers >= watchers)
    for item in items:
        served.running.bus.publish(item)


class TestDetect:
    async def test_a_layer(self, tmp_path: Path, layers: list[bytes], kind: str) -> None:
        async with serving(tmp_path, min_score=0.0) as served, client(kind, served) as cloud:
            seen = await cloud.detect(layers[0])
            assert isinstance(seen, glimpse.Detection)
            assert (seen.width, seen.height, seen.profile) == (160, 120, 0)
            assert seen.quality == pytest.approx(0.4)
            assert seen.model_id == served.running.ingest.intake.model_id
            assert seen.boxes
            assert all(isinstance(box, glimpse.Box) for box in seen.boxes)
            some = await cloud.detect(layers[0], min_score=seen.boxes[0].score)
            assert 1 <= len(some.boxes) < len(seen.boxes)

    async def test_what_is_no_layer(self, tmp_path: Path, layers: list[bytes], kind: str) -> None:
        header, body = unpack(layers[0], None)

        stranger = pack(replace(header, model=header.model ^ 1), body)
        async with serving(tmp_path) as served, client(kind, served) as cloud:
            for bad in (b"", b"nothing like it", layers[0][:-5], bytes(5 << 20)):
                with pytest.raises(glimpse.InvalidLayer):
                    await cloud.detect(bad)
            with pytest.raises(glimpse.ModelMismatch, match=f"{header.model ^ 1:04x}"):
                await cloud.detect(stranger)
            assert (await cloud.detect(layers[0])).width == 160


class TestGettingIn:
    async def test_an_address_that_was_sent_away_may_try_later(
        self, tmp_path: Path, layers: list[bytes], kind: str
    ) -> None:
        once = glimpse.Retry(first_s=1e9, most_s=1e9)
        async with (
            serving(tmp_path, failed_logins=1) as served,
            client(kind, served, token="guess", retry=once) as hasty,
            client(kind, served, token="guess") as patient,
        ):
            for _ in range(2):
                with pytest.raises(glimpse.Unauthenticated):
                    await hasty.detect(layers[0])
            with pytest.raises(glimpse.Unavailable, match="too many failed logins"):
                await hasty.detect(layers[0])
            with pytest.raises(glimpse.Unauthenticated):  # a second later, for which it waits
                await patient.detect(layers[0], timeout_s=20)

    async def test_tokens(self, tmp_path: Path, layers: list[bytes], kind: str) -> None:
        async with serving(tmp_path) as served:
            camera = Identities(data_files(tmp_path)[1]).add("camera", "gate")
            for token, expected in (
                ("guess", glimpse.Unauthenticated),
                ("", glimpse.Unauthenticated),
                (camera, glimpse.PermissionDenied),
            ):
                async with client(kind, served, token=token) as cloud:
                    for call in (cloud.detect(layers[0]), cloud.frames(), cloud.frame("a/b/1")):
                        with pytest.raises(expected):
                            await call
                    with pytest.raises(expected) as refused:
                        [_ async for _ in cloud.watch()]
                    assert any(isinstance(e, grpc.RpcError) for e in reasons(refused.value))

    async def test_certificates_are_not_tried_again(self, tmp_path: Path, kind: str) -> None:
        prepare(settings(tmp_path / "other"))
        async with serving(tmp_path / "one") as served:
            started = time.monotonic()
            other = data_files(tmp_path / "other")[2].authority.read_bytes()
            async with client(kind, served, ca=other) as cloud:
                with pytest.raises(glimpse.Unauthenticated, match="not signed by the authority"):
                    await cloud.frames()
            async with client(kind, served, ca=None) as cloud:
                with pytest.raises(glimpse.Unauthenticated, match="an authority known here"):
                    [_ async for _ in cloud.watch()]
            assert time.monotonic() - started < 5
        async with serving(tmp_path / "plain", insecure=True) as served:
            async with client(kind, served, ca=other) as cloud:
                with pytest.raises(glimpse.Unauthenticated, match="does not speak TLS"):
                    await cloud.frames()
            async with client(kind, served, ca=None, insecure=True) as cloud:
                assert await cloud.frames() == []

    async def test_what_cannot_be(self, tmp_path: Path, kind: str) -> None:
        cls: Any = glimpse.AsyncClient if kind == "async" else glimpse.Client
        for server in ("", "here", "here:", ":5", "here:http"):
            with pytest.raises(ValueError, match="not HOST:PORT"):
                cls.connect(server)
        for token in ("two words", "naïve", "a\x00b"):
            with pytest.raises(ValueError, match="token"):
                cls.connect("here:1", token=token)
        with pytest.raises(FileNotFoundError):
            cls.connect("here:1", ca=tmp_path / "missing.pem")


class TestNoServer:
    async def test_a_call_tries_until_its_time_is_over(self, tmp_path: Path, kind: str) -> None:
        async with serving(tmp_path) as served, client(kind, served) as gone:
            pass
        del gone
        async with client(kind, served) as cloud:
            started = time.monotonic()
            with pytest.raises(glimpse.Unavailable, match=r"127\.0\.0\.1"):
                await cloud.frames(timeout_s=0.8)
            assert 0.3 < time.monotonic() - started < 3

    async def test_it_is_found_when_it_comes(
        self, tmp_path: Path, layers: list[bytes], kind: str
    ) -> None:
        port = free_port()
        prepare(settings(tmp_path))
        cls: Any = glimpse.AsyncClient if kind == "async" else glimpse.Client
        token = (tmp_path / "viewer.token").read_text()
        ca = data_files(tmp_path)[2].authority
        cloud = Either(cls.connect(f"127.0.0.1:{port}", ca=ca, token=token, retry=QUICK))
        early = asyncio.create_task(cloud.detect(layers[0], timeout_s=20))
        await asyncio.sleep(0.3)  # it has failed a few times by now
        async with serving(tmp_path, listen=f"127.0.0.1:{port}"):
            assert (await early).width == 160
            await cloud.close()

    async def test_one_that_does_not_answer(self, tmp_path: Path, kind: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as deaf:
            async with serving(tmp_path) as served:
                pass
            address = f"127.0.0.1:{deaf.getsockname()[1]}"
            async with client(kind, served, server=address, timeout_s=0.5) as cloud:
                with pytest.raises(glimpse.TimedOut):
                    await cloud.frames()


class TestWatch:
    async def test_cameras_and_scores(self, tmp_path: Path, kind: str) -> None:
        async with serving(tmp_path) as served, client(kind, served) as cloud:
            asking = asyncio.create_task(
                publish(served, sighting(1), sighting(2, "yard", 0.7), sighting(3, "yard", 0.3))
            )
            got = []
            async for seen in cloud.watch(["yard"], min_score=0.6):
                got.append(seen)
                if len(got) == 2:
                    break
            await asking
            assert got[0] == glimpse.Sighting(
                glimpse.FrameId("yard", "b1", 2), 1002.0, 300, 160, 120,
                (glimpse.Box("car", 0.7, 1.0, 2.0, 3.0, 4.0),),
            )  # fmt: skip
            assert (got[0].camera, got[1].frame.seq, got[1].boxes) == ("yard", 3, ())
            with pytest.raises(TypeError):
                [_ async for _ in cloud.watch("gate")]

    async def test_it_survives_a_restart_and_says_so(self, tmp_path: Path, kind: str) -> None:
        listen = f"127.0.0.1:{free_port()}"
        faults: list[glimpse.Unavailable] = []
        async with serving(tmp_path, listen=listen) as served:
            cloud = client(kind, served)
            either = await cloud.__aenter__()
            seen = either.watch(on_lost=faults.append)
            await asyncio.gather(publish(served, sighting(1)), first := later(seen))
            assert (first.result().frame.seq, first.result().reconnects) == (1, 0)
            waiting = later(seen)
        await until(lambda: len(faults) >= 2)
        async with serving(tmp_path, listen=listen) as served:
            await publish(served, sighting(5), sighting(6))
            assert ((await waiting).frame.seq, (await waiting).reconnects) == (5, 1)
            sixth = await anext(seen)
            assert (sixth.frame.seq, sixth.reconnects, sixth.missed) == (6, 0, 0)
            await seen.aclose()
            await until(lambda: served.running.bus.subscribers == 0)
            await cloud.__aexit__(None, None, None)

    async def test_it_gives_up_when_its_patience_is_over(self, tmp_path: Path, kind: str) -> None:
        retry = glimpse.Retry(first_s=0.05, most_s=0.1, patience_s=0.3)
        async with serving(tmp_path) as served:
            chosen = client(kind, served, retry=retry)
            cloud = await chosen.__aenter__()
            seen = cloud.watch()
            await asyncio.gather(publish(served, sighting(1)), later(seen))
        with pytest.raises(glimpse.Unavailable, match=r"127\.0\.0\.1"):
            await anext(seen)
        await chosen.__aexit__(None, None, None)

    async def test_closing_the_client_ends_it(self, tmp_path: Path, kind: str) -> None:
        async with serving(tmp_path) as served, client(kind, served) as cloud:
            seen = cloud.watch()
            await asyncio.gather(publish(served, sighting(1)), later(seen))
            waiting = asyncio.create_task(anext(seen, None))
            await asyncio.sleep(0.05)
            await cloud.close()
            assert await waiting is None
            assert [item async for item in cloud.watch()] == []
            await until(lambda: served.running.bus.subscribers == 0)

    async def test_fifty_that_are_left_leave_nothing_behind(
        self, tmp_path: Path, kind: str
    ) -> None:
        async with serving(tmp_path) as served, client(kind, served) as cloud:
            await cloud.frames()  # now all threads and tasks of one connection are there
            tasks, threads = len(asyncio.all_tasks()), threading.active_count()
            for n in range(50):
                seen = cloud.watch()
                await asyncio.gather(publish(served, sighting(n)), later(seen))
                await seen.aclose()
                await until(lambda: served.running.bus.subscribers == 0)
            del seen
            gc.collect()
            await until(lambda: len(asyncio.all_tasks()) <= tasks)
            # asyncio's own pool may have grown to its bound of workers
            await until(lambda: threading.active_count() <= threads + 16)


class TestArchive:
    @pytest.fixture
    def data(self, tmp_path: Path, layers: list[bytes]) -> Path:
        """450 frames of two cameras, a second apart; a person in every tenth at the gate."""
        store = SqliteFrameStore(data_files(tmp_path)[0])
        names = [FrameId("gate" if n % 2 else "yard", "b1", n) for n in range(450)]
        store.write(
            [Layer(name, 1000.0 + name.seq, layers[name.seq % 6]) for name in names],
            [Found(name, (PERSON,) if name.seq % 10 == 1 else (), "m-1") for name in names],
        )
        store.pin(FrameId("gate", "b1", 1))
        store.close()
        return tmp_path

    async def test_a_list_over_its_pages(self, data: Path, kind: str) -> None:
        async with serving(data) as served, client(kind, served) as cloud:
            every = await cloud.frames()
            assert [f.frame.seq for f in every] == list(range(449, -1, -1))
            assert [f.frame.seq for f in await cloud.frames(limit=201)] == list(range(449, 248, -1))
            assert await cloud.frames(limit=0) == []
            people = await cloud.frames(camera="gate", label="person")
            assert [f.frame.seq for f in people] == list(range(441, 0, -10))
            assert await cloud.frames(camera="yard", label="person") == []

    async def test_moments(self, data: Path, kind: str) -> None:
        noon = datetime.datetime.fromtimestamp(1100, datetime.UTC)
        async with serving(data) as served, client(kind, served) as cloud:
            some = await cloud.frames(since=noon, until=1103.0)
            assert [f.captured_at for f in some] == [1102.0, 1101.0, 1100.0]
            assert len(await cloud.frames(since=-5.0, until=1e300)) == 450
            with pytest.raises(ValueError, match="time zone"):
                await cloud.frames(since=noon.replace(tzinfo=None))

    async def test_one(self, data: Path, layers: list[bytes], kind: str) -> None:
        async with serving(data) as served, client(kind, served) as cloud:
            found = await cloud.frame("gate/b1/1")
            assert found == glimpse.Frame(
                glimpse.FrameId("gate", "b1", 1), 1001.0, len(layers[1]), 160, 120,
                (glimpse.Box("person", 0.3, 1.5, 2.0, 3.0, 4.0),), "m-1",
                pinned=True, layer=layers[1],
            )  # fmt: skip
            assert (await cloud.frame(found.frame)) == found
            assert (await cloud.detect(found.layer)).width == found.width
            with pytest.raises(glimpse.NotFound, match="gate/b1/2"):
                await cloud.frame("gate/b1/2")
            with pytest.raises(glimpse.InvalidRequest):
                await cloud.frame("Gate/b1/2")
            with pytest.raises(ValueError, match="CAMERA/BOOT/SEQ"):
                await cloud.frame("gate")


class TestClosed:
    async def test_calls_say_so(self, tmp_path: Path, layers: list[bytes], kind: str) -> None:
        async with serving(tmp_path) as served, client(kind, served) as cloud:
            await cloud.frames()
            await cloud.close()
            await cloud.close()
            for call in (cloud.detect(layers[0]), cloud.frames(), cloud.frame("a/b/1")):
                with pytest.raises(glimpse.Closed):
                    await call

    async def test_calls_that_wait_say_so(self, tmp_path: Path, kind: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as deaf:
            async with serving(tmp_path) as served:
                pass
            address = f"127.0.0.1:{deaf.getsockname()[1]}"
            async with client(kind, served, server=address) as cloud:
                waiting = asyncio.create_task(cloud.frames())
                await asyncio.sleep(0.2)
                await cloud.close()
                with pytest.raises(glimpse.Closed):
                    await asyncio.wait_for(waiting, 5)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def later(seen: Any) -> asyncio.Task[glimpse.Sighting]:
    return asyncio.create_task(anext(seen))
