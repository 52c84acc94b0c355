"""Auxiliary layers from cameras, when somebody asks: through the camera's own live session."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from common.errors import AuxiliaryTimeout, CameraOffline
from common.types import FrameId


class Session(Protocol):
    """A camera's live session."""

    async def ask(self, frame: FrameId, quality: int, patience_s: float) -> bytes: ...


class AuxiliaryFetcher:
    """Asks cameras for auxiliary layers. Those who want the same one wait for one answer.

    speaking  the live session of each camera that has one
    """

    def __init__(self, speaking: Mapping[str, Session]) -> None:
        self._speaking = speaking
        self._under_way: dict[tuple[FrameId, int], asyncio.Task[bytes]] = {}

    async def fetch(self, frame: FrameId, quality: int, deadline_s: float) -> bytes:
        """The auxiliary layer of a frame of at most MAX_LAYER_BYTES, unread: judge it.

        quality     wished, 0..255; a camera that has made its layer already sends that one
        deadline_s  seconds from now, above 0

        Raises CameraOffline, AuxiliaryGone, AuxiliaryTimeout, AuxiliaryUnsupported, AuxiliaryError
        for any other failure of the camera's, and ValueError for arguments out of range.
        """
        if not (0 <= quality <= 255 and deadline_s > 0):
            raise ValueError(f"quality {quality}, deadline {deadline_s}")
        loop = asyncio.get_running_loop()
        until = loop.time() + deadline_s
        while True:
            shared = self._under_way.get((frame, quality))
            task = shared or self._begin(frame, quality, until - loop.time())
            try:
                async with asyncio.timeout_at(until):
                    return await asyncio.shield(task)
            except TimeoutError:
                raise AuxiliaryTimeout(f"{frame}: no answer within {deadline_s:g} s") from None
            except AuxiliaryTimeout:
                if shared is None or loop.time() >= until:
                    raise  # it was not only that another caller had less patience

    def _begin(self, frame: FrameId, quality: int, patience_s: float) -> asyncio.Task[bytes]:
        key = frame, quality
        task = asyncio.create_task(self._ask(frame, quality, patience_s))
        self._under_way[key] = task

        def done(task: asyncio.Task[bytes]) -> None:
            del self._under_way[key]
            if not task.cancelled():
                task.exception()  # or asyncio would complain where all who asked have left

        task.add_done_callback(done)
        return task

    async def _ask(self, frame: FrameId, quality: int, patience_s: float) -> bytes:
        session = self._speaking.get(frame.camera)
        if session is None:
            raise CameraOffline(f"{frame.camera} is not connected")
        return await session.ask(frame, quality, patience_s)
