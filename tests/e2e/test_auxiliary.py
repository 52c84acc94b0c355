"""Auxiliary layers from a whole camera's uplink to a whole server, over real connections."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloud.folder import data_files
from cloud.pictures.auxiliary import AuxiliaryFetcher
from common.bitstream import Kind, unpack
from common.codec import Coded
from common.errors import (
    AuxiliaryError,
    AuxiliaryGone,
    AuxiliaryTimeout,
    AuxiliaryUnsupported,
    CameraOffline,
)
from common.session import EdgePolicy, EdgeSession
from common.session.events import AuxiliaryOutcome
from common.types import FrameId
from edge.capture.picture import Picture, Pixels
from edge.coding.encoder import Encoder
from edge.coding.weights import load_weights
from edge.ledger import Ledger
from edge.link import Link
from edge.pictures.keeper import Answer, Keeper, no_auxiliary
from edge.pictures.ring import Ring
from edge.rate import Limits, Plan, RateControl
from edge.spool import MemorySpool
from edge.uplink import Uplink
from tests.cloud.serving import Served, serving, until
from tests.edge.small_auxiliary import SmallAuxiliary
from tests.weights import photograph

SENT = AuxiliaryOutcome.SENT
QUICK = EdgePolicy(backoff_base=0.05, backoff_cap=0.2)
FRAME = FrameId("gate", "b1", 0)
LONG_S = 30.0


@pytest.fixture(scope="module")
def shot() -> tuple[Pixels, Coded, Encoder]:
    encoder = Encoder(load_weights(), threads=1)
    picture = photograph(np.random.default_rng(1), 120, 160)
    return picture, encoder.coded(encoder.analyse(Picture.whole(picture)), Plan(90, 90)), encoder


@dataclass
class Gate:
    """A camera that is connected, and the server's way to ask it."""

    served: Served
    fetcher: AuxiliaryFetcher
    uplink: Uplink
    ledger: Ledger
    spool: MemorySpool

    async def fetch(self, frame: FrameId = FRAME, quality: int = 99, s: float = LONG_S) -> bytes:
        return await self.fetcher.fetch(frame, quality, s)


@asynccontextmanager
async def gate(
    folder: Path,
    auxiliary: Callable[[FrameId, int], Answer],
    rate: RateControl | None = None,
    **changes: Any,
) -> AsyncIterator[Gate]:
    async with serving(folder / "data", **changes) as served:
        authority = data_files(served.settings.data)[2].authority.read_bytes()
        link = Link(f"127.0.0.1:{served.running.port}", authority, served.token("camera", "gate"))
        ledger, spool = Ledger("b1", 0), MemorySpool("gate", max_bytes=1 << 20)
        model = served.running.ingest.intake.model_id
        session = EdgeSession(
            *("gate", "b1", model), random=random.random, policy=QUICK, paced=rate is not None
        )
        uplink = Uplink(session, link, spool, ledger, rate=rate, auxiliary=auxiliary)
        task = asyncio.create_task(uplink.run())
        fetcher = AuxiliaryFetcher(served.running.ingest.speaking)
        try:
            await until(lambda: ledger.connections == 1)
            yield Gate(served, fetcher, uplink, ledger, spool)
        finally:
            uplink.stop()
            await asyncio.wait([task])


@asynccontextmanager
async def keeping(
    folder: Path, shot: tuple[Pixels, Coded, Encoder], auxiliary: Any = None
) -> AsyncIterator[Keeper]:
    picture, coded, encoder = shot
    ring = Ring(folder / "ring", max_bytes=1 << 20, max_age=3600)
    with Keeper("later", ring, auxiliary or SmallAuxiliary(), encoder.codec, quality=9) as keeper:
        keeper.offer(FRAME, picture, coded)
        assert await asyncio.to_thread(keeper.settle, LONG_S)
        yield keeper


async def test_a_layer_is_made_when_it_is_asked_for(tmp_path: Path, shot: Any) -> None:
    async with keeping(tmp_path, shot) as keeper, gate(tmp_path, keeper.find) as camera:
        data = await camera.fetch(quality=77)
        header, _ = unpack(data, shot[1].header.model)
        assert (header.kind, header.quality) == (Kind.AUXILIARY_INTRA, 77)
        with pytest.raises(AuxiliaryGone, match="does not keep"):
            await camera.fetch(FrameId("gate", "b1", 1))
        with pytest.raises(AuxiliaryGone):
            await camera.fetch(FrameId("gate", "another-boot", 0))


async def test_a_long_layer_comes_in_pieces_within_the_budget(tmp_path: Path) -> None:
    data = random.Random(1).randbytes(40_000)
    rate = RateControl(Limits(budget=40_000.0), 0.0)
    async with gate(tmp_path, lambda *_: Answer(SENT, data=data), rate) as camera:
        began = asyncio.get_running_loop().time()
        assert await camera.fetch() == data
        assert asyncio.get_running_loop().time() - began > 0.0
        assert rate._bucket.spent >= 40_000


