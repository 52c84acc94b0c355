"""What was seen in a frame, in a few bytes: boxes, or presences, without their names.

    varint   2 * how many there are, + 0 for boxes, 1 for presences
    1 byte   boxes only, if there are any: bits of an x (high four bits), bits of a y (low four)
    ...      one record after the other, the highest bit first, then zeros to the next whole byte:
                 label       as many bits as the index of the last label takes
                 score       8 bits, in 255ths
                 x1 y1 x2 y2 boxes only: bits as above, in half pixels of the source, 0..8192

A label is its place in the list that both sides hold (Welcome.labels). A box of a 640x480 picture
takes 53 bits with five labels, where its readable form takes some 37 bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from common.errors import RemoteProtocolError
from common.geometry import MAX_SIDE_PX
from common.types import Box, Presence

MOST = 1000  # boxes or presences of one frame
_SCORE_BITS = 8
_SCORES = 255
_STEPS = 2  # of a pixel
_FAR = MAX_SIDE_PX * _STEPS

Seen = tuple[tuple[Box, ...], tuple[Presence, ...]]


def pack(
    boxes: Sequence[Box], presences: Sequence[Presence], labels: Sequence[str]
) -> bytes | None:
    """None for what cannot be said so: both kinds at once, more than 1000, or a name not listed.

    Scores are rounded to 1/255, corners to half pixels within 0..4096.
    """
    things: Sequence[Box | Presence] = boxes or presences
    names = {label: index for index, label in enumerate(labels)}
    if (boxes and presences) or len(things) > MOST or any(t.label not in names for t in things):
        return None
    head = _varint(2 * len(things) + (not boxes and bool(presences)))
    if not things:
        return head
    corners = [tuple(map(_steps, (box.x1, box.y1, box.x2, box.y2))) for box in boxes]
    bits = [max((max(c[i], c[i + 2]) for c in corners), default=0).bit_length() for i in (0, 1)]
    label_bits = _label_bits(labels)
    value = length = 0
    for index, thing in enumerate(things):
        fields = [(names[thing.label], label_bits), (round(thing.score * _SCORES), _SCORE_BITS)]
        fields += zip(corners[index], bits * 2, strict=True) if boxes else ()
        for field, width in fields:
            value = value << width | field
            length += width
    size = (length + 7) // 8
    sizes = bytes([bits[0] << 4 | bits[1]]) if boxes else b""
    return head + sizes + (value << (8 * size - length)).to_bytes(size, "big")


def unpack(data: bytes, labels: Sequence[str]) -> Seen:
    """Undoes `pack`. Raises RemoteProtocolError for bytes that it never writes."""
    count, at = _read_varint(data)
    count, is_presences = divmod(count, 2)
    if count > MOST:
        raise RemoteProtocolError(f"{count} boxes in one frame, {MOST} may be")
    bits = [0, 0]
    if count and not is_presences:
        if at >= len(data):
            raise RemoteProtocolError("packed boxes end early")
        bits, at = [data[at] >> 4, data[at] & 15], at + 1
    widths = [_label_bits(labels), _SCORE_BITS, *(() if is_presences else bits * 2)]
    length = count * sum(widths)
    size = (length + 7) // 8
    if len(data) - at != size:
        raise RemoteProtocolError(f"{count} packed boxes in {len(data) - at} bytes, not {size}")
    value = int.from_bytes(data[at:], "big")
    if value & ((1 << (8 * size - length)) - 1):
        raise RemoteProtocolError("packed boxes end in bits that are not zero")
    records = _records(value >> (8 * size - length), widths, count)
    if is_presences:
        return (), tuple(Presence(_name(r[0], labels), r[1] / _SCORES) for r in records)
    return tuple(_box(r, labels) for r in records), ()


def _records(value: int, widths: Sequence[int], count: int) -> list[list[int]]:
    found: list[list[int]] = []
    for _ in range(count):  # from the last one
        record: list[int] = []
        for width in reversed(widths):
            record.append(value & ((1 << width) - 1))
            value >>= width
        found.append(record[::-1])
    return found[::-1]


def _box(record: Sequence[int], labels: Sequence[str]) -> Box:
    label, score, *corners = record
    if max(corners) > _FAR:
        raise RemoteProtocolError(f"a packed box ends beyond {MAX_SIDE_PX} pixels")
    try:
        return Box(_name(label, labels), score / _SCORES, *(c / _STEPS for c in corners))
    except ValueError as error:
        raise RemoteProtocolError(f"a packed box is none: {error}") from error


def _name(index: int, labels: Sequence[str]) -> str:
    if index >= len(labels):
        raise RemoteProtocolError(f"label {index} of a packed box, there are {len(labels)}")
    return labels[index]


def _label_bits(labels: Sequence[str]) -> int:
    return max(len(labels) - 1, 0).bit_length()


def _steps(pixels: float) -> int:
    return min(max(round(pixels * _STEPS), 0), _FAR)


def _varint(value: int) -> bytes:
    return bytes(_digits(value))


def _digits(value: int) -> Iterator[int]:
    while value > 127:
        yield value & 127 | 128
        value >>= 7
    yield value


def _read_varint(data: bytes) -> tuple[int, int]:
    """(value, where it ends); two bytes at the most."""
    if not data or (data[0] > 127 and len(data) < 2):
        raise RemoteProtocolError("packed boxes end early")
    if data[0] < 128:
        return data[0], 1
    if not data[1]:
        raise RemoteProtocolError("a varint is not in its shortest form")
    if data[1] > 127:
        raise RemoteProtocolError(f"more than {MOST} boxes in one frame")
    return data[0] & 127 | data[1] << 7, 2
