"""What was seen in several frames, told by differences."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import RemoteProtocolError
from common.packed import pack
from common.packed_frames import FRAMES, THINGS, FrameSeen, fits, pack_frames, unpack_frames
from common.types import Box, Presence

LABELS = ("person", "car", "motorcycle", "bus", "truck")
SCORE = st.floats(0.0, 1.0)
EDGE = st.floats(0.0, 4096.0)


@st.composite
def _boxes(draw: st.DrawFn) -> Box:
    x1, x2 = sorted([draw(EDGE), draw(EDGE)])
    y1, y2 = sorted([draw(EDGE), draw(EDGE)])
    return Box(draw(st.sampled_from(LABELS)), draw(SCORE), x1, y1, x2, y2)


@st.composite
def _frames(draw: st.DrawFn) -> list[FrameSeen]:
    """Things stay, come and go, at whatever numbers."""
    pool = draw(st.lists(_boxes(), max_size=6))
    presence = st.builds(Presence, st.sampled_from(LABELS), SCORE)
    numbers = sorted(draw(st.sets(st.integers(0, 2**63 - 1), min_size=1, max_size=9)))
    frames = []
    for seq in numbers:
        if draw(st.booleans()):
            chosen = draw(st.lists(st.sampled_from(pool), max_size=5)) if pool else []
            frames.append(FrameSeen(seq, (*chosen, *draw(st.lists(_boxes(), max_size=3)))))
        else:
            frames.append(FrameSeen(seq, (), tuple(draw(st.lists(presence, max_size=4)))))
    return frames


def _key(thing: Box | Presence) -> tuple[object, ...]:
    corners = (thing.x1, thing.y1, thing.x2, thing.y2) if isinstance(thing, Box) else ()
    return (thing.label, round(thing.score * 255), *(round(corner * 2) for corner in corners))


@given(_frames())
def test_frames_come_back_as_exactly_as_the_contract_says(frames: list[FrameSeen]) -> None:
    found = unpack_frames(pack_frames(frames, LABELS), LABELS)
    assert [frame.seq for frame in found] == [frame.seq for frame in frames]
    for frame, back in zip(frames, found, strict=True):
        assert sorted(map(_key, back.boxes)) == sorted(map(_key, frame.boxes))
        assert sorted(map(_key, back.presences)) == sorted(map(_key, frame.presences))
        scores = [box.score for box in back.boxes] + [p.score for p in back.presences]
        assert scores == sorted(scores, reverse=True)


def _walking(count: int, people: int) -> list[FrameSeen]:
    """A street: each person goes their way, and is overlooked now and then."""
    draw = random.Random(1)
    starts = [(draw.uniform(0, 600), draw.uniform(0, 400)) for _ in range(people)]
    frames = []
    for seq in range(count):
        boxes = []
        for n, (x, y) in enumerate(starts):
            if draw.random() < 0.9:
                left = x + (n % 3 - 1) * 1.5 * seq + draw.gauss(0, 0.7) + 40
                top, score = y + draw.gauss(0, 0.7) + 5, min(max(draw.gauss(0.6, 0.05), 0), 1)
                boxes.append(Box("person", score, left, top, left + 30, top + 70))
        frames.append(FrameSeen(seq, tuple(boxes)))
    return frames


def test_what_stays_in_view_takes_half_of_what_it_takes_anew() -> None:
    frames = _walking(25, 8)
    anew = sum(len(pack(frame.boxes, (), LABELS) or b"") for frame in frames)
    assert len(pack_frames(frames, LABELS)) < 0.5 * anew


def test_frames_with_nothing_in_view_take_next_to_nothing() -> None:
    empty = [FrameSeen(1_000_000 + n) for n in range(25)]
    assert len(pack_frames(empty, LABELS)) <= 10


def test_the_first_frame_with_nothing_in_view() -> None:
    data = pack_frames([FrameSeen(0)], LABELS)  # may take no byte at all
    assert unpack_frames(data, LABELS) == (FrameSeen(0),)


def test_what_does_not_fit() -> None:
    box = Box("person", 0.5, 1, 2, 3, 4)
    assert fits(FrameSeen(0, (box,) * THINGS), LABELS)
    assert not fits(FrameSeen(0, (box,) * (THINGS + 1)), LABELS)
    assert not fits(FrameSeen(0, (Box("dog", 0.5, 1, 2, 3, 4),)), LABELS)
    assert not fits(FrameSeen(0, (box,), (Presence("car", 0.5),)), LABELS)


def test_as_many_as_a_message_may_hold() -> None:
    crowd = tuple(Box("person", 0.5, n, n, n + 10, n + 20) for n in range(THINGS))
    frames = [FrameSeen(seq, crowd if seq % 64 == 0 else ()) for seq in range(FRAMES)]
    found = unpack_frames(pack_frames(frames, LABELS), LABELS)
    assert [len(frame.boxes) for frame in found] == [len(frame.boxes) for frame in frames]


@given(st.binary(max_size=300))
def test_any_bytes_are_frames_or_a_typed_error(data: bytes) -> None:
    try:
        frames = unpack_frames(data, LABELS)
    except RemoteProtocolError:
        return
    assert 0 < len(frames) <= FRAMES
    assert all(len(frame.boxes) + len(frame.presences) <= THINGS for frame in frames)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_is_frames_or_a_typed_error(place: int, change: int) -> None:
    data = bytearray(pack_frames(_walking(4, 5), LABELS))
    data[place % len(data)] ^= change
    try:
        unpack_frames(bytes(data), LABELS)
    except RemoteProtocolError:
        return


@pytest.mark.parametrize("labels", [(), ("person",)])
def test_labels_that_the_reader_does_not_have(labels: tuple[str, ...]) -> None:
    data = pack_frames([FrameSeen(0, (Box("truck", 0.5, 1, 2, 3, 4),))], LABELS)
    with pytest.raises(RemoteProtocolError):
        unpack_frames(data, labels)


def test_bytes_left_over_and_missing() -> None:
    data = pack_frames(_walking(5, 5), LABELS)
    for wrong in (data + bytes(8), data[: len(data) // 2]):
        with pytest.raises(RemoteProtocolError):
            unpack_frames(wrong, LABELS)
