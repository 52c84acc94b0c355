"""When a camera that chooses by itself codes for boxes, and when only for what is in view."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge.coding.profile import Answered, Captured, Policy, View, after, change

Latent = NDArray[np.float32]
POLICY = Policy(linger=5.0, least=0.2, ratio=2.0, memory=10.0)
Event = Captured | Answered


def told(events: list[Event], view: View | None = None, policy: Policy = POLICY) -> list[View]:
    """The view after each event."""
    start = View() if view is None else view
    return list(itertools.accumulate(events, lambda v, e: after(v, e, policy), initial=start))[1:]


def quiet(seconds: float, start: float = 0.0, change: float = 0.0) -> list[Event]:
    """Five frames a second; the server sees nothing in any, and says so a second later."""
    frames = [start + i / 5 for i in range(int(5 * seconds))]
    events: list[Event] = []
    for at in frames:
        events.append(Captured(at, change))
        if at - start >= 1:
            events.append(Answered(at - 1, False))
    return events


@st.composite
def stories(draw: st.DrawFn) -> list[Event]:
    """Frames in time; some are answered, in order, some time later."""
    events: list[Event] = []
    now = draw(st.floats(0, 1000))
    waiting: list[float] = []
    for _ in range(draw(st.integers(1, 80))):
        is_answer: bool = draw(st.booleans())
        if waiting and is_answer:
            at = waiting.pop(0)
            events.append(Answered(at, draw(st.sampled_from([False, False, True]))))
        else:
            now += draw(st.floats(0, 3))
            events.append(Captured(now, draw(st.sampled_from([0.0, 0.05, 0.19, 0.3, 3.0]))))
            waiting.append(now)
    return events


def test_it_begins_with_boxes_and_goes_quiet_when_the_server_sees_nothing() -> None:
    assert View().is_lifted
    assert not told(quiet(3))[-1].is_lifted


def test_a_server_that_does_not_answer_leaves_it_at_boxes() -> None:
    assert told([Captured(float(at), 0.0) for at in range(1000)])[-1].is_lifted


def test_the_servers_answer_lifts_at_once_and_holds() -> None:
    view = told(quiet(20))[-1]
    assert not view.is_lifted
    view = after(view, Answered(19.0, True), POLICY)
    assert view.is_lifted
    later = told(quiet(10, start=20.0), view)
    lifted = [
        event for event, seen in zip(quiet(10, start=20.0), later, strict=True) if seen.is_lifted
    ]
    last = max(e.at for e in lifted if isinstance(e, Captured))
    assert last == pytest.approx(19 + POLICY.linger + 1, abs=0.5)  # answers are a second late
    assert not later[-1].is_lifted


def test_a_local_change_lifts_before_any_answer() -> None:
    view = told(quiet(20))[-1]
    view = after(view, Captured(20.0, 0.5), POLICY)
    assert view.is_lifted
    assert after(view, Answered(19.9, False), POLICY).is_lifted  # of a frame before the change


def test_small_changes_are_no_sign() -> None:
    assert not told(quiet(60, change=0.19))[-1].is_lifted


def test_what_goes_on_and_on_and_is_nothing_becomes_usual() -> None:
    """A tree in the wind: a sign at first, not any more after a while; a car beside it still is."""
    view = told(quiet(20))[-1]
    windy = told(quiet(60, start=20.0, change=0.4), view)
    assert windy[0].is_lifted
    assert not windy[-1].is_lifted
    assert after(windy[-1], Captured(80.0, 1.0), POLICY).is_lifted
    calm = told(quiet(60, start=80.0), windy[-1])[-1]
    assert after(calm, Captured(140.0, 0.4), POLICY).is_lifted


def test_what_changes_while_something_is_in_view_does_not_become_usual() -> None:
    view = told(quiet(20))[-1]
    busy: list[Event] = []
    for at in range(20, 120):
        busy += [Captured(float(at), 1.0), Answered(float(at), True)]
    assert told(busy, view)[-1].usual < 0.2


def test_answers_of_an_outage_drop_nothing_that_is_newer() -> None:
    """The backlog's frames were empty; what changed since then counts for more."""
    view = after(told(quiet(20))[-1], Captured(100.0, 1.0), POLICY)
    backlog = [Answered(float(at), False) for at in range(30, 104)]
    assert all(seen.is_lifted for seen in told([*backlog], view))
    assert not after(view, Answered(106.0, False), POLICY).is_lifted


