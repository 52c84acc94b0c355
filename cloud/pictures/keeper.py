"""Auxiliary layers of stored frames: from the store, or from the camera, once for all who ask.

What a camera sends is looked at, kept with its frame, and never asked for again, unless somebody
wants a better one. A fetch goes on when those who wanted it have left: its bytes are spent.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

import structlog

from cloud.metrics import Metrics
from cloud.pictures.values import Subject
from cloud.store import Auxiliary, FrameStore
from common.auxiliary import name_of
from common.bitstream import Kind, unpack
from common.codec import Coded
from common.errors import (
    AuxiliaryError,
    AuxiliaryGone,
    AuxiliaryTimeout,
    AuxiliaryUnsupported,
    CameraOffline,
    CorruptStream,
    LimitReached,
    StoreFull,
    WrongBase,
)
from common.types import FrameId

log = structlog.get_logger()


class Fetcher(Protocol):
    """Asks a camera that is connected."""

    async def fetch(self, frame: FrameId, quality: int, deadline_s: float) -> bytes:
        """Raises AuxiliaryError: it is offline, has it no more, makes none, or is too slow."""
        ...


@dataclass(frozen=True, slots=True)
class Fetched:
    """data: None, and `why` for people."""

    data: bytes | None
    why: str = ""


class AuxiliaryKeeper:
    """Belongs to one event loop. deadline_s: of one fetch, seconds; most: under way at once."""

    def __init__(
        self,
        store: FrameStore,
        fetcher: Fetcher,
        metrics: Metrics,
        *,
        deadline_s: float,
        most: int = 32,
    ) -> None:
        self._store, self._fetcher, self._metrics = store, fetcher, metrics
        self._deadline_s, self._most = deadline_s, most
        self._fetches: dict[tuple[FrameId, int], asyncio.Task[Fetched]] = {}

    def fetch(self, frame: FrameId, subject: Subject, quality: int) -> asyncio.Task[Fetched]:
        """Never fails, and is not to be cancelled: it is everybody's. Raises LimitReached."""
        key = frame, quality
        if key not in self._fetches:
            if len(self._fetches) >= self._most:
                raise LimitReached(f"{self._most} auxiliary layers are on their way: try later")
            task = asyncio.create_task(self._fetch(frame, subject.base, quality))
            self._fetches[key] = task
            task.add_done_callback(lambda _: self._fetches.pop(key))
        return self._fetches[key]

    async def close(self) -> None:
        """Ends all fetches."""
        tasks = list(self._fetches.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _fetch(self, frame: FrameId, base: Coded, quality: int) -> Fetched:
        count = self._metrics.auxiliary_fetches.labels
        try:
            data = await self._fetcher.fetch(frame, quality, self._deadline_s)
            check(data, base)
        except CorruptStream as error:
            count("unusable").inc()
            log.warning("an auxiliary layer is of no use", frame=str(frame), reason=str(error))
            return Fetched(None, f"the camera's auxiliary layer cannot be used: {error}")
        except AuxiliaryError as error:
            count(_OUTCOMES.get(type(error), "failed")).inc()
            return Fetched(None, f"no auxiliary layer: {error}")
        count("fetched").inc()
        self._metrics.layer_bytes.labels(frame.camera, "auxiliary").inc(len(data))
        try:
            await asyncio.to_thread(self._store.put_auxiliary, frame, Auxiliary(data, quality))
        except StoreFull as error:  # the picture can be made all the same
            log.warning("an auxiliary layer is not kept", frame=str(frame), reason=str(error))
        return Fetched(data)


_OUTCOMES: dict[type[AuxiliaryError], str] = {
    CameraOffline: "offline",
    AuxiliaryGone: "gone",
    AuxiliaryTimeout: "timeout",
    AuxiliaryUnsupported: "unsupported",
}


def check(data: bytes, base: Coded) -> None:
    """Judge an auxiliary layer as far as one can without its decoder.

    Raises CorruptStream for bytes that are none, WrongBase for one of another frame.
    """
    header, body = unpack(data, None)
    if header.kind is not Kind.AUXILIARY_INTRA:
        raise CorruptStream(f"a layer of kind {header.kind.name} is no auxiliary layer")
    if not body.startswith(name_of(base)):
        raise WrongBase("this auxiliary layer belongs to another machine layer")
