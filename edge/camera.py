"""From the source to the uplink: the newest frame is coded, one that is overtaken is skipped.

    capture (thread, real time) --newest--> rate control --plan--> encode (thread) --> uplink

The encoder takes the newest frame when it is free, so that a slow one lowers the rate of frames and
never their freshness. Rate control plans each frame's bytes, or leaves it out (thinned).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import structlog

from common.codec import Coded
from common.errors import BadPicture
from edge.capture.file import Frame
from edge.capture.picture import Picture
from edge.ledger import Ledger
from edge.rate import Plan, RateControl, Thinned

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Shot:
    """A frame and when it was captured: seconds of the monotonic clock, unix seconds."""

    frame: Frame
    moment: float
    unix: float


class Camera:
    """Runs a source through an encoder.

    frames  a paced source; it is iterated in a thread of its own
    encode  a picture -> its machine layer as planned; called in another thread, always the same
    send    takes (seq, captured_at in unix seconds, layer)
    rate    plans each frame
    """

    def __init__(
        self,
        frames: Iterable[Frame],
        encode: Callable[[Picture, Plan], Coded],
        send: Callable[[int, float, bytes], None],
        ledger: Ledger,
        stopping: threading.Event,
        rate: RateControl,
    ) -> None:
        self._frames = frames
        self._encode = encode
        self._send = send
        self._ledger = ledger
        self._stopping = stopping
        self._rate = rate
        # One thread for good: malloc keeps a heap for each thread that ever ran the network.
        self._encoder = ThreadPoolExecutor(1, "encode")
        self._newest: _Shot | None = None
        self._changed = asyncio.Event()

    def stop(self) -> None:
        """Captures nothing more; `run` returns when the frame in hand is coded."""
        self._stopping.set()
        self._changed.set()

    @property
    def stopped(self) -> bool:
        return self._stopping.is_set()

    async def run(self) -> None:
        """Returns when the source has ended or `stop` was called. Raises what the source raises."""
        capture = asyncio.create_task(asyncio.to_thread(self._capture, asyncio.get_running_loop()))
        capture.add_done_callback(lambda _: self._changed.set())
        try:
            while (shot := await self._next(capture)) is not None:
                await self._code(shot)
            await capture
        finally:
            self._stopping.set()
            await asyncio.wait([capture])
            self._encoder.shutdown(wait=False)
            self._clear()

    def _capture(self, loop: asyncio.AbstractEventLoop) -> None:
        for frame in self._frames:
            shot = _Shot(frame, time.monotonic() - frame.age, time.time() - frame.age)
            if self._stopping.is_set():
                return
            loop.call_soon_threadsafe(self._offer, shot)

    def _offer(self, shot: _Shot) -> None:
        self._ledger.captured += 1
        if shot.frame.late:
            self._ledger.skipped["late"] += 1
            return
        if self._newest is not None:
            self._ledger.skipped["overtaken"] += 1
        self._newest = shot
        self._changed.set()

    async def _next(self, capture: asyncio.Task[None]) -> _Shot | None:
        """The newest frame, as soon as there is one; None at the end."""
        while not self._stopping.is_set():
            self._changed.clear()
            if self._newest is not None:
                shot, self._newest = self._newest, None
                return shot
            if capture.done():
                return None
            await self._changed.wait()
        return None

    async def _code(self, shot: _Shot) -> None:
        started = time.monotonic()
        plan = self._rate.frame(started)
        if isinstance(plan, Thinned):
            self._ledger.thinned[plan.reason] += 1
            return
        self._ledger.on_stage("wait", started - shot.moment)
        try:
            coded = await asyncio.get_running_loop().run_in_executor(
                self._encoder, self._read_and_encode, shot.frame, plan
            )
        except BadPicture as error:
            self._ledger.bad += 1
            if self._ledger.bad == 1:
                log.warning("a frame cannot be coded", reason=str(error))
            return
        self._ledger.on_stage("encode", time.monotonic() - started)
        # The count of coded frames is a sequence number: it rises, and has no gaps.
        seq = self._ledger.coded
        quality = coded.header.quality
        self._rate.coded(len(coded.data), quality, is_key=coded.place == 1)
        self._ledger.on_coded(seq, shot.moment, len(coded.data))
        self._ledger.quality_sum += quality / 255
        self._send(seq, shot.unix, coded.data)

    def _read_and_encode(self, frame: Frame, plan: Plan) -> Coded:
        return self._encode(frame.read(), plan)

    def _clear(self) -> None:
        if self._newest is not None:
            self._ledger.skipped["stopped"] += 1
            self._newest = None
