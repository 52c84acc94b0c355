"""Sets of frames as ranges: a spool of a thousand frames in a row is named in a dozen bytes."""

from __future__ import annotations

from collections.abc import Iterable

from common.errors import RemoteProtocolError
from common.session.events import FrameRange
from common.types import FrameId


def compress(frames: Iterable[FrameId], boot: str) -> tuple[FrameRange, ...]:
    """Name `frames`, in their order, as ranges; `boot` (the stream's) is written as ''."""
    ranges: list[FrameRange] = []
    for frame in frames:
        name = "" if frame.boot == boot else frame.boot
        last = ranges[-1] if ranges else None
        if last is not None and last.boot == name and last.last + 1 == frame.seq:
            ranges[-1] = FrameRange(name, last.first, frame.seq)
        else:
            ranges.append(FrameRange(name, frame.seq, frame.seq))
    return tuple(ranges)


def expand(ranges: Iterable[FrameRange], camera: str, boot: str, limit: int) -> tuple[FrameId, ...]:
    """Undo `compress`. Raises RemoteProtocolError for a reversed range, or over `limit` frames."""
    frames: list[FrameId] = []
    for r in ranges:
        if r.last < r.first:
            raise RemoteProtocolError(f"a range runs backwards: {r.first}..{r.last}")
        if r.last - r.first >= limit - len(frames):
            raise RemoteProtocolError(f"more than {limit} frames named at once")
        name = r.boot or boot
        frames.extend(FrameId(camera, name, seq) for seq in range(r.first, r.last + 1))
    return tuple(frames)
