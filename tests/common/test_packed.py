from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import RemoteProtocolError
from common.packed import MOST, pack, unpack
from common.types import Box, Presence

LABELS = ("person", "car", "motorcycle", "bus", "truck")
SCORE = st.floats(0.0, 1.0)
EDGE = st.floats(0.0, 4096.0)


@st.composite
def _boxes(draw: st.DrawFn, labels: tuple[str, ...]) -> Box:
    x1, x2 = sorted([draw(EDGE), draw(EDGE)])
    y1, y2 = sorted([draw(EDGE), draw(EDGE)])
    return Box(draw(st.sampled_from(labels)), draw(SCORE), x1, y1, x2, y2)


def _corners(box: Box) -> tuple[float, ...]:
    return box.x1, box.y1, box.x2, box.y2


@given(st.data(), st.integers(1, 9))
def test_boxes_come_back_as_exactly_as_the_contract_says(data: st.DataObject, count: int) -> None:
    labels = tuple(f"class {n}" for n in range(count))
    boxes = data.draw(st.lists(_boxes(labels), max_size=70))
    packed = pack(boxes, (), labels)
    assert packed is not None
    found, presences = unpack(packed, labels)
    assert presences == ()
    assert [box.label for box in found] == [box.label for box in boxes]
    for box, back in zip(boxes, found, strict=True):
        assert abs(box.score - back.score) <= 1 / 510 + 1e-12
        pairs = zip(_corners(box), _corners(back), strict=True)
        assert all(abs(before - after) <= 0.25 for before, after in pairs)
    assert pack(found, (), labels) == packed  # there is one spelling
    assert len(packed) <= 3 + 9.5 * len(boxes)


@given(st.lists(st.builds(Presence, st.sampled_from(LABELS), SCORE), max_size=70))
def test_presences_come_back_too(presences: list[Presence]) -> None:
    packed = pack((), presences, LABELS)
    assert packed is not None
    boxes, found = unpack(packed, LABELS)
    assert boxes == ()
    assert [p.label for p in found] == [p.label for p in presences]
    pairs = zip(presences, found, strict=True)
    assert all(abs(a.score - b.score) <= 1 / 510 + 1e-12 for a, b in pairs)


@given(st.binary(max_size=40), st.integers(0, 9))
def test_any_bytes_are_boxes_or_the_servers_fault(data: bytes, count: int) -> None:
    labels = tuple(f"class {n}" for n in range(count))
    try:
        boxes, presences = unpack(data, labels)
    except RemoteProtocolError:
        return
    assert all(box.label in labels for box in boxes)
    assert all(presence.label in labels for presence in presences)
    assert all(0 <= edge <= 4096 for box in boxes for edge in _corners(box))


def test_a_street_takes_seven_bytes_a_box() -> None:
    boxes = [Box(LABELS[n % 5], 0.9, 60.0 * n, 400.0, 60.0 * n + 50, 479.5) for n in range(10)]
    packed = pack(boxes, (), LABELS)
    assert packed is not None
    assert len(packed) <= 2 + 7 * 10


def test_nothing_seen_takes_one_byte() -> None:
    assert pack((), (), LABELS) == b"\0"
    assert unpack(b"\0", ()) == ((), ())


def test_what_lies_beyond_the_picture_is_cut_off() -> None:
    packed = pack([Box("car", 1.0, -5.0, -0.1, 1e6, 4096.2)], (), LABELS)
    assert packed is not None
    assert unpack(packed, LABELS)[0] == (Box("car", 1.0, 0.0, 0.0, 4096.0, 4096.0),)


def test_what_cannot_be_packed() -> None:
    box, presence = Box("car", 0.5, 0, 0, 1, 1), Presence("car", 0.5)
    assert pack([box], [presence], LABELS) is None
    assert pack([Box("zebra", 0.5, 0, 0, 1, 1)], (), LABELS) is None
    assert pack([box] * (MOST + 1), (), LABELS) is None
    assert pack([box] * MOST, (), LABELS) is not None


GOOD = pack([Box("truck", 0.5, 1, 2, 3, 4), Box("car", 0.5, 100, 20, 300, 40)], (), LABELS) or b""


@pytest.mark.parametrize(
    ("data", "labels", "reason"),
    [
        (b"", LABELS, "end early"),
        (b"\x80", LABELS, "end early"),
        (GOOD[:1], LABELS, "end early"),
        (GOOD[:-1], LABELS, "2 packed boxes in"),
        (GOOD + b"\0", LABELS, "2 packed boxes in"),
        (GOOD, LABELS[:2], "packed boxes in"),
        (GOOD, (), "packed boxes in"),
        (b"\xff\xff\x01", LABELS, "more than 1000"),
        (b"\xff\x7f", LABELS, "8191 boxes"),
        (b"\x02\x00\xe0\x00", LABELS, "label 7"),
        (b"\x02\x00\x00\x00", (), "1 packed boxes in 2 bytes"),
        (b"\x02\x00\x00", (), "label 0"),
        (b"\x02\x00\x00\x01", LABELS, "not zero"),
        (b"\x80\x00", LABELS, "shortest"),
        (b"\x02\xff\x00" + b"\x00" * 7, LABELS[:1], "1 packed boxes in 8 bytes, not 9"),
    ],
)
def test_bad_packings_say_why(data: bytes, labels: tuple[str, ...], reason: str) -> None:
    with pytest.raises(RemoteProtocolError, match=reason):
        unpack(data, labels)


def test_a_reversed_and_a_far_box() -> None:
    def one(x1: int, x2: int) -> bytes:
        value = 128 << 56 | x1 << 42 | x2 << 14
        return b"\x02\xee" + value.to_bytes(8, "big")

    assert unpack(one(2, 8192), ("car",))[0][0].x2 == 4096
    with pytest.raises(RemoteProtocolError, match="reversed"):
        unpack(one(4, 2), ("car",))
    with pytest.raises(RemoteProtocolError, match="beyond 4096"):
        unpack(one(0, 8193), ("car",))
