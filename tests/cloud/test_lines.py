"""What the commands print."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import glimpse
from cloud.lines import (
    Looked,
    as_frame,
    frame_json,
    frame_line,
    in_view,
    layer_json,
    layer_lines,
    moment,
    watched_json,
    watched_line,
)
from cloud.sightings import UNREADABLE
from cloud.store import StoredFrame
from common.types import Box, FrameId, Presence

CAR, PERSON = Box("car", 0.91234, 1.0, 2.0, 3.0, 4.0), Box("person", 0.5, 0.0, 0.0, 1.0, 1.0)
FRAME = FrameId("gate", "b1", 7)
NOON = 1_780_056_000.25  # 2026-05-29 12:00:00.25 UTC


SEEN = glimpse.Sighting(
    glimpse.FrameId("gate", "b1", 7), NOON, 300, 160, 120,
    (glimpse.Box("car", 0.3, 0.12, 0.2, 70.3, 119.9),), missed=2,
)  # fmt: skip


def stored(boxes: tuple[Box, ...] | None, model: str = "") -> glimpse.Frame:
    return as_frame(StoredFrame(FRAME, NOON, b"12345", boxes, model))


def test_in_view() -> None:
    assert in_view([PERSON, CAR, PERSON]) == "2 person, 1 car"
    assert in_view([]) == "nothing in view"
    assert in_view([], [Presence("person", 0.9), Presence("bus", 0.3)]) == "person, bus"


def test_a_recognise_layer() -> None:
    seen = (Presence("person", 0.91234), Presence("bus", 0.3))
    looked = Looked(640, 480, "m", (), seen)
    assert layer_lines(Path("a"), 21, looked).splitlines() == [
        "a  640x480  21 B  person, bus",
        "  person       91%",
        "  bus          30%",
    ]
    told = layer_json(Path("a"), 21, looked)
    assert told["boxes"] == []
    assert told["presences"] == [
        {"label": "person", "score": 0.9123}, {"label": "bus", "score": 0.3}
    ]  # fmt: skip
    frame = as_frame(StoredFrame(FRAME, NOON, b"12345", (), "m", presences=seen))
    assert frame_line(frame).endswith("5 B  person, bus")
    assert frame_json(frame)["presences"] == told["presences"]
    watched = replace(SEEN, boxes=(), presences=(glimpse.Presence("bus", 0.3),))
    assert "300 B  bus" in watched_line(watched)
    assert watched_json(watched)["presences"] == [{"label": "bus", "score": 0.3}]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "1970-01-01T00:00:00.000+00:00"), (NOON, "2026-05-29T12:00:00.250+00:00")],
)
def test_a_moment(seconds: float, text: str) -> None:
    assert moment(seconds) == text


@pytest.mark.parametrize("seconds", [3e11, 9.2e12, 1e300], ids=str)
def test_a_cameras_mad_clock_is_shown_and_breaks_nothing(seconds: float) -> None:
    assert moment(seconds).endswith("s")
    seen = replace(SEEN, captured_at=9.2e12)
    assert watched_line(seen).startswith("9200000000000.000s")


def test_a_stored_frame() -> None:
    start = "2026-05-29T12:00:00.250+00:00  gate/b1/7  5 B  "
    assert frame_line(stored(None)) == start + "not looked at yet"
    assert frame_line(stored((), "m-1")) == start + "nothing in view"
    assert frame_line(stored((CAR,), "m-1")) == start + "1 car"
    unreadable = stored((), UNREADABLE + "it ends early")
    assert frame_line(unreadable) == start + "unreadable: it ends early"
    assert frame_line(replace(stored(()), pinned=True)) == start + "nothing in view  (pinned)"
    assert frame_json(stored(None))["boxes"] is None
    assert frame_json(unreadable)["boxes"] is None
    assert frame_json(unreadable)["fault"] == "it ends early"
    assert frame_json(stored((CAR,), "m-1")) == {
        "camera": "gate",
        "boot": "b1",
        "seq": 7,
        "captured_at": "2026-05-29T12:00:00.250+00:00",
        "bytes": 5,
        "boxes": [{"label": "car", "score": 0.9123, "box": [1.0, 2.0, 3.0, 4.0]}],
        "presences": [],
        "model": "m-1",
        "fault": "",
        "pinned": False,
    }


def test_a_watched_frame() -> None:
    line = "12:00:00.250  gate 7  300 B  1 car  (2 frames missed before)"
    assert watched_line(SEEN) == line
    assert watched_line(replace(SEEN, reconnects=1)) == line + "  (connected again)"
    shown = {"label": "car", "score": 0.3, "box": [0.1, 0.2, 70.3, 119.9]}
    assert watched_json(SEEN)["boxes"] == [shown]
