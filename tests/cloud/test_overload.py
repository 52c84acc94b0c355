"""What cameras are asked for while the detector is behind: enough, fair, and not for ever."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.overload import Load, Overload, Policy, after, fair

POLICY = Policy()


@dataclass
class Street:
    """Cameras that keep to the cap, a detector of so many layers a second, in steps of a second."""

    wishes: list[float]
    power: float
    waiting: deque[tuple[float, float]] = field(default_factory=deque)  # (since, layers)
    state: Overload = field(default_factory=Overload)
    now: float = 0.0
    caps: list[float | None] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1.0
            cap = math.inf if self.state.cap is None else self.state.cap
            sent = tuple(min(wish, cap) for wish in self.wishes)
            self.waiting.append((self.now, sum(sent)))
            done = 0.0
            while self.waiting and done < self.power:
                since, layers = self.waiting.popleft()
                part = min(layers, self.power - done)
                done += part
                if layers - part > 1e-9:
                    self.waiting.appendleft((since, layers - part))
            wait = self.now - self.waiting[0][0] if self.waiting else 0.0
            self.state = after(self.state, Load(self.now, wait, done, sent), POLICY)
            self.caps.append(self.state.cap)
            self.waits.append(wait)


def test_nobody_is_asked_while_the_detector_keeps_up() -> None:
    street = Street([5.0] * 6, 31.0)
    street.run(300)
    assert street.caps == [None] * 300


def test_a_short_burst_is_no_overload() -> None:
    street = Street([5.0] * 6, 31.0)
    street.run(20)
    street.waiting.appendleft((street.now, 60.0))  # two seconds of work
    street.run(100)
    assert set(street.caps) == {None}


def test_lasting_overload_is_met_and_the_wait_ends() -> None:
    street = Street([5.0] * 8, 20.0)
    street.run(240)
    assert street.caps[:3] == [None] * 3
    assert max(street.waits) < 30
    assert max(street.waits[-60:]) < 5
    used = [8 * min(cap or 5.0, 5.0) for cap in street.caps[-120:]]
    assert sum(used) / len(used) > 0.75 * 20.0  # and the detector has work
    assert len(set(street.caps[-120:])) < 40  # cameras are not told every second


def test_who_sends_little_keeps_it() -> None:
    street = Street([1.0, 1.0, 10.0, 10.0], 12.0)
    street.run(120)
    caps = [cap for cap in street.caps[-60:] if cap is not None]
    assert min(caps) > 2.0
    assert max(street.waits[-60:]) < 5


def test_it_ends_when_the_overload_does() -> None:
    street = Street([5.0] * 8, 20.0)
    street.run(120)
    assert street.state.cap is not None
    street.wishes = [5.0] * 3
    street.run(120)
    assert street.state.cap is None


def test_a_detector_that_hangs_leaves_a_little() -> None:
    state = Overload()
    for at in range(60):
        state = after(state, Load(float(at), float(at), 0.0, (5.0, 5.0)), POLICY)
    assert state.cap == pytest.approx(0.2)


def test_a_moment_of_nothing_is_soon_forgotten() -> None:
    street = Street([5.0] * 4, 40.0)
    street.run(20)
    street.power = 0.0
    street.run(10)
    street.power = 40.0
    street.run(200)
    assert min(cap for cap in street.caps if cap is not None) >= 2.5
    assert street.caps[-60:] == [None] * 60


def test_old_layers_that_wait_are_no_reason_to_ask() -> None:
    """A catch-up after a restart: cameras send less than the detector does."""
    state = Overload()
    for at in range(30):
        state = after(state, Load(float(at), 5.0, 20.0, (2.0, 2.0)), POLICY)
    assert state.cap is None


@pytest.mark.parametrize(
    ("sent", "total", "cap"),
    [
        ((5, 5, 5, 5), 10, 2.5),
        ((1, 1, 10, 10), 12, 5),
        ((1, 2, 3), 6, math.inf),
        ((), 0, math.inf),
        ((4,), 0, 0),
    ],
)
def test_a_fair_cap(sent: tuple[float, ...], total: float, cap: float) -> None:
    assert fair(sent, total) == cap


@given(st.lists(st.floats(0, 100), max_size=20), st.floats(0, 500))
def test_under_a_fair_cap_all_is_used(sent: list[float], total: float) -> None:
    cap = fair(sent, total)
    together = sum(min(rate, cap) for rate in sent)
    assert together <= total * (1 + 1e-9) + 1e-9
    assert cap == math.inf or together >= total * (1 - 1e-9) - 1e-9
