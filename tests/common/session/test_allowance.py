"""So many layers a second and no more, however they are asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.session.allowance import Allowance


def test_it_begins_full_and_fills_again():
    allowance = Allowance(2.0, 5)
    assert allowance.take(9, 100.0) == 5
    assert allowance.take(9, 100.0) == 0
    assert allowance.take(9, 101.25) == 2  # and a half, which is kept
    assert allowance.take(9, 101.5) == 1
    assert allowance.take(9, 1000.0) == 5


def test_what_was_not_used_goes_back_as_far_as_there_is_room():
    allowance = Allowance(1.0, 4)
    assert allowance.take(3, 0.0) == 3
    allowance.put_back(2)
    assert allowance.take(9, 0.0) == 3
    allowance.put_back(99)
    assert allowance.take(99, 0.0) == 4


@pytest.mark.parametrize(
    ("per_second", "most", "wait"),
    [(0.5, 9, 2.0), (4.0, 9, 0.25), (40.0, 99, 0.25), (40.0, 2, 0.05)],
)
def test_it_says_when_to_ask_again(per_second, most, wait):
    allowance = Allowance(per_second, most)
    allowance.take(most, 7.0)
    at = allowance.ready_at(7.0)
    assert at == pytest.approx(7.0 + wait)
    assert allowance.take(1, at) == 1


def test_a_clock_that_stands_still_or_goes_back_gives_nothing():
    allowance = Allowance(1.0, 2)
    assert allowance.take(2, 50.0) == 2
    assert allowance.take(1, 10.0) == 0
    assert allowance.take(1, 50.5) == 0
    assert allowance.take(1, 51.0) == 1


@given(
    steps=st.lists(st.tuples(st.floats(0, 3), st.integers(0, 9), st.floats(0, 1)), max_size=60),
    per_second=st.floats(0.1, 20.0),
    most=st.integers(1, 8),
)
def test_nobody_gets_more_than_the_rate_and_what_was_saved_up(steps, per_second, most):
    allowance = Allowance(per_second, most)
    now, used = 0.0, 0
    for elapsed, wanted, share in steps:
        now += elapsed
        taken = allowance.take(wanted, now)
        unused = int(taken * share)
        allowance.put_back(unused)
        used += taken - unused
        assert used <= most + per_second * now + 1e-5
