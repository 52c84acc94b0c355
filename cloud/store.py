"""Where the cloud keeps what cameras sent: machine layers and the boxes found in them.

One contract, two bodies: `MemoryFrameStore` here, for tests; the one for use is in
cloud/store_sqlite.py. The store is the only thing that an ack stands on, so `put` returns after
the bytes are on disk, and not before:

    layers in -> put(layers) -> ack -> detect -> put_boxes(frame, boxes, model)
                     many of both at once: write(layers, found), one commit

A frame is stored exactly once: (camera, boot, seq) is its key, and a layer that comes again is a
DUPLICATE whatever its bytes are. A frame without boxes was stored but not yet detected; a frame
with an empty tuple of boxes was detected, and nothing was there.

What is old goes by `expire`, a bounded batch at a time, unless it is pinned (cloud/retention.py).
"Old" means stored long ago by this machine's clock: a camera whose clock is wrong must neither lose
what was just acked nor fill the disk for ever.
"""

from __future__ import annotations

import enum
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from common.errors import StoreFull
from common.types import Box, FrameId, Layer


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
    model        which detector found the boxes, '' while there are none
    arrival      rises from frame to frame in the order they were stored
    stored_at    seconds since 1970-01-01 UTC, by this machine's clock
    pinned       never expires
    """

    frame: FrameId
    captured_at: float
    data: bytes
    boxes: tuple[Box, ...] | None = None
    model: str = ""
    arrival: int = 0
    stored_at: float = 0.0
    pinned: bool = False

    @property
    def place(self) -> Place:
        return Place(self.captured_at, self.arrival)


@dataclass(frozen=True, slots=True)
class Found:
    """What a detector saw in one frame; `model` says which detector."""

    frame: FrameId
    boxes: tuple[Box, ...]
    model: str


@dataclass(frozen=True, slots=True)
class CameraSummary:
    """One camera's share of the store; `last_seen` is its newest capture, in unix seconds."""

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
        label   only those with a box of this label
        before  only those that come after this place in the list: pass that of a page's last frame
                to get the next page, whether or not the frame is still stored
        """
        ...

    def undetected(self, limit: int) -> tuple[Layer, ...]:
        """At most `limit` stored layers without boxes, in the order they were stored."""
        ...

    def cameras(self) -> tuple[CameraSummary, ...]:
        """Every camera that ever stored a frame, by name."""
        ...

    def pin(self, frame: FrameId, pinned: bool = True) -> bool:
        """Keep this frame from expiring, or no longer; False if it is not stored."""
        ...

    def used_bytes(self) -> int:
        """How much room all that is stored takes, as the body's `max_bytes` counts it."""
        ...

    def expire(self, limit: int, *, stored_before: float | None = None) -> Mapping[str, int]:
        """Delete at most `limit` frames, those stored first; say how many of each camera.

        Only those that are not pinned and, if given, were stored before that moment (unix seconds).
        """
        ...

    def close(self) -> None:
        """Let go of files. No other call may follow."""
        ...


class MemoryFrameStore(FrameStore):
    """The contract in a dictionary: gone with the process. `max_bytes` bounds the layers' bytes."""

    def __init__(
        self, *, max_bytes: int | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._frames: dict[FrameId, StoredFrame] = {}  # in the order of arrival
        self._last_seen: dict[str, float] = {}
        self._bytes = 0
        self._arrivals = 0
        self._max_bytes = max_bytes
        self._clock = clock
        self._lock = threading.Lock()

    def write(self, layers: Sequence[Layer], found: Sequence[Found]) -> tuple[Outcome, ...]:
        with self._lock:
            new = {layer.frame: layer for layer in reversed(layers)}  # the first of a key wins
            new = {frame: layer for frame, layer in new.items() if frame not in self._frames}
            added = sum(len(layer.data) for layer in new.values())
            if self._max_bytes is not None and self._bytes + added > self._max_bytes:
                raise StoreFull(f"the frame store is full: {self._max_bytes} bytes")
            self._bytes += added
            now = self._clock()
            outcomes = tuple(self._insert(layer, now) for layer in layers)
            for new_boxes in found:
                self._set_boxes(new_boxes)
            return outcomes

    def _insert(self, layer: Layer, now: float) -> Outcome:
        frame, at = layer.frame, layer.captured_at
        if frame in self._frames:
            return Outcome.DUPLICATE
        self._arrivals += 1
        self._frames[frame] = StoredFrame(
            frame, at, layer.data, arrival=self._arrivals, stored_at=now
        )
        self._last_seen[frame.camera] = max(self._last_seen.get(frame.camera, at), at)
        return Outcome.STORED

    def _set_boxes(self, found: Found) -> None:
        if stored := self._frames.get(found.frame):
            boxes = by_score(found.boxes)
            self._frames[found.frame] = replace(stored, boxes=boxes, model=found.model)

    def held(self, frames: Collection[FrameId]) -> frozenset[FrameId]:
        with self._lock:
            return frozenset(frame for frame in frames if frame in self._frames)

    def get(self, frame: FrameId) -> StoredFrame | None:
        with self._lock:
            return self._frames.get(frame)

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
        with self._lock:
            listed = sorted(self._frames.values(), key=lambda f: f.place, reverse=True)
        wanted = (
            stored
            for stored in listed
            if (before is None or stored.place < before)
            and (camera is None or stored.frame.camera == camera)
            and (since is None or stored.captured_at >= since)
            and (until is None or stored.captured_at < until)
            and (label is None or any(box.label == label for box in stored.boxes or ()))
        )
        return tuple(stored for stored, _ in zip(wanted, range(limit), strict=False))

    def undetected(self, limit: int) -> tuple[Layer, ...]:
        with self._lock:
            waiting = [f for f in self._frames.values() if f.boxes is None]
        return tuple(Layer(f.frame, f.captured_at, f.data) for f in waiting[:limit])

    def cameras(self) -> tuple[CameraSummary, ...]:
        with self._lock:
            stored = list(self._frames.values())
            last_seen = sorted(self._last_seen.items())
        sizes = {
            name: [len(f.data) for f in stored if f.frame.camera == name] for name, _ in last_seen
        }
        return tuple(
            CameraSummary(name, len(sizes[name]), sum(sizes[name]), at) for name, at in last_seen
        )

    def pin(self, frame: FrameId, pinned: bool = True) -> bool:
        with self._lock:
            if frame not in self._frames:
                return False
            self._frames[frame] = replace(self._frames[frame], pinned=pinned)
            return True

    def used_bytes(self) -> int:
        with self._lock:
            return self._bytes

    def expire(self, limit: int, *, stored_before: float | None = None) -> Mapping[str, int]:
        with self._lock:
            oldest = sorted(self._frames.values(), key=lambda f: (f.stored_at, f.arrival))
            old = [
                stored
                for stored in oldest
                if not stored.pinned and (stored_before is None or stored.stored_at < stored_before)
            ]
            gone = old[: max(limit, 0)]
            for stored in gone:
                del self._frames[stored.frame]
                self._bytes -= len(stored.data)
        return Counter(stored.frame.camera for stored in gone)

    def close(self) -> None:
        pass


def by_score(boxes: Sequence[Box]) -> tuple[Box, ...]:
    """The surest first, as both bodies keep them."""
    return tuple(sorted(boxes, key=lambda box: -box.score))