async def test_two_who_want_one_frame_get_one_layer(tmp_path: Path, shot: Any) -> None:
    class Held(SmallAuxiliary):
        calls = 0
        gate = threading.Event()

        def encode(self, picture: Pixels, base: Coded, quality: int) -> bytes:
            self.calls += 1
            self.gate.wait()
            return super().encode(picture, base, quality)

    held = Held()
    async with keeping(tmp_path, shot, held) as keeper, gate(tmp_path, keeper.find) as camera:
        try:
            impatient = asyncio.create_task(camera.fetch(s=0.3))
            first, second = (asyncio.create_task(camera.fetch()) for _ in range(2))
            await until(lambda: held.calls > 0)
            with pytest.raises(AuxiliaryTimeout):
                await impatient
        finally:
            held.gate.set()
        assert await first == await second
        # The first request was ended by the impatient one's deadline, and made anew.
        assert held.calls <= 2


async def test_one_who_leaves_takes_nothing_along(tmp_path: Path, shot: Any) -> None:
    async with keeping(tmp_path, shot) as keeper, gate(tmp_path, keeper.find) as camera:
        leaving = asyncio.create_task(camera.fetch())
        await asyncio.sleep(0)
        leaving.cancel()
        assert await camera.fetch()


async def test_a_camera_that_is_not_there(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        fetcher = AuxiliaryFetcher(served.running.ingest.speaking)
        with pytest.raises(CameraOffline, match="gate is not connected"):
            await fetcher.fetch(FRAME, 0, 1.0)
        for quality, deadline in ((-1, 1.0), (256, 1.0), (0, 0.0)):
            with pytest.raises(ValueError, match="quality"):
                await fetcher.fetch(FRAME, quality, deadline)


async def test_a_camera_that_keeps_nothing_and_one_that_knows_nothing_of_it(
    tmp_path: Path,
) -> None:
    async with gate(tmp_path, no_auxiliary) as camera:
        with pytest.raises(AuxiliaryUnsupported, match="auxiliary: off"):
            await camera.fetch()
        async with camera.served.camera("old"):
            with pytest.raises(AuxiliaryUnsupported, match="software"):
                await camera.fetch(FrameId("old", "b1", 0))


async def test_the_link_is_cut_while_it_is_asked(tmp_path: Path) -> None:
    asked, gone = threading.Event(), threading.Event()

    def find(frame: FrameId, quality: int) -> Answer:
        asked.set()
        gone.wait()
        return Answer(SENT, data=b"late")

    async with gate(tmp_path, find) as camera:
        try:
            fetch = asyncio.create_task(camera.fetch())
            await until(asked.is_set)
            assert camera.uplink._stream is not None
            camera.uplink._stream.cancel()
            with pytest.raises(CameraOffline):
                await fetch
        finally:
            gone.set()


async def test_no_answer_before_the_deadline_and_the_camera_goes_on(
    tmp_path: Path, layers: list[bytes]
) -> None:
    gone = threading.Event()

    def find(frame: FrameId, quality: int) -> Answer:
        gone.wait()
        return Answer(SENT, data=b"late")

    async with gate(tmp_path, find) as camera:
        try:
            with pytest.raises(AuxiliaryTimeout):
                await camera.fetch(s=0.2)
            camera.ledger.captured += 1
            camera.ledger.on_coded(0, 0.0, len(layers[0]))
            camera.uplink.frame(0, 1e9, layers[0])
            await until(lambda: camera.ledger.acked == 1)
        finally:
            gone.set()


@pytest.mark.parametrize("size", [0, 70_000])
async def test_a_layer_that_is_too_long_or_none_at_all(tmp_path: Path, size: int) -> None:
    async with gate(
        tmp_path, lambda *_: Answer(SENT, data=bytes(size)), max_layer_bytes=65536
    ) as camera:
        with pytest.raises(AuxiliaryError, match=f"{size} bytes"):
            await camera.fetch()


async def test_a_camera_that_answers_what_nobody_asked_and_too_much(
    tmp_path: Path,
) -> None:
    """A client that speaks the contract by hand, and badly."""
    from glimpse.v1 import ingest_pb2

    sent = ingest_pb2.AUXILIARY_OUTCOME_SENT
    async with serving(tmp_path, max_layer_bytes=4096) as served:
        async with served.camera(auxiliary=True) as camera:
            fetcher = AuxiliaryFetcher(served.running.ingest.speaking)
            reply = ingest_pb2.AuxiliaryReply
            await camera.write(auxiliary_reply=reply(request=7, outcome=sent, size=1, data=b"x"))
            for size, data, reason in ((4097, b"x", "4097 bytes"), (2, b"xxx", "add up")):
                fetch = asyncio.create_task(fetcher.fetch(FRAME, 5, LONG_S))
                request = (await camera.read()).auxiliary_request
                assert (request.boot, request.seq, request.quality) == ("", 0, 5)
                answer = reply(request=request.request, outcome=sent, size=size, data=data)
                await camera.write(auxiliary_reply=answer)
                with pytest.raises(AuxiliaryError, match=reason):
                    await fetch
            unanswered = asyncio.create_task(fetcher.fetch(FRAME, 5, LONG_S))
            await camera.read()
        with pytest.raises(CameraOffline):
            await unanswered
        await until(lambda: served.count("glimpse_auxiliary_strays_total") == 1)
