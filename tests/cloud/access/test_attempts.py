"""Who fails again and again is sent away; who came in before is not."""

from __future__ import annotations

import pytest

from cloud.access.attempts import Attempts, address_of
from common.errors import LimitReached

HOME, AWAY = "192.0.2.7", "198.51.100.1"


def attempts() -> Attempts:
    return Attempts(free=3, most_s=10.0)


def test_some_failures_are_free_then_the_pause_doubles_up_to_its_bound() -> None:
    logins = attempts()
    pauses = [logins.failed(HOME, float(n)) for n in range(9)]
    assert pauses == [0, 0, 0, 1, 2, 4, 8, 10, 10]


def test_nobody_new_is_let_in_meanwhile_and_everybody_afterwards() -> None:
    logins = attempts()
    for _ in range(5):
        logins.failed(HOME, 100.0)
    logins.check(AWAY, "guess", 100.0)
    with pytest.raises(LimitReached, match=r"from 192\.0\.2\.7: again in 2 s"):
        logins.check(HOME, "guess", 100.0)
    with pytest.raises(LimitReached):
        logins.check(HOME, None, 101.9)
    logins.check(HOME, "guess", 102.0)


def test_who_came_in_from_there_before_still_does() -> None:
    logins = attempts()
    logins.passed(HOME, "gate")
    for _ in range(9):
        logins.failed(HOME, 100.0)
    logins.check(HOME, "gate", 100.0)
    with pytest.raises(LimitReached):
        logins.check(HOME, "yard", 100.0)
    logins.check(AWAY, "yard", 100.0)


def test_being_let_in_forgives_nothing_but_an_hour_does() -> None:
    logins = attempts()
    for _ in range(4):
        logins.failed(HOME, 0.0)
    logins.passed(HOME, "gate")
    assert logins.failed(HOME, 3000.0) == 2.0
    assert logins.failed(HOME, 3000.0 + 3601.0) == 0.0


def test_what_it_remembers_is_bounded() -> None:
    logins = attempts()
    for n in range(10_000):
        logins.failed(f"address {n}", 0.0)
        logins.passed(HOME, n)
    assert len(logins._records) == 4096
    assert len(logins._records[HOME].known) == 1024


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.7:5000", HOME),
        ("ipv6:%5B::1%5D:40000", "::/64"),
        ("ipv6:[2001:db8:1:2:3:4:5:6]:443", "2001:db8:1:2::/64"),
        ("ipv6:[::ffff:192.0.2.7]:443", HOME),
        ("ipv6:[fe80::1%25eth0]:1", "fe80::/64"),
        ("unix:", "unix:"),
        ("", ":"),
    ],
)
def test_addresses(peer: str, address: str) -> None:
    assert address_of(peer) == address
