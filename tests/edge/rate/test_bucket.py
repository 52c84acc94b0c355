from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.rate.bucket import WireBucket

costs = st.lists(
    st.tuples(st.floats(10, 3000), st.floats(0, 5)), min_size=1, max_size=200
)  # of a message, and the pause before it


def test_without_a_budget_everything_may_go() -> None:
    bucket = WireBucket(None, 0.0)
    for _ in range(100):
        assert bucket.wait(1e9, 0.0) == 0
        bucket.spend(1e9, 0.0)


def test_what_is_saved_up_is_bounded() -> None:
    bucket = WireBucket(1000.0, 0.0)
    bucket.wait(1.0, 3600.0)
    assert bucket.wait(2000.0, 3600.0) == 0
    bucket.spend(2000.0, 3600.0)
    assert bucket.wait(500.0, 3600.0) == pytest.approx(0.5, rel=0.01)


def test_the_count_corrects_what_was_expected() -> None:
    bucket = WireBucket(1000.0, 0.0)
    bucket.spend(1000.0, 0.0)
    bucket.measured(400.0, under_way=1000.0, now=0.0)  # the rest may still be on its way
    assert bucket.spent == 1000.0
    bucket.measured(600.0, under_way=0.0, now=0.0)  # it was cheaper
    assert bucket.spent == 600.0
    bucket.measured(5600.0, under_way=0.0, now=0.0)  # a handshake that nobody decided
    assert bucket.spent == 5600.0
    assert bucket.wait(100.0, 0.0) == pytest.approx(3.7, rel=0.02)


def test_a_message_larger_than_the_burst_goes_when_all_of_it_is_saved() -> None:
    bucket = WireBucket(100.0, 0.0)
    assert bucket.wait(1000.0, 0.0) > 5
    assert bucket.wait(1000.0, 20.0) == 0


@given(st.floats(50, 5000), costs)
def test_no_60_seconds_are_overdrawn(budget: float, messages: list[tuple[float, float]]) -> None:
    """As long as no message is larger than two seconds of the budget."""
    bucket = WireBucket(budget, 0.0)
    now = 0.0
    spent: list[tuple[float, float]] = []
    for share, pause in messages:
        cost = share / 3000 * 2 * budget
        now += pause
        now += bucket.wait(cost, now)
        bucket.spend(cost, now)
        spent.append((now, cost))
    for began, _ in spent:
        window = sum(cost for at, cost in spent if began <= at <= began + 60)
        assert window <= 1.05 * 60 * budget


def test_a_tighter_budget_holds_at_once() -> None:
    bucket = WireBucket(1000.0, 0.0)
    bucket.set_budget(10.0, 0.0)
    bucket.spend(20.0, 0.0)
    assert bucket.wait(10.0, 0.0) == pytest.approx(1.0, rel=0.05)
    bucket.set_budget(None, 0.0)
    assert bucket.wait(1e6, 0.0) == 0


def test_what_a_link_holds_back_is_not_saved_up_twice_but_late_answers_may_be() -> None:
    for late, left in ((0.0, 500.0), (2.0, 2000.0)):
        bucket = WireBucket(1000.0, 0.0, late=late)
        bucket.spend(1800.0, 0.0)
        bucket.measured(300, 1800.0, 0.0)
        assert bucket.left(60.0) == pytest.approx(left)


def test_no_60_seconds_are_overdrawn_by_answers_that_come_late() -> None:
    """A third of each message is carried five seconds later, with that of all others since."""
    bucket = WireBucket(1000.0, 0.0, late=2.0)
    carried: list[tuple[float, float]] = []
    owed, now = 0.0, 0.0
    while now < 300.0:
        if round(now * 10) % 50 == 0 and owed:
            carried.append((now, owed))
            owed = 0.0
        if not bucket.wait(300.0, now):
            bucket.spend(300.0, now)
            carried.append((now, 200.0))
            owed += 100.0
        bucket.measured(round(sum(size for _, size in carried)), owed, now)
        now += 0.1
    for began, _ in carried:
        window = sum(size for at, size in carried if began <= at <= began + 60)
        assert window <= 1.05 * 60 * 1000
    assert sum(size for _, size in carried) > 0.95 * 300 * 1000
