"""What was seen in several frames, each told by how it differs from the frames before it.

A thing in view stays about where it was: a box that is known takes some 20 bits where its own 53
(common/packed.py) say it anew. One message's frames lean on each other and on nothing else.

    how many frames, less 1 (8 bits); the number of the first; then frame after frame:
        how far its number is beyond the one before, less 1 (not of the first)
        boxes or presences
        each thing known of this kind: is it there? then its values less those it had
        each other thing: yes; its label; its values. Then: no

A thing's values are its score in 255ths and, for a box, x1 y1 x2 y2 in half pixels of the source.
Of a new box x2 and y2 are told from x1 and y1. A thing that was not there for four frames is known
no more. A magnitude is the number of its bits, one decision each, and then the bits. All is range
coded (common/coding/rangecoder.py), decisions with chances that follow those taken so far in the
message.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from common.coding.rangecoder import TOTAL_BITS, Decoder, Encoder
from common.errors import CorruptStream, RemoteProtocolError
from common.geometry import MAX_SIDE_PX
from common.types import Box, Presence

_FRAMES_BITS = 8
FRAMES = 1 << _FRAMES_BITS  # in one message, at the most
THINGS = 100  # in one frame; a frame with more is told in another way
_SCORES = 255
_STEPS = 2  # of a pixel
_FAR = MAX_SIDE_PX * _STEPS
_KNOWN = 4  # frames for which a thing is known that is not there
_SAME = 0.3  # intersection over union of a box and what it was
_SEQ_BITS = 63
_BITS = 15  # of a value's magnitude
_TOP = 64  # to the decision on the bit below the highest one
_HALF = 1 << (TOTAL_BITS - 1)

# Decisions are named by numbers; a magnitude takes many of them.
_KIND = 0
_MORE = 1  # of boxes; 2 of presences
_THERE = 3  # by frames since, of boxes; then of presences
_WIDE = 128  # from one magnitude's name to the next
_FIRST, _STEP = _WIDE, 2 * _WIDE
_NEW = 3 * _WIDE  # by value, of boxes
_MOVED = 7 * _WIDE  # by value, of boxes; then of presences

_Values = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FrameSeen:
    """A frame's number in its boot and what is in view: boxes, or presences, or nothing."""

    seq: int
    boxes: tuple[Box, ...] = ()
    presences: tuple[Presence, ...] = ()


def fits(frame: FrameSeen, labels: Sequence[str]) -> bool:
    """Whether a frame can be told of in this way."""
    things: Sequence[Box | Presence] = (*frame.boxes, *frame.presences)
    known = all(thing.label in labels for thing in things)
    return known and len(things) <= THINGS and not (frame.boxes and frame.presences)


def pack_frames(frames: Sequence[FrameSeen], labels: Sequence[str]) -> bytes:
    """Frames that fit, at most FRAMES, in the order of their numbers, each of which comes once.

    Scores are rounded to 1/255, corners to half pixels within 0..4096.
    """
    coder = _Writer()
    coder.raw(len(frames) - 1, _FRAMES_BITS)
    views = _views(len(labels))
    before: int | None = None
    for frame in frames:
        step = frame.seq if before is None else frame.seq - before - 1
        coder.magnitude(_FIRST if before is None else _STEP, step, _SEQ_BITS)
        before = frame.seq
        is_presences = coder.bit(_KIND, bool(frame.presences))
        views[is_presences].write(coder, _things(frame, labels))
    return coder.finish()


def unpack_frames(data: bytes, labels: Sequence[str]) -> tuple[FrameSeen, ...]:
    """Undoes `pack_frames`; a frame's things come by falling score.

    Raises RemoteProtocolError for bytes that say what cannot be.
    """
    try:
        return tuple(_read(_Reader(data), labels))
    except (CorruptStream, ValueError) as error:
        raise RemoteProtocolError(f"packed frames: {error}") from error


