from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from common.bitstream import Header, Kind
from common.codec import Coded
from common.errors import BadPicture
from edge.camera import Camera
from edge.capture.file import Frame
from edge.capture.picture import Picture
from edge.ledger import Ledger
from edge.rate import Limits, Plan, RateControl

UNLIMITED = Limits()
PICTURE = Picture.whole(np.zeros((2, 2, 3), dtype=np.uint8))


def code(picture: Picture, plan: Plan) -> Coded:
    y = np.zeros((1, 1, 1), dtype=np.int16)
    header = Header(Kind.MACHINE_INTRA, 1, 0, plan.best, 0, 2, 2, 32)
    return Coded(b"layer", header, y, y, 0, 1)


class Rig:
    def __init__(self, frames, encode=code, limits=UNLIMITED) -> None:
        self.ledger = Ledger("b", 0)
        self.sent: list[int] = []
        self.stopping = threading.Event()
        self.camera = Camera(
            frames,
            encode,
            lambda seq, at, data: self.sent.append(seq),
            self.ledger,
            self.stopping,
            RateControl(limits, time.monotonic()),
        )

    def assert_adds_up(self) -> None:
        assert self.ledger.adds_up(self.ledger.coded)  # what was coded would be in the spool
        assert self.sent == list(range(self.ledger.coded))


def frames(count: int, gap_s: float = 0.0, late: bool = False) -> Iterator[Frame]:
    for i in range(count):
        time.sleep(gap_s)
        yield Frame(float(i), lambda: PICTURE, late)


async def test_each_frame_is_coded_when_there_is_time() -> None:
    rig = Rig(frames(5, gap_s=0.1))
    await rig.camera.run()
    assert (rig.ledger.captured, rig.ledger.coded) == (5, 5)
    rig.assert_adds_up()


async def test_the_newest_frame_overtakes() -> None:
    seen = []

    def slow(picture: Picture, plan: Plan) -> Coded:
        time.sleep(0.05)
        seen.append(time.monotonic())
        return code(picture, plan)

    rig = Rig(frames(40, gap_s=0.005), slow)
    await rig.camera.run()
    assert rig.ledger.captured == 40
    assert 3 <= rig.ledger.coded <= 12
    assert rig.ledger.skipped["overtaken"] > 20
    rig.assert_adds_up()


async def test_late_frames_are_skipped_unread() -> None:
    rig = Rig(frames(3, late=True))
    await rig.camera.run()
    assert rig.ledger.skipped == {"late": 3}
    rig.assert_adds_up()


async def test_frames_without_room_are_thinned_unread() -> None:
    rig = Rig(frames(40, gap_s=0.01), limits=Limits(budget=700.0, fps=100.0))
    await rig.camera.run()
    assert rig.ledger.thinned["budget"] > 30
    assert rig.ledger.coded >= 1
    rig.assert_adds_up()


async def test_a_bad_frame_does_not_end_the_camera() -> None:
    def refuse(picture: Picture, plan: Plan) -> Coded:
        raise BadPicture("5000 x 5000 pixels")

    rig = Rig(frames(4, gap_s=0.02), refuse)
    await rig.camera.run()
    assert (rig.ledger.bad, rig.ledger.coded) == (4, 0)
    rig.assert_adds_up()


async def test_a_bad_source_does() -> None:
    def broken() -> Iterator[Frame]:
        yield from frames(2, gap_s=0.02)
        raise BadPicture("the video ends early")

    rig = Rig(broken())
    with pytest.raises(BadPicture, match="ends early"):
        await rig.camera.run()
    assert rig.ledger.coded == 2
    rig.assert_adds_up()


async def test_stop() -> None:
    rig = Rig(frames(10_000, gap_s=0.01))
    task = asyncio.create_task(rig.camera.run())
    await asyncio.sleep(0.1)
    rig.camera.stop()
    await asyncio.wait_for(task, 1.0)
    assert rig.camera.stopped
    assert 1 <= rig.ledger.captured < 20
    rig.assert_adds_up()