@given(stories())
def test_any_sign_lifts_at_once(events: list[Event]) -> None:
    for before, event, now in zip([View(), *told(events)], events, told(events), strict=False):
        if isinstance(event, Answered):
            assert now.is_lifted or not event.in_view
        else:
            threshold = max(POLICY.least, POLICY.ratio * before.usual)
            assert now.is_lifted or event.change < threshold


@given(stories())
def test_it_goes_quiet_only_on_the_servers_word_long_after_the_last_sign(
    events: list[Event],
) -> None:
    signs = [-1e9]
    for before, event, now in zip([View(), *told(events)], events, told(events), strict=False):
        if now.sign_at > before.sign_at:
            signs.append(now.sign_at)
        if before.is_lifted and not now.is_lifted:
            assert isinstance(event, Answered)
            assert not event.in_view
            assert event.at - max(signs) >= POLICY.linger


@given(stories(), st.integers(-100, 100))
def test_only_differences_of_time_matter(events: list[Event], shift: int) -> None:
    whole = [dataclasses.replace(e, at=float(round(e.at * 8)) / 8) for e in events]
    moved = [dataclasses.replace(e, at=e.at + shift) for e in whole]
    assert [v.is_lifted for v in told(whole)] == [v.is_lifted for v in told(moved)]


@given(stories())
def test_it_does_not_flap(events: list[Event]) -> None:
    """It goes quiet at most once in `linger` seconds of frames that were answered."""
    drops = [
        event.at
        for before, event, now in zip([View(), *told(events)], events, told(events), strict=False)
        if before.is_lifted and not now.is_lifted
    ]
    assert all(b - a >= POLICY.linger for a, b in itertools.pairwise(drops))


@given(stories())
def test_an_older_answer_changes_nothing(events: list[Event]) -> None:
    view = told(events)[-1]
    if view.answered_at > -np.inf:
        for in_view in (False, True):
            assert after(view, Answered(view.answered_at - 0.1, in_view), POLICY) == view


class TestChange:
    def still(self, seed: int = 0, noise: float = 0.1) -> tuple[Latent, Latent]:
        rng = np.random.default_rng(seed)
        y = rng.normal(size=(16, 15, 20)).astype(np.float32)
        return y, y + rng.normal(0, noise, y.shape).astype(np.float32)

    @pytest.mark.parametrize("noise", [0.0, 0.05, 0.3, 1.0])
    def test_noise_everywhere_is_no_change(self, noise: float) -> None:
        assert change(*self.still(noise=noise)) < Policy().least

    @pytest.mark.parametrize("where", [(0, 0), (7, 9), (14, 19)])
    def test_a_thing_in_one_place_is(self, where: tuple[int, int]) -> None:
        y, now = self.still()
        row, column = where
        now[:, max(row - 2, 0) : row + 2, max(column - 2, 0) : column + 2] += 1.5
        assert change(now, y) > Policy().least

    def test_light_that_changes_everywhere_is_not(self) -> None:
        y, now = self.still()
        assert change(now + 0.5, y) < Policy().least

    def test_one_wild_value_is_not(self) -> None:
        y, now = self.still()
        now[3, 5, 5] += 1000
        assert change(now, y) < Policy().least

    def test_two_sizes_have_nothing_in_common(self) -> None:
        y, _ = self.still()
        assert change(y, y[:, 1:]) == 0.0

    def test_a_latent_of_one_place(self) -> None:
        one = np.zeros((4, 1, 1), np.float32)
        assert change(one + 1, one) == 0.0