def _read(coder: _Reader, labels: Sequence[str]) -> Iterator[FrameSeen]:
    count = 1 + coder.raw(_FRAMES_BITS)
    views = _views(len(labels))
    seq = coder.magnitude(_FIRST, _SEQ_BITS)
    for index in range(count):
        if index:
            seq += 1 + coder.magnitude(_STEP, _SEQ_BITS)
        if seq >= 1 << _SEQ_BITS:
            raise CorruptStream("a number beyond all frames")
        is_presences = coder.bit(_KIND)
        things = views[is_presences].read(coder)
        things.sort(key=lambda thing: -thing[1][0])
        if is_presences:
            seen = tuple(Presence(labels[label], v[0] / _SCORES) for label, v in things)
            yield FrameSeen(seq, (), seen)
        else:
            yield FrameSeen(seq, tuple(_box(labels[label], v) for label, v in things))
    coder.finish()


# ---------------------------------------------------------------- what is known of the view


class _View:
    """Things of one kind, as they were last seen. Both sides go through the same states.

    width   values of a thing: 1 or 5
    labels  how many there are
    """

    def __init__(self, width: int, labels: int) -> None:
        self._width = width
        is_presences = width == 1
        self._more = _MORE + is_presences
        self._there = _THERE + (_KNOWN + 1) * is_presences
        self._moved = [_MOVED + _WIDE * (5 * is_presences + k) for k in range(width)]
        self._labels = labels
        self._label_bits = max(labels - 1, 0).bit_length()
        self._known: list[tuple[int, _Values, int]] = []  # label, values, frames since

    def write(self, coder: _Writer, things: list[tuple[int, _Values]]) -> None:
        fresh = dict(enumerate(things))
        pairs = _pairs(self._known, things)
        known = []
        for i, (label, old, since) in enumerate(self._known):
            if coder.bit(self._there + since, i in pairs):
                values = fresh.pop(pairs[i])[1]
                for name, value, was in zip(self._moved, values, old, strict=True):
                    coder.signed(name, value - was)
                known.append((label, values, 0))
            elif since < _KNOWN:
                known.append((label, old, since + 1))
        for label, values in fresh.values():
            coder.bit(self._more, True)
            coder.raw(label, self._label_bits)
            coder.raw(values[0], 8)
            for k, value in enumerate(_relative(values[1:])):
                coder.magnitude(_NEW + _WIDE * k, value, _BITS)
            known.append((label, values, 0))
        coder.bit(self._more, False)
        self._known = known

    def read(self, coder: _Reader) -> list[tuple[int, _Values]]:
        known = []
        for label, old, since in self._known:
            if coder.bit(self._there + since):
                steps = [coder.signed(name) for name in self._moved]
                values = tuple(was + step for was, step in zip(old, steps, strict=True))
                known.append((label, _checked(values), 0))
            elif since < _KNOWN:
                known.append((label, old, since + 1))
        there = sum(not since for _, _, since in known)
        while coder.bit(self._more):
            label, score = coder.raw(self._label_bits), coder.raw(8)
            if label >= self._labels:
                raise CorruptStream(f"label {label}, there are {self._labels}")
            rest = [coder.magnitude(_NEW + _WIDE * k, _BITS) for k in range(self._width - 1)]
            known.append((label, _checked((score, *_absolute(rest))), 0))
            there += 1
            if there > THINGS:
                raise CorruptStream(f"more than {THINGS} things in one frame")
        self._known = known
        return [(label, values) for label, values, since in known if not since]


def _views(labels: int) -> tuple[_View, _View]:
    return _View(5, labels), _View(1, labels)


def _pairs(
    known: Sequence[tuple[int, _Values, int]], things: Sequence[tuple[int, _Values]]
) -> dict[int, int]:
    """Which thing is which known one: the likest first."""
    likeness = sorted(
        (
            (-_likeness(old, values), i, j)
            for i, (label, old, _) in enumerate(known)
            for j, (own, values) in enumerate(things)
            if own == label
        )
    )
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for unlike, i, j in likeness:
        if -unlike >= _SAME and i not in pairs and j not in taken:
            pairs[i] = j
            taken.add(j)
    return pairs


