"""Reference pictures of a camera that stands still: when to send one, and what it is.

    frames that were coded ──Schedule──> one is due
                           ──Lately────> the place, without who passes ──> AVIF ──> uplink
                                                └─encoder─> its machine layer ─┘

One is due when the last one is `every` seconds old, and when the scene is another one: when its
thumbnails have not been like the last one's for some seconds. What matters is that light comes and
goes, and so do people and cars: neither makes another scene.

A still shows what stood at each place for most of the last seconds (the median of some pictures):
who walks through is not in it. It carries the machine layer of what it shows, against which that of
a later frame tells what has come.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
import structlog
from numpy.typing import NDArray
from PIL import Image

from common.bitstream import DETECT
from common.codec import Coded
from common.geometry import working_size
from common.stills import EXIF_IFD, MAKER_NOTE
from edge.capture.picture import Picture, Pixels, scale

log = structlog.get_logger()

_LOOK_S = 1.0  # from one look at the scene to the next
_ANOTHER = 5  # looks in a row at another scene
_ALIKE = 0.5  # likeness from which two thumbnails are of one scene
_SELDOM = 6  # of the seconds between two, at the least, this part passes after a change
_PICTURES = 9  # whose median a still is
_COLUMNS, _ROWS, _BLOCK = 4, 3, 8  # blocks of a thumbnail, pixels on a side of one
_FLAT = 16.0  # contrast of a block (norm of its luma less its mean) that is nothing but noise

Thumbnail = NDArray[np.float32]


class Schedule:
    """Says when a still is due. every: seconds.

    is_another  whether the last one was due because the scene is another one
    """

    def __init__(self, every: float) -> None:
        self._every = every
        self.is_another = False
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
            self.is_another = changed
        self._last, self._last_at, self._strange = seen, now, 0
        return True


class Lately:
    """The pictures of the last `seconds` of a scene, a few of them."""

    def __init__(self, seconds: float) -> None:
        self._count = _PICTURES if seconds else 1
        self._step = seconds / max(self._count - 1, 1)
        self.clear()

    def clear(self) -> None:
        """The scene is another one."""
        self._pictures: deque[Pixels] = deque(maxlen=self._count)
        self._last_at = -self._step

    @property
    def enough(self) -> bool:
        return len(self._pictures) == self._count

    def is_next(self, now: float) -> bool:
        """Whether the picture of this moment (seconds, monotonic) is one to keep, which it is."""
        if now < self._last_at + self._step:
            return False
        self._last_at = now
        return True

    def add(self, picture: Pixels) -> None:
        if self._pictures and self._pictures[0].shape != picture.shape:
            self._pictures.clear()
        self._pictures.append(picture)

    @property
    def pictures(self) -> tuple[Pixels, ...]:
        """Those that there are, the oldest first."""
        return tuple(self._pictures)


class Stills:
    """Makes those that are due, each in a thread, and gives (seq, AVIF file) to `give`.

    Belongs to one event loop.

    lately  what a still is made of; where it has not enough yet, the still waits
    layer   (picture, quality 0..255) -> the machine layer of a picture by itself; in any thread
    side    longer side in pixels; quality: 0..100
    """

    def __init__(
        self,
        schedule: Schedule,
        lately: Lately,
        *,
        layer: Callable[[Picture, int], bytes],
        side: int,
        quality: int,
        give: Callable[[int, bytes], None],
    ) -> None:
        self._schedule, self._lately, self._layer = schedule, lately, layer
        self._side, self._quality, self._give = side, quality, give
        self._due: tuple[int, Coded] | None = None  # the newest frame, while a still is due
        self._making: asyncio.Task[None] | None = None

    def offer(self, seq: int, picture: Pixels, coded: Coded) -> None:
        """A frame that was coded just now; `picture` is not to change any more."""
        if coded.header.profile != DETECT or (self._making and not self._making.done()):
            return  # nothing to compare later frames with, or the last one is not made yet
        now = time.monotonic()
        if self._schedule.is_due(picture, now):
            if self._schedule.is_another:
                self._lately.clear()
            self._due = seq, coded
        if self._lately.is_next(now):
            size = working_size(coded.header.width, coded.header.height, self._side)
            self._lately.add(np.asarray(scale(Image.fromarray(picture), size)))
        if self._due:
            self._due = seq, coded
            if self._lately.enough:
                self._make(*self._due)

    async def close(self) -> None:
        """Makes what is due of what there is, and waits for it."""
        if self._due:
            self._make(*self._due)
        if self._making:
            await asyncio.wait([self._making])

    def _make(self, seq: int, coded: Coded) -> None:
        self._due = None
        self._making = asyncio.create_task(self._made(seq, coded, self._lately.pictures))

    async def _made(self, seq: int, coded: Coded, pictures: Sequence[Pixels]) -> None:
        header = coded.header

        def make() -> bytes:
            pixels = median(pictures)
            picture = Picture(pixels, header.width, header.height)
            return make_still(pixels, self._quality, self._layer(picture, header.quality))

        still = await asyncio.to_thread(make)
        log.debug("a still was made", seq=seq, bytes=len(still))
        self._give(seq, still)


def median(pictures: Sequence[Pixels]) -> Pixels:
    """What stood at each pixel for most of the time. All of one shape; the middle one of each."""
    middle = len(pictures) // 2
    place: Pixels = np.partition(np.stack(pictures), middle, axis=0)[middle]
    return place


def make_still(pixels: Pixels, quality: int, layer: bytes) -> bytes:
    """An AVIF file of pixels H W 3 that carries their machine layer; quality 0..100."""
    exif = Image.Exif()
    exif[EXIF_IFD] = {MAKER_NOTE: layer}
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "AVIF", quality=quality, max_threads=1, exif=exif)
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
