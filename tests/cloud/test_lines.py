"""What the commands print."""

from __future__ import annotations

import pytest

from cloud.lines import in_view, moment, stored_json, stored_line, watched_json, watched_line
from cloud.sightings import UNREADABLE
from cloud.store import StoredFrame
from common.types import Box, FrameId
from glimpse.v1 import detection_pb2, types_pb2

CAR, PERSON = Box("car", 0.91234, 1.0, 2.0, 3.0, 4.0), Box("person", 0.5, 0.0, 0.0, 1.0, 1.0)
FRAME = FrameId("gate", "b1", 7)
NOON = 1_780_056_000.25  # 2026-05-29 12:00:00.25 UTC


def stored(boxes: tuple[Box, ...] | None, model: str = "") -> StoredFrame:
    return StoredFrame(FRAME, NOON, b"12345", boxes, model)


def test_in_view() -> None:
    assert in_view([PERSON, CAR, PERSON]) == "2 person, 1 car"
    assert in_view([]) == "nothing in view"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "1970-01-01T00:00:00.000+00:00"), (NOON, "2026-05-29T12:00:00.250+00:00")],
)
def test_a_moment(seconds: float, text: str) -> None:
    assert moment(seconds) == text


@pytest.mark.parametrize("seconds", [3e11, 9.2e12, 1e300], ids=str)
def test_a_cameras_mad_clock_is_shown_and_breaks_nothing(seconds: float) -> None:
    assert moment(seconds).endswith("s")
    response = detection_pb2.WatchResponse(camera="gate", captured_at_us=2**63 - 1)
    assert watched_line(response).startswith("92233720")


def test_a_stored_frame() -> None:
    start = "2026-05-29T12:00:00.250+00:00  gate/b1/7  5 B  "
    assert stored_line(stored(None)) == start + "not looked at yet"
    assert stored_line(stored((), "m-1")) == start + "nothing in view"
    assert stored_line(stored((CAR,), "m-1")) == start + "1 car"
    unreadable = stored((), UNREADABLE + "it ends early")
    assert stored_line(unreadable) == start + "unreadable: it ends early"
    assert stored_json(stored(None))["boxes"] is None
    assert stored_json(stored((CAR,), "m-1")) == {
        "camera": "gate",
        "boot": "b1",
        "seq": 7,
        "captured_at": "2026-05-29T12:00:00.250+00:00",
        "bytes": 5,
        "boxes": [{"label": "car", "score": 0.9123, "box": [1.0, 2.0, 3.0, 4.0]}],
        "model": "m-1",
    }


def test_a_watched_frame() -> None:
    box = types_pb2.Box(label="car", score=0.3, x1=0.1, y1=0.2, x2=70.3, y2=119.9)
    seen = detection_pb2.WatchResponse(
        camera="gate", boot="b1", seq=7, captured_at_us=round(NOON * 1e6), layer_bytes=300,
        width=160, height=120, boxes=[box], missed=2,
    )  # fmt: skip
    assert watched_line(seen) == "12:00:00.250  gate 7  300 B  1 car  (2 frames missed before)"
    shown = {"label": "car", "score": 0.3, "box": [0.1, 0.2, 70.3, 119.9]}
    assert watched_json(seen)["boxes"] == [shown]
