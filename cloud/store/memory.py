"""The frame store in a dictionary, for tests: see cloud/store/__init__.py for the contract."""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile

from cloud.store import (
    Auxiliary,
    CameraSummary,
    Found,
    FrameStore,
    Outcome,
    Place,
    StoredFrame,
    by_score,
    labels,
)
from common.bitstream import MAX_CHAIN
from common.errors import StoreFull
from common.types import FrameId, Layer


class MemoryFrameStore(FrameStore):
    """Gone with the process. `max_bytes` bounds the layers' bytes."""

    def __init__(
        self, *, max_bytes: int | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._frames: dict[FrameId, StoredFrame] = {}  # in the order of arrival
        self._boots: dict[tuple[str, str], list[FrameId]] = {}  # those of a boot, by seq
        self._auxiliary: dict[FrameId, Auxiliary] = {}
        self._stills: dict[FrameId, bytes] = {}
        self._kept: set[FrameId] = set()  # for a pinned frame that leans on them
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
            self._add_bytes(sum(len(layer.data) for layer in new.values()))
            now = self._clock()
            outcomes = tuple(self._insert(layer, now) for layer in layers)
            for new_boxes in found:
                self._set_boxes(new_boxes)
            return outcomes

    def _add_bytes(self, added: int) -> None:
        if self._max_bytes is not None and self._bytes + added > self._max_bytes:
            raise StoreFull(f"the frame store is full: {self._max_bytes} bytes")
        self._bytes += added

    def _insert(self, layer: Layer, now: float) -> Outcome:
        frame, at = layer.frame, layer.captured_at
        if frame in self._frames:
            return Outcome.DUPLICATE
        self._arrivals += 1
        self._frames[frame] = StoredFrame(
            frame, at, layer.data, arrival=self._arrivals, stored_at=now
        )
        insort(self._boots.setdefault((frame.camera, frame.boot), []), frame)
        self._last_seen[frame.camera] = max(self._last_seen.get(frame.camera, at), at)
        return Outcome.STORED

    def _set_boxes(self, found: Found) -> None:
        if stored := self._frames.get(found.frame):
            self._frames[found.frame] = replace(
                stored,
                boxes=by_score(found.boxes),
                presences=by_score(found.presences),
                model=found.model,
                read=found.header_bytes if stored.is_inter else b"",
            )

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
            and (label is None or label in labels(stored.boxes or (), stored.presences))
        )
        return tuple(stored for stored, _ in zip(wanted, range(limit), strict=False))

    def chain(self, frame: FrameId) -> tuple[bytes, ...]:
        with self._lock:
            return tuple(stored.data for stored in self._before(frame))

    def undetected(self, limit: int) -> tuple[Layer, ...]:
        with self._lock:
            waiting = [f for f in self._frames.values() if f.boxes is None]
        return tuple(Layer(f.frame, f.captured_at, f.data) for f in waiting[:limit])

    def put_auxiliary(self, frame: FrameId, auxiliary: Auxiliary) -> bool:
        with self._lock:
            if frame not in self._frames:
                return False
            before = self._frames[frame].auxiliary_bytes
            self._add_bytes(len(auxiliary.data) - before)
            self._auxiliary[frame] = auxiliary
            self._frames[frame] = replace(self._frames[frame], auxiliary_bytes=len(auxiliary.data))
            return True

    def auxiliary(self, frame: FrameId) -> Auxiliary | None:
        with self._lock:
            return self._auxiliary.get(frame)

    def put_still(self, frame: FrameId, still: bytes, *, most: int) -> bool:
        with self._lock:
            if frame not in self._frames:
                return False
            self._add_bytes(len(still) - len(self._stills.get(frame, b"")))
            self._stills[frame] = still
            for stored in self._with_still(frame.camera)[most:]:
                self._bytes -= len(self._stills.pop(stored.frame))
            return True

    def last_still(
        self, camera: str, until: float, *, since: float = -math.inf
    ) -> tuple[StoredFrame, bytes] | None:
        with self._lock:
            for stored in self._with_still(camera):
                if since <= stored.captured_at <= until:
                    return stored, self._stills[stored.frame]
        return None

    def _with_still(self, camera: str) -> list[StoredFrame]:
        """Newest first."""
        own = (self._frames[frame] for frame in self._stills if frame.camera == camera)
        return sorted(own, key=lambda stored: stored.place, reverse=True)

    def cameras(self) -> tuple[CameraSummary, ...]:
        with self._lock:
            stored = list(self._frames.values())
            last_seen = sorted(self._last_seen.items())
        sizes = {
            name: [self._size(f) for f in stored if f.frame.camera == name] for name, _ in last_seen
        }
        return tuple(
            CameraSummary(name, len(sizes[name]), sum(sizes[name]), at) for name, at in last_seen
        )

    def pin(self, frame: FrameId, pinned: bool = True) -> bool:
        with self._lock:
            if frame not in self._frames:
                return False
            self._frames[frame] = replace(self._frames[frame], pinned=pinned)
            self._keep([*self._before(frame), self._frames[frame], *self._after(frame)])
            return True

    def _keep(self, chain: Sequence[StoredFrame]) -> None:
        self._kept.difference_update(stored.frame for stored in chain)
        needed = max((i for i, stored in enumerate(chain) if stored.pinned), default=0)
        self._kept.update(stored.frame for stored in chain[:needed])

    def _before(self, frame: FrameId) -> list[StoredFrame]:
        if frame in self._frames and not self._frames[frame].is_inter:
            return []
        boot = self._boots.get((frame.camera, frame.boot), [])
        end = bisect_left(boot, frame)
        near = [self._frames[before] for before in boot[max(end - MAX_CHAIN + 1, 0) : end]]
        keys = [i for i, stored in enumerate(near) if not stored.is_inter]
        return near[keys[-1] :] if keys else []

    def _after(self, frame: FrameId) -> list[StoredFrame]:
        boot = self._boots[frame.camera, frame.boot]
        start = bisect_right(boot, frame)
        near = (self._frames[after] for after in boot[start : start + MAX_CHAIN - 1])
        return list(takewhile(lambda stored: stored.is_inter, near))

    def used_bytes(self) -> int:
        with self._lock:
            return self._bytes

    def expire(self, limit: int, *, stored_before: float | None = None) -> Mapping[str, int]:
        with self._lock:
            oldest = sorted(self._frames.values(), key=lambda f: (f.stored_at, f.arrival))
            gone: dict[FrameId, StoredFrame] = {}
            for stored in oldest:
                if len(gone) >= limit:
                    break
                is_old = stored_before is None or stored.stored_at < stored_before
                if is_old and self._is_free(stored):
                    with_it = [stored, *filter(self._is_free, self._after(stored.frame))]
                    gone |= {leaving.frame: leaving for leaving in with_it}
            for stored in gone.values():
                self._delete(stored)
        return Counter(frame.camera for frame in gone)

    def _is_free(self, stored: StoredFrame) -> bool:
        return not stored.pinned and stored.frame not in self._kept

    def _delete(self, stored: StoredFrame) -> None:
        del self._frames[stored.frame]
        self._boots[stored.frame.camera, stored.frame.boot].remove(stored.frame)
        self._bytes -= self._size(stored)
        self._auxiliary.pop(stored.frame, None)
        self._stills.pop(stored.frame, None)

    def _size(self, stored: StoredFrame) -> int:
        still = self._stills.get(stored.frame, b"")
        return len(stored.data) + stored.auxiliary_bytes + len(still)

    def close(self) -> None:
        pass
