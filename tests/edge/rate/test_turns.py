from __future__ import annotations

import itertools

import pytest

from edge.rate.turns import Turns


def taken(turns: Turns, fps: float, seconds: float, since: float = 0.0) -> list[float]:
    moments = [since + n / fps for n in range(round(fps * seconds))]
    return [moment for moment in moments if turns.take(moment)]


def test_without_a_wish_every_frame_has_its_turn() -> None:
    assert len(taken(Turns(), 25.0, 10.0)) == 250


@pytest.mark.parametrize("wish", [0.2, 1.0, 2.5, 3.3, 4.9])
def test_so_many_a_second_evenly_spread(wish: float) -> None:
    turns = Turns()
    turns.pace(wish, 0.0)
    moments = taken(turns, 5.0, 100.0)
    assert len(moments) == pytest.approx(100 * wish, abs=2)
    gaps = [b - a for a, b in itertools.pairwise(moments)]
    assert max(gaps) <= 1 / wish + 0.2 + 1e-9


def test_more_than_there_are_leaves_none_out() -> None:
    turns = Turns()
    turns.pace(30.0, 0.0)
    assert len(taken(turns, 5.0, 20.0)) == 100


def test_a_wish_that_is_changed_and_taken_back() -> None:
    turns = Turns()
    turns.pace(1.0, 0.0)
    assert len(taken(turns, 5.0, 10.0)) == pytest.approx(10, abs=1)
    turns.pace(2.0, 10.0)
    assert len(taken(turns, 5.0, 10.0, 10.0)) == pytest.approx(20, abs=2)
    turns.pace(None, 20.0)
    assert len(taken(turns, 5.0, 10.0, 20.0)) == 50
