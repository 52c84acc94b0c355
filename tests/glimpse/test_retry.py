"""When to try again: no clock, no server."""

from __future__ import annotations

import math

import pytest

from glimpse import Error, NotFound, Retry, TimedOut, Unauthenticated, Unavailable
from glimpse.retry import Outages, may_pass

LOST = Unavailable("lost")


def outages(**changes: float) -> Outages:
    fields = {"first_s": 1.0, "most_s": 8.0, "patience_s": 60.0} | changes
    return Outages(Retry(**fields), draw=lambda: 1.0)


def test_waits_double_up_to_a_bound_and_jitter_is_full() -> None:
    retry = Retry(first_s=0.5, most_s=3.0)
    assert [retry.wait(n, lambda: 1.0) for n in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert retry.wait(10**6, lambda: 1.0) == 3.0
    assert retry.wait(3, lambda: 0.0) == 0.0
    assert 0 <= retry.wait(0) <= 0.5


@pytest.mark.parametrize(
    ("fault", "passes"),
    [(LOST, True), (TimedOut(), False), (Unauthenticated(), False), (NotFound(), False)],
)
def test_what_may_pass(fault: Error, passes: bool) -> None:
    assert may_pass(fault) is passes


def test_what_does_not_pass_is_raised_at_once() -> None:
    with pytest.raises(Unauthenticated):
        outages().down(Unauthenticated("no"), 0.0)


def test_patience_counts_from_the_loss_and_starts_anew_with_each_connection() -> None:
    watch = outages(patience_s=10.0)
    watch.down(LOST, 0.0)
    watch.down(LOST, 9.0)
    watch.up(9.5)  # quiet cameras: no message comes for an hour
    watch.down(LOST, 3600.0)
    watch.down(LOST, 3609.0)
    with pytest.raises(Unavailable):
        watch.down(LOST, 3610.0)


def test_none_and_endless_patience() -> None:
    with pytest.raises(Unavailable):
        outages(patience_s=0.0).down(LOST, 0.0)
    endless = outages(patience_s=math.inf)
    assert [endless.down(LOST, 1e6 * n) for n in range(5)] == [1.0, 2.0, 4.0, 8.0, 8.0]


def test_a_server_that_takes_calls_to_drop_them_is_not_hammered() -> None:
    watch = outages()
    waits = []
    for n in range(4):
        watch.up(float(n))
        waits.append(watch.down(LOST, n + 0.1))
    assert waits == [1.0, 2.0, 4.0, 8.0]
    watch.up(100.0)
    assert watch.down(LOST, 200.0) == 1.0
    watch.up(300.0)
    assert watch.delivered() == 5
    assert watch.delivered() == 0
    assert watch.down(LOST, 301.0) == 1.0


def test_a_first_connection_that_fails_was_not_lost() -> None:
    watch = outages()
    watch.down(LOST, 0.0)
    watch.up(1.0)
    assert watch.delivered() == 0
