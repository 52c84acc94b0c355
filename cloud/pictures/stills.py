"""Reference pictures: stills that cameras send of themselves, kept for pictures of later frames.

A still is kept with the frame that it was made with. The integers of its machine layer tell what
has changed since: it carries that layer itself, or else shows its frame, and has that frame's. It
goes with its frame, or when its camera has sent `most` newer ones.
"""

from __future__ import annotations

import asyncio

import structlog

from cloud.alone import Alone
from cloud.metrics import Metrics
from cloud.pictures.avif import check_still, layer_of
from cloud.pictures.values import Still
from cloud.store import FrameStore, StoredFrame
from common.bitstream import DETECT
from common.codec import Coded
from common.errors import BadPicture, CorruptStream, ModelMismatch, NotStored, StoreFull
from common.types import FrameId

log = structlog.get_logger()


class Stills:
    """The stills of all cameras.

    most   kept of each camera
    age_s  of a still against the frame that it is for; beyond that it is not used
    """

    def __init__(
        self, store: FrameStore, alone: Alone, metrics: Metrics, *, most: int, age_s: float
    ) -> None:
        self._store, self._alone, self._metrics = store, alone, metrics
        self._most, self._age_s = most, age_s

    async def take(self, frame: FrameId, data: bytes) -> str:
        """Why a still is refused; '': it is on disk."""
        reason = await asyncio.to_thread(self._put, frame, data)
        outcome = "refused" if reason else "stored"
        self._metrics.stills.labels(frame.camera, outcome).inc()
        if reason:
            log.warning("a still is refused", frame=str(frame), reason=reason)
        else:
            self._metrics.still_bytes.labels(frame.camera).inc(len(data))
        return reason

    def before(self, stored: StoredFrame, base: Coded) -> Still | None:
        """The last still up to this frame, its own included; base: of the frame. Blocks.

        None where there is none, or none of the same view: of the same size, from a layer that can
        be read and has a latent.
        """
        at = stored.captured_at
        found = self._store.last_still(stored.frame.camera, at, since=at - self._age_s)
        if found is None:
            return None
        shown, data = found
        try:
            own = self._own(data)
            then = self._alone.coded(shown) if own is None else own
        except (BadPicture, NotStored):
            return None
        size = base.header.width, base.header.height
        if then.header.profile != DETECT or size != (then.header.width, then.header.height):
            return None
        return Still(data, then, shown.frame, shown.captured_at, shown.stored_at)

    def _own(self, data: bytes) -> Coded | None:
        """What is in the layer that a still carries; None: it carries none. Raises BadPicture."""
        layer = layer_of(data)
        try:
            return None if layer is None else self._alone.codec.decode(layer)
        except (CorruptStream, ModelMismatch) as error:
            raise BadPicture(f"the layer that it carries cannot be read: {error}") from error

    def _put(self, frame: FrameId, data: bytes) -> str:
        try:
            check_still(data)
            self._own(data)
            kept = self._store.put_still(frame, data, most=self._most)
        except (BadPicture, StoreFull) as error:
            return str(error)
        return "" if kept else f"{frame} is not stored"
