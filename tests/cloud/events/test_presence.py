"""Something appears and goes, and a detector that wavers does not make it flicker."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloud.events.presence import Change, Look, State, Thresholds, step
from common.types import FrameId

AT = Thresholds(min_score=0.5, keep_score=0.3, appear_frames=2, gone_after_s=5.0)


def changes(looks: list[Look], at: Thresholds = AT) -> list[tuple[int, str]]:
    """(seq, what) of each change."""
    state, found = State(), []
    for look in looks:
        state, change = step(state, look, at)
        if change is not None:
            found.append((look.frame.seq, change.value))
    return found


def frames(*scores: float, start: float = 1000.0, boot: str = "b1", first: int = 0) -> list[Look]:
    """One a second."""
    return [
        Look(FrameId("gate", boot, first + n), start + n, score) for n, score in enumerate(scores)
    ]


def test_it_appears_when_it_was_seen_often_enough_and_goes_when_it_was_not_for_long_enough() -> (
    None
):
    assert changes(frames(0, 0.9, 0.9, 0.9, 0, 0, 0, 0, 0, 0)) == [(2, "appeared"), (8, "gone")]


def test_once_is_not_enough() -> None:
    assert changes(frames(0.9, 0, 0.9, 0, 0.9, 0.4, 0.9)) == []
    assert changes(frames(0, 0.9), Thresholds(appear_frames=1)) == [(1, "appeared")]


def test_to_stay_takes_less_than_to_appear() -> None:
    assert changes(frames(0.4, 0.4, 0.4)) == []
    assert changes(frames(0.6, 0.6, *[0.4] * 20)) == [(1, "appeared")]
    assert changes(frames(0.6, 0.6, *[0.2] * 6)) == [(1, "appeared"), (6, "gone")]


def test_a_short_gap_is_none() -> None:
    assert changes(frames(0.9, 0.9, *([0.0] * 4 + [0.9]) * 5)) == [(1, "appeared")]


def test_silence_says_nothing() -> None:
    looks = frames(0.9, 0.9) + frames(0.9, start=9000.0, first=2)
    assert changes(looks) == [(1, "appeared")]
    looks = frames(0.9, 0.9) + frames(0.0, start=9000.0, first=2)
    assert changes(looks) == [(1, "appeared"), (2, "gone")]


def test_a_late_frame_changes_nothing() -> None:
    looks = frames(0.9, 0.9, 0.9)
    assert changes([looks[0], looks[2], looks[1], looks[1]]) == [(2, "appeared")]
    older_boot = frames(*[0.0] * 9, start=500.0, boot="b0", first=70)
    assert changes(looks + older_boot) == [(1, "appeared")]


def test_another_boot_goes_on() -> None:
    looks = frames(0.9) + frames(0.9, start=1001.0, boot="b2")
    assert changes(looks) == [(0, "appeared")]


def test_a_clock_that_is_set_back_does_not_stop_it() -> None:
    """By an hour, in mid-boot: five seconds of the new time are what it takes."""
    looks = frames(0.9, 0.9) + frames(*[0.0] * 8, start=-2600.0, first=2)
    assert changes(looks) == [(1, "appeared"), (7, "gone")]


@given(
    scores=st.lists(st.floats(0, 1), max_size=60),
    gaps=st.lists(st.floats(0, 20), min_size=60, max_size=60),
)
def test_appearing_and_going_take_turns(scores: list[float], gaps: list[float]) -> None:
    at, looks = 0.0, []
    for seq, (score, gap) in enumerate(zip(scores, gaps, strict=False)):
        at += gap
        looks.append(Look(FrameId("gate", "b1", seq), at, score))
    kinds = [what for _, what in changes(looks)]
    turns = [Change.APPEARED.value, Change.GONE.value] * len(kinds)
    assert kinds == turns[: len(kinds)]
