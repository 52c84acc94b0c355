from __future__ import annotations

import pytest

from common.findings import clock_skew, days_left, fail, ok, verdict, warn

DAY = 86_400.0


def test_a_line() -> None:
    assert ok("disk", "62 GB are free").line() == "ok    disk          62 GB are free"
    assert fail("disk", "full", "make room").line().splitlines() == [
        "fail  disk          full",
        "                    -> make room",
    ]


def test_a_verdict() -> None:
    bad, odd = fail("a", "b", "c"), warn("a", "b", "c")
    assert verdict([ok("a", "b")]) == "all is well"
    assert verdict([bad, odd, odd]) == "1 to mend, 2 to watch"


@pytest.mark.parametrize(
    ("days", "level", "says"),
    [
        (30.0, "ok", "the certificate has 30 days left"),
        (7.0, "warn", "the certificate has 7 days left"),
        (-2.0, "fail", "the certificate expired 2.0 days ago"),
    ],
)
def test_days_of_a_certificate(days: float, level: str, says: str) -> None:
    found = days_left("tls", days * DAY, 21, "renew it")
    assert (found.level, found.says) == (level, says)
    assert found.do == ("" if level == "ok" else "renew it")


@pytest.mark.parametrize(
    ("skew", "uncertain", "level"),
    [(0.2, 0.01, "ok"), (-3.0, 0.01, "warn"), (3.0, 0.01, "warn"), (-3.0, 2.5, "ok")],
)
def test_clocks_that_differ(skew: float, uncertain: float, level: str) -> None:
    assert clock_skew("clock", skew, uncertain).level == level
