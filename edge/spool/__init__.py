"""The queue on disk between the encoder and the uplink: what is in it survives a power cut.

A layer is spooled before it is sent and leaves when the cloud has acked it, so a kill at any moment
loses no layer that `append` returned for. Layers come out in the order they went in; those of an
earlier boot (before a crash or a restart) therefore come first. The spool is bounded by the bytes
of its layers and by their age (edge/spool/age.py): the oldest expire, because new boxes are worth
more than old ones. What expires takes along the layers behind it that lean on it, up to the next
intra layer.

One contract, two bodies: `MemorySpool` for tests and for cameras without a disk, and SqliteSpool in
edge/spool/sqlite.py.
"""

from __future__ import annotations

import enum
import math
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from common.bitstream import is_inter
from common.errors import BadSettings, CorruptStream
from common.types import FrameId, Layer
from edge.spool.account import Rows
from edge.spool.age import Ages


class ExpiryReason(enum.Enum):
    """Why a layer left the spool unacked."""

    SPOOL_FULL = "spool_full"
    TOO_OLD = "too_old"
    LARGER_THAN_SPOOL = "larger_than_spool"
    DISK_FULL = "disk_full"
    DISK_FAILED = "disk_failed"
    SPOOL_SET_ASIDE = "spool_set_aside"
    SPOOL_REMOVED = "spool_removed"


@dataclass(frozen=True, slots=True)
class Expired:
    """A layer that left the spool unacked: the ledger counts it under its reason."""

    frame: FrameId
    reason: ExpiryReason


@dataclass(frozen=True, slots=True)
class SpoolStatus:
    """What waits: layers, bytes of layers, and the oldest one's capture time (unix s) if any.

    max_bytes  how many bytes may
    """

    frames: int
    bytes: int
    oldest: float | None
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Found:
    """Layers that came and went with the whole file.

    set_aside  layers of this boot that a corrupt file took along
    removed    layers of this boot that were in a file that was removed, or replaced; below 0: they
               came back with it
    earlier    layers of earlier boots that came to light when a file could be read at last; below
               0: were lost
    """

    set_aside: int = 0
    removed: int = 0
    earlier: int = 0


class Spool(Protocol):
    """What every body of the spool does. Safe to call from any thread; calls block on the disk."""

    def append(self, layers: Sequence[Layer]) -> tuple[Expired, ...]:
        """Keep `layers`, all or none; say which expired to make room for them, or are too old.

        Without `layers` it only looks for what is too old: some hundred at the most in one call. A
        layer that is already spooled is let pass. Raises StoreFull if the disk is full, its
        kind DiskFailed if it fails otherwise, and BadSettings for a layer of another camera;
        nothing changes then. `peek` and `drop` raise the former two as well.
        """
        ...

    def peek(self, cursor: int, limit: int) -> tuple[tuple[Layer, ...], int]:
        """At most `limit` layers that follow `cursor`, oldest first, and the last one's cursor.

        Cursors are above 0 and rise in the order of appending, for good: 0 reads from the start,
        and a layer appended later follows every cursor given out before. `cursor` comes back as it
        is if nothing follows it.
        """
        ...

    def drop(self, frames: Collection[FrameId]) -> int:
        """Let go of these frames; how many of them were there."""
        ...

    def status(self) -> SpoolStatus:
        """How much waits now."""
        ...

    def take_found(self) -> Found:
        """What came and went with the whole file since the last call."""
        ...

    def keep_account(self, boot: str, rows: Callable[[], Rows]) -> None:
        """Keep what `rows` says of this boot, with every change; called from any thread."""
        ...

    def close(self) -> None:
        """Let go of files. No other call may follow."""
        ...


class MemorySpool:
    """The contract in a dictionary: gone with the process."""

    def __init__(
        self,
        camera: str,
        *,
        max_bytes: int,
        max_age: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._camera = camera
        self._max_bytes = max_bytes
        self._ages = Ages(max_age, clock)
        self._layers: dict[FrameId, tuple[int, Layer]] = {}  # with its cursor
        self._cursors = count(1)
        self._bytes = 0
        self._lock = threading.Lock()

    def append(self, layers: Sequence[Layer]) -> tuple[Expired, ...]:
        check_camera(layers, self._camera)
        kept, expired = fitting(layers, self._max_bytes)
        with self._lock:
            for layer in kept:
                if layer.frame not in self._layers:
                    cursor = next(self._cursors)
                    self._layers[layer.frame] = cursor, layer
                    self._bytes += len(layer.data)
                    self._ages.added(cursor)
            why = None
            while self._layers:
                frame, (cursor, head) = next(iter(self._layers.items()))
                age = cursor, head.captured_at
                why = reason(why, self._bytes - self._max_bytes, self._ages, age, head.data)
                if why is None:
                    break
                self._remove(frame)
                expired.append(Expired(frame, why))
        return tuple(expired)

    def peek(self, cursor: int, limit: int) -> tuple[tuple[Layer, ...], int]:
        with self._lock:
            found = [item for item in self._layers.values() if item[0] > cursor][:limit]
        return tuple(layer for _, layer in found), found[-1][0] if found else cursor

    def drop(self, frames: Collection[FrameId]) -> int:
        with self._lock:
            gone = self._layers.keys() & set(frames)
            for frame in gone:
                self._remove(frame)
        return len(gone)

    def status(self) -> SpoolStatus:
        with self._lock:
            oldest = next((layer.captured_at for _, layer in self._layers.values()), None)
            return SpoolStatus(len(self._layers), self._bytes, oldest, self._max_bytes)

    def take_found(self) -> Found:
        return Found()

    def keep_account(self, boot: str, rows: Callable[[], Rows]) -> None:
        pass

    def close(self) -> None:
        pass

    def _remove(self, frame: FrameId) -> None:
        _, layer = self._layers.pop(frame)
        self._bytes -= len(layer.data)


def reason(
    last: ExpiryReason | None, over: int, ages: Ages, age: tuple[int, float], data: bytes
) -> ExpiryReason | None:
    """Why the oldest layer expires; None: it stays.

    last  why the one before it expired just now, if it did
    over  bytes by which the spool passes its bound
    age   cursor and capture time, for `ages`
    """
    if over > 0:
        return ExpiryReason.SPOOL_FULL
    if ages.too_old(*age):
        return ExpiryReason.TOO_OLD
    return last if last is not None and leans(data) else None


def leans(data: bytes) -> bool:
    """Whether these bytes are a layer that leans on another."""
    try:
        return is_inter(data)
    except CorruptStream:  # the spool keeps whatever it was given
        return False


def check_camera(layers: Sequence[Layer], camera: str) -> None:
    """Raises BadSettings for a layer of another camera."""
    for layer in layers:
        if layer.frame.camera != camera:
            raise BadSettings(f"the spool of {camera} was given a layer of {layer.frame.camera}")


def fitting(layers: Sequence[Layer], max_bytes: int) -> tuple[list[Layer], list[Expired]]:
    """`layers` without those that no amount of expiring could make room for."""
    kept = [layer for layer in layers if len(layer.data) <= max_bytes]
    too_large = [layer.frame for layer in layers if len(layer.data) > max_bytes]
    return kept, [Expired(frame, ExpiryReason.LARGER_THAN_SPOOL) for frame in too_large]
