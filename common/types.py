"""The plain values that cross module boundaries: frame names, boxes, stored layers."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from common.errors import RemoteProtocolError

MAX_SEQ = 2**63 - 1  # what SQLite and a signed 64-bit field can hold

_CAMERA = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_BOOT = re.compile(r"[A-Za-z0-9_-]{1,64}")


def check_camera(camera: str) -> str:
    """Return `camera` if it is a camera name: 1..64 of `[a-z0-9_-]`, the first `[a-z0-9]`.

    The name becomes part of file names and metric labels, hence the narrow alphabet.
    Raises RemoteProtocolError: a name comes from the peer or from what the peer made us store.
    """
    if not _CAMERA.fullmatch(camera):
        raise RemoteProtocolError(f"not a camera name: {camera[:80]!r}")
    return camera


@dataclass(frozen=True, slots=True, order=True)
class FrameId:
    """One picture of one camera at one moment.

    camera  1..64 characters of [a-z0-9_-], starting with a letter or digit
    boot    names one start of the edge process: 1..64 characters of [A-Za-z0-9_-]
    seq     0..2**63-1, counts up within a boot

    Raises RemoteProtocolError for anything else.
    """

    camera: str
    boot: str
    seq: int

    def __post_init__(self) -> None:
        check_camera(self.camera)
        if not _BOOT.fullmatch(self.boot):
            raise RemoteProtocolError(f"not a boot name: {self.boot[:80]!r}")
        if not 0 <= self.seq <= MAX_SEQ:
            raise RemoteProtocolError(f"sequence number out of range: {self.seq}")

    def __str__(self) -> str:
        return f"{self.camera}/{self.boot}/{self.seq}"


@dataclass(frozen=True, slots=True)
class Box:
    """One detected object.

    label           class name, such as 'car'
    score           0..1
    x1, y1, x2, y2  pixels of the source picture, x1 <= x2 and y1 <= y2; edges, not centres

    Raises ValueError for a score outside 0..1, an infinite or a reversed edge.
    """

    label: str
    score: float
    x1: float
    y1: float
    x2: float
    y2: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.score <= 1.0:
            raise ValueError(f"score outside 0..1: {self.score}")
        if not all(map(math.isfinite, (self.x1, self.y1, self.x2, self.y2))):
            raise ValueError("a box edge is not finite")
        if self.x1 > self.x2 or self.y1 > self.y2:
            raise ValueError("a box edge is reversed")


@dataclass(frozen=True, slots=True)
class Presence:
    """That something of a class is in view, wherever it is.

    label  class name, such as 'car'
    score  0..1 (ValueError)
    """

    label: str
    score: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.score <= 1.0:
            raise ValueError(f"score outside 0..1: {self.score}")


@dataclass(frozen=True, slots=True)
class Layer:
    """One coded layer of one frame, as it is spooled, sent and stored.

    captured_at  seconds since 1970-01-01 UTC, finite and not negative (ValueError)
    data         a whole bitstream: header, body and checksum (see common/bitstream.py)
    """

    frame: FrameId
    captured_at: float
    data: bytes

    def __post_init__(self) -> None:
        if not (math.isfinite(self.captured_at) and self.captured_at >= 0.0):
            raise ValueError(f"not a moment: {self.captured_at}")
