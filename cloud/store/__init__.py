"""Where the cloud keeps what cameras sent: machine layers and the boxes found in them.

One contract, two bodies: that for use is in cloud/store/sqlite.py, that for tests in
cloud/store/memory.py. The store is the only thing that an ack stands on, so `put` returns after
the bytes are on disk, and not before:

    layers in -> put(layers) -> ack -> detect -> put_boxes(frame, boxes, model)
                     many of both at once: write(layers, found), one commit

A frame is stored exactly once: (camera, boot, seq) is its key, and a layer that comes again is a
DUPLICATE whatever its bytes are. A frame without boxes was stored but not yet detected; a frame
with an empty tuple of boxes was detected, and nothing was there.

Layers of one camera and boot are chains, in the order of seq: an intra layer, and the inter layers
that lean on it, each through the one before. `chain` says what stands before a frame.

An auxiliary layer, once a camera was asked for one, is kept beside its frame and goes with it. So
is a still, a reference picture that shows its frame as it was; only the newest of each camera.

What is old goes by `expire`, a bounded batch at a time, unless it is pinned (retention.py).
"Old" means stored long ago by this machine's clock: a camera whose clock is wrong must neither lose
what was just acked nor fill the disk for ever. What leans on a layer goes with it, and what a
pinned frame leans on stays as long as that one does.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

from common import bitstream
from common.bitstream import Header
from common.errors import CorruptStream
from common.types import Box, FrameId, Layer, Presence

Seen = TypeVar("Seen", Box, Presence)


class Outcome(enum.Enum):
    """What became of one layer that was put."""

    STORED = "stored"
    DUPLICATE = "duplicate"


class Place(NamedTuple):
    """Where a frame stands in a list; lists fall in it. It outlives the frame."""

    captured_at: float
    arrival: int


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """One frame as the store knows it.

    captured_at  seconds since 1970-01-01 UTC, by the camera's clock
    boxes        None: not detected yet; (): detected, nothing found; highest score first
    presences    of a recognise layer, in place of boxes; highest score first
    model        which detector found the boxes, '' while there are none
    arrival      rises from frame to frame in the order they were stored
    stored_at    seconds since 1970-01-01 UTC, by this machine's clock
    pinned       never expires
    read         of an inter layer: the header that a detector came to, as header_bytes has it
    auxiliary_bytes  length of its auxiliary layer, 0: none is stored
    """

    frame: FrameId
    captured_at: float
    data: bytes
    boxes: tuple[Box, ...] | None = None
    model: str = ""
    arrival: int = 0
    stored_at: float = 0.0
    pinned: bool = False
    read: bytes = b""
    presences: tuple[Presence, ...] = ()
    auxiliary_bytes: int = 0

    @property
    def place(self) -> Place:
        return Place(self.captured_at, self.arrival)

    @property
    def is_inter(self) -> bool:
        """Whether its layer leans on the one before it."""
        return is_inter(self.data)

    @property
    def header(self) -> Header | None:
        """Of its layer. None: an inter layer that was not read, or an intra layer that rotted."""
        try:
            return bitstream.read_header(self.read if self.is_inter else self.data)
        except CorruptStream:
            return None


@dataclass(frozen=True, slots=True)
class Found:
    """What a detector saw in one frame; `model` says which detector.

    header     of the layer; None: it could not be read
    presences  of a recognise layer, in place of boxes
    """

    frame: FrameId
    boxes: tuple[Box, ...]
    model: str
    header: Header | None = None
    presences: tuple[Presence, ...] = ()

    @property
    def header_bytes(self) -> bytes:
        """As the store keeps it; none for None."""
        return b"" if self.header is None else bitstream.header_bytes(self.header)


@dataclass(frozen=True, slots=True)
class Auxiliary:
    """An auxiliary layer, a whole bitstream; quality: the one that was asked for, 0..255."""

    data: bytes
    quality: int


@dataclass(frozen=True, slots=True)
class CameraSummary:
    """One camera's share of the store; `last_seen` is its newest capture, in unix seconds.

    bytes  of machine layers, of auxiliary ones and of stills
    """

    camera: str
    frames: int
    bytes: int
    last_seen: float


class FrameStore(Protocol):
    """What every body of the store does. Safe to call from any thread; calls block on the disk."""

    def write(self, layers: Sequence[Layer], found: Sequence[Found]) -> tuple[Outcome, ...]:
        """Store layers, then boxes, for good and in one commit; say what became of each layer.

        The boxes replace any that their frame had; those of a frame not in store are let pass.
        Raises StoreFull if there is no room; nothing at all is stored then.
        """
        ...

    def put(self, layers: Sequence[Layer]) -> tuple[Outcome, ...]:
        """`write` of layers alone."""
        return self.write(layers, ())

    def put_boxes(self, frame: FrameId, boxes: Sequence[Box], model: str) -> None:
        """`write` of one frame's boxes alone."""
        self.write((), (Found(frame, tuple(boxes), model),))

    def held(self, frames: Collection[FrameId]) -> frozenset[FrameId]:
        """Which of these frames are stored."""
        ...

    def get(self, frame: FrameId) -> StoredFrame | None:
        """The frame, or None if it is not stored."""
        ...

    def frames(
        self,
        *,
        camera: str | None = None,
        label: str | None = None,
        since: float | None = None,
        until: float | None = None,
        limit: int = 100,
        before: Place | None = None,
    ) -> tuple[StoredFrame, ...]:
        """At most `limit` frames captured in [since, until), newest first.

        camera  only of this camera
        label   only those with a box or a presence of this label
        before  only those that come after this place in the list: pass that of a page's last frame
                to get the next page, whether or not the frame is still stored
        """
        ...

    def chain(self, frame: FrameId) -> tuple[bytes, ...]:
        """What an inter layer leans on: the layers before it, from the nearest intra one on.

        At most MAX_CHAIN - 1 of them, and none where there is no intra layer so near, or where the
        frame is stored and is intra itself. The frame need not be stored.
        """
        ...

    def undetected(self, limit: int) -> tuple[Layer, ...]:
        """At most `limit` stored layers without boxes, in the order they were stored."""
        ...

    def put_auxiliary(self, frame: FrameId, auxiliary: Auxiliary) -> bool:
        """Keep an auxiliary layer with its frame, for good, in the place of one before.

        False: the frame is not stored, and nothing was kept. Raises StoreFull if there is no room.
        """
        ...

    def auxiliary(self, frame: FrameId) -> Auxiliary | None:
        """The frame's auxiliary layer; None: it has none, or is not stored itself."""
        ...

    def put_still(self, frame: FrameId, still: bytes, *, most: int) -> bool:
        """Keep a frame's still with it, for good, and no more than the newest `most` of its camera.

        False: the frame is not stored, and nothing was kept. Raises StoreFull if there is no room.
        """
        ...

    def last_still(
        self, camera: str, until: float, *, since: float = -math.inf
    ) -> tuple[StoredFrame, bytes] | None:
        """The camera's last frame captured in [since, until] that has a still, and the still."""
        ...

    def cameras(self) -> tuple[CameraSummary, ...]:
        """Every camera that ever stored a frame, by name."""
        ...

    def pin(self, frame: FrameId, pinned: bool = True) -> bool:
        """Keep this frame from expiring, or no longer; False if it is not stored.

        The frames before it in its chain are kept with it: they do not count as pinned.
        """
        ...

    def used_bytes(self) -> int:
        """How much room all that is stored takes, as the body's `max_bytes` counts it."""
        ...

    def expire(self, limit: int, *, stored_before: float | None = None) -> Mapping[str, int]:
        """Delete at most `limit` frames, those stored first; say how many of each camera.

        Only those that are not pinned and, if given, were stored before that moment (unix seconds).
        Frames that lean on one of them go with it, though younger; those of the last one go beyond
        the limit, by MAX_CHAIN - 1 at the most.
        """
        ...

    def close(self) -> None:
        """Let go of files. No other call may follow."""
        ...


def is_inter(data: bytes) -> bool:
    """Whether a layer leans on the one before it; what is no layer leans on nothing."""
    try:
        return bitstream.is_inter(data)
    except CorruptStream:
        return False


def labels(boxes: Sequence[Box], presences: Sequence[Presence]) -> frozenset[str]:
    """What is in view."""
    return frozenset(box.label for box in boxes) | frozenset(one.label for one in presences)


def by_score(seen: Sequence[Seen]) -> tuple[Seen, ...]:
    """The surest first, as both bodies keep them."""
    return tuple(sorted(seen, key=lambda one: -one.score))
