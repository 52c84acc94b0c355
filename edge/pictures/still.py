"""Reference pictures of a camera that stands still: when to send one, and what it is.

    frames that were coded ──Schedule──> now and then one of them ──> AVIF ──> uplink

One is due when the last one is `every` seconds old, and when the scene is another one: when its
thumbnails have not been like the last one's for some seconds. What matters is that light comes and
goes, and so do people and cars: neither makes another scene.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable

import numpy as np
import structlog
from numpy.typing import NDArray
from PIL import Image

from common.bitstream import DETECT
from common.codec import Coded
from common.geometry import working_size
from edge.capture.picture import Pixels, scale

log = structlog.get_logger()

_LOOK_S = 1.0  # from one look at the scene to the next
_ANOTHER = 5  # looks in a row at another scene
_ALIKE = 0.5  # likeness from which two thumbnails are of one scene
_SELDOM = 6  # of the seconds between two, at the least, this part passes after a change
_COLUMNS, _ROWS, _BLOCK = 4, 3, 8  # blocks of a thumbnail, pixels on a side of one
_FLAT = 16.0  # contrast of a block (norm of its luma less its mean) that is nothing but noise

Thumbnail = NDArray[np.float32]


class Schedule:
    """Says which frames are to be stills. every: seconds."""

    def __init__(self, every: float) -> None:
        self._every = every
        self._last: Thumbnail | None = None
        self._last_at = 0.0
        self._looked_at = -_LOOK_S
        self._strange = 0  # looks in a row at what is unlike the last one

    def is_due(self, picture: Pixels, now: float) -> bool:
        """Whether this frame is to be one, which it then is; now: seconds, monotonic."""
        if now < self._looked_at + _LOOK_S:
            return False
        self._looked_at = now
        seen = thumbnail(picture)
        if self._last is not None:
            self._strange = self._strange + 1 if likeness(seen, self._last) < _ALIKE else 0
            age = now - self._last_at
            changed = self._strange >= _ANOTHER and age >= self._every / _SELDOM
            if age < self._every and not changed:
                return False
        self._last, self._last_at, self._strange = seen, now, 0
        return True


class Stills:
    """Makes those that are due, each in a thread, and gives (seq, AVIF file) to `give`.

    Belongs to one event loop. side: longer side in pixels; quality: 0..100
    """

    def __init__(
        self, schedule: Schedule, *, side: int, quality: int, give: Callable[[int, bytes], None]
    ) -> None:
        self._schedule, self._side, self._quality, self._give = schedule, side, quality, give
        self._making: asyncio.Task[None] | None = None

    def offer(self, seq: int, picture: Pixels, coded: Coded) -> None:
        """A frame that was coded just now; `picture` is not to change any more."""
        if coded.header.profile != DETECT or (self._making and not self._making.done()):
            return  # nothing to compare later frames with, or the last one is not made yet
        if self._schedule.is_due(picture, time.monotonic()):
            self._making = asyncio.create_task(self._make(seq, picture, coded))

    async def close(self) -> None:
        """Waits for the one that is being made."""
        if self._making:
            await asyncio.wait([self._making])

    async def _make(self, seq: int, picture: Pixels, coded: Coded) -> None:
        size = working_size(coded.header.width, coded.header.height, self._side)
        still = await asyncio.to_thread(make_still, picture, size, self._quality)
        log.debug("a still was made", seq=seq, bytes=len(still))
        self._give(seq, still)


def make_still(picture: Pixels, size: tuple[int, int], quality: int) -> bytes:
    """An AVIF file of (width, height) pixels; quality 0..100."""
    file = io.BytesIO()
    scaled = scale(Image.fromarray(picture), size)
    scaled.save(file, "AVIF", quality=quality, max_threads=1)
    return file.getvalue()


def thumbnail(picture: Pixels) -> Thumbnail:
    """12 65: each block's luma, whatever its brightness and contrast; the last says how flat."""
    size = _COLUMNS * _BLOCK, _ROWS * _BLOCK
    small = Image.fromarray(picture).resize(size, Image.Resampling.BOX).convert("L")
    luma = np.asarray(small, np.float32).reshape(_ROWS, _BLOCK, _COLUMNS, _BLOCK)
    blocks = luma.transpose(0, 2, 1, 3).reshape(_ROWS * _COLUMNS, -1)
    centred = blocks - blocks.mean(1, keepdims=True)
    seen = np.pad(centred, ((0, 0), (0, 1)), constant_values=_FLAT)
    alike: Thumbnail = seen / np.linalg.norm(seen, axis=1, keepdims=True)
    return alike


def likeness(a: Thumbnail, b: Thumbnail) -> float:
    """-1..1: correlation of the two in half of the blocks or more; 1 for what is flat in both."""
    return float(np.median((a * b).sum(1)))
