from __future__ import annotations

import dataclasses
import math

import pytest

from common.errors import RemoteProtocolError
from common.types import MAX_SEQ, Box, FrameId, Layer, Presence, check_camera


@pytest.mark.parametrize("name", ["a", "7", "gate-2", "north_yard", "a" * 64])
def test_camera_names(name: str) -> None:
    assert check_camera(name) == name


@pytest.mark.parametrize("name", ["", "-a", "_a", "A", "a.b", "a/b", "..", "a" * 65, "a\n", "é"])
def test_names_that_are_not_cameras(name: str) -> None:
    with pytest.raises(RemoteProtocolError):
        FrameId(name, "b", 0)


@pytest.mark.parametrize("boot", ["", "a/b", "a\n", "x" * 65])
def test_names_that_are_not_boots(boot: str) -> None:
    with pytest.raises(RemoteProtocolError):
        FrameId("gate", boot, 0)


def test_sequence_numbers_fit_a_signed_64_bit_field() -> None:
    assert FrameId("gate", "b", MAX_SEQ).seq == 2**63 - 1
    for seq in (-1, MAX_SEQ + 1):
        with pytest.raises(RemoteProtocolError):
            FrameId("gate", "b", seq)


def test_a_frame_is_a_value() -> None:
    frame = FrameId("gate", "b1", 7)
    assert str(frame) == "gate/b1/7"
    assert {frame: 1}[FrameId("gate", "b1", 7)] == 1
    assert frame < FrameId("gate", "b1", 8)
    with pytest.raises(dataclasses.FrozenInstanceError):
        frame.seq = 8  # type: ignore[misc]


@pytest.mark.parametrize(
    "bad",
    [
        {"score": 1.1},
        {"score": math.nan},
        {"x1": math.inf},
        {"x1": 5.0, "x2": 4.0},
        {"y1": 5.0, "y2": 4.0},
    ],
)
def test_boxes_that_cannot_be(bad: dict[str, float]) -> None:
    good = {"score": 0.5, "x1": 0.0, "y1": 0.0, "x2": 5.0, "y2": 5.0}
    Box("car", **good)
    with pytest.raises(ValueError):
        Box("car", **{**good, **bad})


@pytest.mark.parametrize("score", [-0.1, 1.1, math.nan])
def test_presences_that_cannot_be(score: float) -> None:
    assert Presence("car", 0.5).score == 0.5
    with pytest.raises(ValueError):
        Presence("car", score)


@pytest.mark.parametrize("moment", [-1.0, math.nan, math.inf])
def test_moments_that_cannot_be(moment: float) -> None:
    with pytest.raises(ValueError):
        Layer(FrameId("gate", "b", 0), moment, b"")