def _likeness(a: _Values, b: _Values) -> float:
    """Of two boxes, intersection over union; presences of one label are alike."""
    if len(a) == 1:
        return 1.0
    _, ax1, ay1, ax2, ay2 = a
    _, bx1, by1, bx2, by2 = b
    both = max(min(ax2, bx2) - max(ax1, bx1), 0) * max(min(ay2, by2) - max(ay1, by1), 0)
    either = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - both
    return both / either if either else 0.0


def _things(frame: FrameSeen, labels: Sequence[str]) -> list[tuple[int, _Values]]:
    seen: list[tuple[Box | Presence, tuple[float, ...]]] = [
        *((box, (box.x1, box.y1, box.x2, box.y2)) for box in frame.boxes),
        *((presence, ()) for presence in frame.presences),
    ]
    return [
        (labels.index(thing.label), (round(thing.score * _SCORES), *map(_steps, corners)))
        for thing, corners in seen
    ]


def _steps(pixels: float) -> int:
    return min(max(round(pixels * _STEPS), 0), _FAR)


def _relative(corners: Sequence[int]) -> Sequence[int]:
    return [*corners[:2], *(far - near for near, far in zip(corners, corners[2:], strict=False))]


def _absolute(told: Sequence[int]) -> Sequence[int]:
    return [*told[:2], *(near + size for near, size in zip(told, told[2:], strict=False))]


def _checked(values: _Values) -> _Values:
    if not 0 <= values[0] <= _SCORES or not all(0 <= corner <= _FAR for corner in values[1:]):
        raise CorruptStream("a score or a corner is out of range")
    return values


def _box(label: str, values: _Values) -> Box:
    score, *corners = values
    return Box(label, score / _SCORES, *(corner / _STEPS for corner in corners))


# ---------------------------------------------------------------- decisions


class _Chances:
    """How often each decision was taken either way, by its name."""

    def __init__(self) -> None:
        self._counts: dict[int, list[int]] = {}

    def low(self, name: int) -> int:
        """Of 65536: the chance of no."""
        no, yes = self._counts.setdefault(name, [4, 4])
        return (no << TOTAL_BITS) // (no + yes)

    def taken(self, name: int, way: bool) -> None:
        counts = self._counts[name]
        counts[way] += 2
        if sum(counts) > 128:
            counts[:] = [(count + 1) // 2 for count in counts]


class _Writer:
    def __init__(self) -> None:
        self._encoder = Encoder()
        self._chances = _Chances()

    def bit(self, name: int, way: bool) -> bool:
        low = self._chances.low(name)
        self._encoder.encode(*((low, 2 * _HALF - low) if way else (0, low)))
        self._chances.taken(name, way)
        return way

    def raw(self, value: int, bits: int) -> None:
        for i in reversed(range(bits)):
            self._encoder.encode((value >> i & 1) * _HALF, _HALF)

    def magnitude(self, name: int, value: int, most: int) -> None:
        length = value.bit_length()
        for i in range(min(length + 1, most)):
            self.bit(name + i, i < length)
        if length > 1:
            self.bit(name + _TOP + length, bool(value >> (length - 2) & 1))
            self.raw(value & ((1 << (length - 2)) - 1), length - 2)

    def signed(self, name: int, value: int) -> None:
        self.magnitude(name, abs(value), _BITS)
        if value:
            self.raw(value < 0, 1)

    def finish(self) -> bytes:
        return self._encoder.finish()


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._decoder = Decoder(data)
        self._chances = _Chances()

    def bit(self, name: int) -> bool:
        way = self._decoder.bit(self._chances.low(name))
        self._chances.taken(name, way)
        return way

    def raw(self, bits: int) -> int:
        value = 0
        for _ in range(bits):
            value = value << 1 | self._decoder.bit(_HALF)
        return value

    def magnitude(self, name: int, most: int) -> int:
        length = 0
        while length < most and self.bit(name + length):
            length += 1
        if length < 2:
            return length
        top = 2 | self.bit(name + _TOP + length)
        return top << (length - 2) | self.raw(length - 2)

    def signed(self, name: int) -> int:
        value = self.magnitude(name, _BITS)
        return -value if value and self.raw(1) else value

    def finish(self) -> None:
        self._decoder.finish()
