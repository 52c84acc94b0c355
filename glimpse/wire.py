"""Our values <-> protobuf. Copies; judges only what it is given by its caller."""

from __future__ import annotations

import datetime
import struct
from collections.abc import Iterable

from glimpse.errors import InvalidLayer
from glimpse.types import Box, Detection, Frame, FrameId, Presence, Sighting
from glimpse.v1 import archive_pb2, detection_pb2, types_pb2

MAX_LAYER_BYTES = 1 << 20
MAX_US = 2**63 - 1
PAGE_FRAMES = 200
_US = 1e6

Moment = float | datetime.datetime


_FLOAT = struct.Struct("f")


def detect_request(layer: bytes, min_score: float | None) -> detection_pb2.DetectRequest:
    """Raises InvalidLayer for what no server would read to its end."""
    return detection_pb2.DetectRequest(layer=bounded(layer), min_score=min_score)


def bounded(layer: bytes) -> bytes:
    """The same layer. Raises InvalidLayer for what no server would read to its end."""
    if len(layer) > MAX_LAYER_BYTES:
        raise InvalidLayer(f"a layer of {len(layer)} bytes is over the limit of {MAX_LAYER_BYTES}")
    return layer


def watch_request(cameras: Iterable[str], min_score: float | None) -> detection_pb2.WatchRequest:
    if isinstance(cameras, str):  # an iterable of names too, of one letter each
        raise TypeError("cameras: a list of names, not one name")
    return detection_pb2.WatchRequest(cameras=list(cameras), min_score=min_score)


def frames_request(
    camera: str | None, label: str | None, since: Moment | None, until: Moment | None
) -> archive_pb2.ListFramesRequest:
    return archive_pb2.ListFramesRequest(
        camera=camera or "",
        label=label or "",
        since_us=None if since is None else _microseconds(since),
        until_us=None if until is None else _microseconds(until),
    )


def page_size(left: int | None) -> int:
    """How many frames to ask for at once."""
    return PAGE_FRAMES if left is None else min(left, PAGE_FRAMES)


def frame_request(frame: FrameId | str) -> archive_pb2.GetFrameRequest:
    """Raises ValueError for a text that names no frame."""
    frame = FrameId.parse(frame) if isinstance(frame, str) else frame
    return archive_pb2.GetFrameRequest(camera=frame.camera, boot=frame.boot, seq=frame.seq)


def detection(r: detection_pb2.DetectResponse) -> Detection:
    return Detection(
        r.width,
        r.height,
        r.model_id,
        r.profile,
        r.quality / 255,
        _boxes(r.boxes),
        _presences(r.presences),
    )


def sighting(r: detection_pb2.WatchResponse, reconnects: int) -> Sighting:
    return Sighting(
        FrameId(r.camera, r.boot, r.seq),
        r.captured_at_us / _US,
        r.layer_bytes,
        r.width,
        r.height,
        _boxes(r.boxes),
        r.missed,
        reconnects,
        _presences(r.presences),
    )


def frame(f: archive_pb2.ArchivedFrame, layer: bytes | None = None) -> Frame:
    return Frame(
        FrameId(f.camera, f.boot, f.seq),
        f.captured_at_us / _US,
        f.layer_bytes,
        f.width,
        f.height,
        _boxes(f.boxes) if f.has_boxes else None,
        f.detector,
        f.fault,
        f.pinned,
        layer,
        _presences(f.presences),
    )


def _boxes(boxes: Iterable[types_pb2.Box]) -> tuple[Box, ...]:
    return tuple(Box(b.label, *map(plain, (b.score, b.x1, b.y1, b.x2, b.y2))) for b in boxes)


def _presences(presences: Iterable[types_pb2.Presence]) -> tuple[Presence, ...]:
    return tuple(Presence(p.label, plain(p.score)) for p in presences)


def plain(value: float) -> float:
    """A float32 as the shortest decimal that names it: 0.3, not 0.30000001192092896."""
    for digits in range(6, 9):
        short = float(f"{value:.{digits}g}")
        if _FLOAT.unpack(_FLOAT.pack(short))[0] == value:
            return short
    return value


def _microseconds(moment: Moment) -> int:
    """Raises ValueError for a datetime without a time zone: whose noon would it be?"""
    if isinstance(moment, datetime.datetime):
        if moment.tzinfo is None:
            raise ValueError(f"{moment!r} has no time zone")
        moment = moment.timestamp()
    return min(max(round(moment * _US), 0), MAX_US)
