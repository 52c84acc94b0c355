"""The opponent that needs no picture: the whole detector on the edge, and its boxes sent.

Two ways to write boxes down. `wire` is this product's own message (proto/glimpse/v1): labels in
letters, floats, ready to use. `pack` is as small as whole pixels allow, without entropy coding; a
string of bits, filled up with zeros to a whole byte:

    13 + 13 + 7 bits     width, height (1..4096) and how many boxes (0..127)
    for each box         label, score * 63, x1, x2, y1, y2 in whole pixels, each in as many bits as
                         its largest value needs
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from bench.accuracy.matching import Found
from glimpse.v1 import detection_pb2, types_pb2

_HEAD = (13, 13, 7)
_SCORE_STEPS = 63


def wire(found: Found, labels: Sequence[str], width: int, height: int) -> bytes:
    """A DetectResponse with these boxes."""
    boxes = [
        types_pb2.Box(label=labels[int(label)], score=score, x1=x1, y1=y1, x2=x2, y2=y2)
        for score, label, x1, y1, x2, y2 in found.tolist()
    ]
    return detection_pb2.DetectResponse(width=width, height=height, boxes=boxes).SerializeToString()


def unwire(data: bytes, labels: Sequence[str]) -> Found:
    """The boxes in a `wire` message."""
    boxes = detection_pb2.DetectResponse.FromString(data).boxes
    rows = [[b.score, labels.index(b.label), b.x1, b.y1, b.x2, b.y2] for b in boxes]
    return np.array(rows, np.float32).reshape(-1, 6)


def pack(found: Found, labels: Sequence[str], width: int, height: int) -> bytes:
    """Boxes of a picture of width x height pixels, in the order given. At most 127."""
    fields = list(zip((width, height, len(found)), _HEAD, strict=True))
    bits = _bits(labels, width, height)
    for score, label, x1, y1, x2, y2 in found.tolist():
        fields += zip((label, score * _SCORE_STEPS, x1, x2, y1, y2), bits, strict=True)
    whole, length = 0, 0
    for value, size in fields:
        whole, length = whole << size | round(value), length + size
    padding = -length % 8
    return (whole << padding).to_bytes((length + padding) // 8)


def unpack(data: bytes, labels: Sequence[str]) -> Found:
    """The boxes in a `pack` message, as its receiver knows them."""
    whole, left = int.from_bytes(data), 8 * len(data)

    def take(sizes: Iterable[int]) -> Iterable[int]:
        nonlocal left
        for size in sizes:
            left -= size
            yield whole >> left & (1 << size) - 1

    width, height, count = take(_HEAD)
    bits = _bits(labels, width, height)
    rows = np.zeros((count, 6), np.float32)
    for row in rows:
        label, score, x1, x2, y1, y2 = take(bits)
        row[:] = score / _SCORE_STEPS, label, x1, y1, x2, y2
    return rows


def _bits(labels: Sequence[str], width: int, height: int) -> tuple[int, ...]:
    """Of label, score, x1, x2, y1, y2."""
    across, down = width.bit_length(), height.bit_length()
    return (len(labels) - 1).bit_length(), _SCORE_STEPS.bit_length(), across, across, down, down
