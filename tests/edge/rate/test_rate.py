"""Rate control over simulated links, in the manner of RFC 8867: steps, fading, outages."""

from __future__ import annotations

import math

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from edge.rate import MESSAGE_COST, Limits, Plan, RateControl, Thinned
from tests.edge.rate.link_model import World, world

# An example takes a tenth of a second: a failing one is told as it is, not shrunk for minutes.
SIMULATED = settings(max_examples=15, deadline=None, phases=(Phase.reuse, Phase.generate))


def fast(_: float) -> float:
    return 1e6


# ---------------------------------------------------------------- what is asked for


def test_without_limits_everything_goes_at_once_at_its_quality() -> None:
    control = RateControl(Limits(best=77, least=3), 0.0)
    for n in range(100):
        assert control.frame(0.0) == Plan(77, 77)
        control.coded(100_000, 77)
        assert control.release([100_000] * 9, 0.0) == 9
        control.sent([100_000] * 9, 0.0)
        control.measured(n * 900_000, (900, 1 << 28), 0.0)
    assert control.wake is None


def test_layers_are_held_for_company_but_not_at_the_end() -> None:
    control = RateControl(Limits(coalesce=1.0), 0.0)
    assert control.release([100], 5.0) == 0
    assert control.wake == 6.0
    assert control.release([100, 100], 5.5) == 0
    assert control.release([100, 100], 5.5, ending=True) == 2
    assert control.release([100], 5.6) == 0
    assert control.release([100, 100, 100], 6.6) == 3


def test_the_servers_wish_counts_like_a_budget_until_it_has_none() -> None:
    control = RateControl(Limits(fps=5.0), 0.0)
    control.wished(400, 0.0)
    found = [control.frame(n / 5) for n in range(20)]
    assert Thinned("server") in found
    assert control.bytes_per_second <= 400
    control.wished(0, 4.0)
    assert control.frame(4.2) == Plan(102, 102)


@pytest.mark.parametrize("limits", [Limits(fps=5.0), Limits(budget=50_000.0, fps=5.0)])
def test_the_servers_wish_for_fewer_frames_is_kept_until_it_has_none(limits: Limits) -> None:
    control = RateControl(limits, 0.0)
    control.wished(0, 0.0, 2.0)
    found = [control.frame(n / 5) for n in range(100)]
    assert 39 <= sum(isinstance(plan, Plan) for plan in found) <= 42
    assert found.count(Thinned("server")) == 100 - sum(isinstance(p, Plan) for p in found)
    control.wished(0, 20.0, 0.0)
    assert all(isinstance(control.frame(20 + n / 5), Plan) for n in range(20))


def test_a_wish_holds_for_one_stream() -> None:
    control = RateControl(Limits(fps=5.0), 0.0)
    control.wished(400, 0.0, 0.5)
    control.connected(1.0)
    assert control.bytes_per_second == math.inf
    assert all(isinstance(control.frame(1 + n / 5), Plan) for n in range(20))


def test_the_tighter_of_budget_and_wish() -> None:
    control = RateControl(Limits(budget=1000.0), 0.0)
    for wish, rate in ((5000, 1000), (600, 600), (0, 1000)):
        control.wished(wish, 0.0)
        assert control.bytes_per_second == pytest.approx(rate, rel=0.05)


# ---------------------------------------------------------------- the budget


def assert_in_budget(w: World) -> None:
    assert w.limits.budget is not None
    assert w.worst_window() <= 1.05 * 60 * w.limits.budget


def assert_adds_up(w: World) -> None:
    assert w.captured == w.thinned.total() + w.coded
    assert w.coded == len(w.latencies) + w.waiting


@pytest.mark.parametrize("coalesce", [0.0, 1.0, 5.0])
@pytest.mark.parametrize("budget", [250.0, 625.0, 1250.0, 5000.0, 50_000.0])
def test_the_budget_holds(budget: float, coalesce: float) -> None:
    w = world(fast, Limits(budget=budget, coalesce=coalesce, best=255), overhead=700.0)
    w.run(240)
    assert_in_budget(w)
    assert_adds_up(w)
    assert w.frames_a_second(60, 240) > 0.2  # no starvation
    used = sum(size for at, size in w.wire if at >= 60) / 180
    assert used > 0.7 * min(budget, 5 * (12 * w.floor_bytes + 745))


@SIMULATED
@given(
    st.floats(150, 20_000),
    st.floats(0, 3),
    st.floats(150, 1200),
    st.integers(40, 2000),
    st.floats(0.5, 25),
    st.booleans(),
    st.integers(0, 1000),
)
def test_the_budget_holds_whatever_messages_and_layers_cost(
    budget: float,
    coalesce: float,
    overhead: float,
    floor_bytes: int,
    fps: float,
    is_thin: bool,
    seed: int,
) -> None:
    limits = Limits(budget=budget, coalesce=coalesce, best=255, fps=fps)
    link = (lambda t: budget * (0.3 if 40 < t < 60 else 3.0)) if is_thin else fast
    w = world(link, limits, overhead=overhead, floor_bytes=floor_bytes, seed=seed)
    w.run(150)
    largest = 1.25 * floor_bytes * 1.02 + overhead + 45
    # A layer that is larger than its share of a minute cannot be made smaller.
    assert w.worst_window() <= max(1.05 * 60 * budget, 60 * budget + 2 * largest)
    assert_adds_up(w)
    assert w.coded > 0


def test_unmeasured_the_estimate_stands() -> None:
    w = world(fast, Limits(budget=1250.0, best=255), overhead=MESSAGE_COST, is_measured=False)
    w.run(200)
    assert_in_budget(w)
    assert w.frames_a_second(60, 200) > 1


def test_a_handshake_is_paid_back() -> None:
    w = world(fast, Limits(budget=1250.0), handshake=5000.0)
    w.run(120)
    assert_in_budget(w)


def test_quality_falls_before_frames_are_thinned() -> None:
    rich = world(fast, Limits(budget=12_000.0, best=200))
    short = world(fast, Limits(budget=4000.0, best=200))
    poor = world(fast, Limits(budget=1500.0, best=200))
    for w in (rich, short, poor):
        w.run(120)
    assert rich.quality(30, 120) > 195
    assert short.quality(30, 120) < 190
    assert short.frames_a_second(30, 120) > 4.8
    assert poor.quality(30, 120) < 60
    assert poor.frames_a_second(30, 120) < 4
    assert poor.thinned["budget"] > 100


def test_a_quality_floor_thins_instead() -> None:
    w = world(fast, Limits(budget=4000.0, best=200, least=150))
    w.run(120)
    assert all(quality >= 150 for _, quality in w.qualities)
    assert w.thinned["budget"] > 50


def test_gathering_saves_headers() -> None:
    single = world(fast, Limits(budget=1250.0))
    gathered = world(fast, Limits(budget=1250.0, coalesce=1.0))
    for w in (single, gathered):
        w.run(150)
    assert gathered.frames_a_second(30, 150) > 1.7 * single.frames_a_second(30, 150)
    assert gathered.latency(95, 30, 150) < 2.0


# ---------------------------------------------------------------- links (RFC 8867, section 5)


def test_a_step_down_and_up() -> None:
    """The latency comes back under its target; quality and frames come back with the link."""
    limits = Limits(budget=5000.0, latency=1.0, best=255)
    w = world(lambda t: 1500.0 if 60 <= t < 120 else 6000.0, limits)
    w.run(200)
    assert w.latency(95, 20, 60) < 1.0
    assert w.latency(50, 75, 120) < 1.0
    assert w.latency(95, 75, 120) < 2.0
    assert w.latency(95, 125, 200) < 1.0
    assert w.frames_a_second(75, 120) > 1.0
    assert w.quality(140, 200) > 0.9 * w.quality(20, 60)
    assert w.frames_a_second(140, 200) > 4.5
    assert_in_budget(w)
    assert_adds_up(w)


def test_a_link_without_a_budget_is_found_out() -> None:
    w = world(lambda t: 1500.0 if 60 <= t < 120 else 6000.0, Limits(latency=1.0, best=255))
    w.run(200)
    assert w.latency(50, 20, 60) < 1.0
    assert w.latency(50, 80, 120) < 2.0
    assert w.latency(50, 130, 200) < 1.0
    carried = sum(size for at, size in w.wire if 130 <= at < 200) / 70
    assert carried > 0.7 * 6000


def test_fading() -> None:
    w = world(
        lambda t: 3000 + 2500 * math.sin(t / 10), Limits(budget=5000.0, latency=1.0, best=255)
    )
    w.run(300)
    assert w.latency(50, 30, 300) < 1.0
    assert w.latency(95, 30, 300) < 3.0
    assert w.frames_a_second(30, 300) > 2
    assert_in_budget(w)
    assert_adds_up(w)


def test_20_kbit_and_600_ms() -> None:
    w = world(lambda _: 2500.0, Limits(latency=2.0, best=255), delay=0.3)
    w.run(200)
    assert w.latency(50, 60, 200) < 2.0
    assert w.latency(95, 60, 200) < 3.0
    assert w.frames_a_second(60, 200) > 3
    carried = sum(size for at, size in w.wire if at >= 60) / 140
    assert carried > 0.8 * 2500


def test_an_outage() -> None:
    """What was coded meanwhile arrives, within the budget, and then latency is as before."""
    limits = Limits(budget=2500.0, latency=1.0, best=255)
    w = world(lambda t: 0.0 if 60 <= t < 90 else 5000.0, limits)
    w.run(200)
    assert w.latency(95, 20, 60) < 1.0
    assert w.latency(95, 110, 200) < 1.0
    assert w.frames_a_second(110, 200) > 0.9 * w.frames_a_second(20, 60)
    assert max(d for _, d in w.latencies) > 25  # it was not thrown away
    assert_in_budget(w)
    assert_adds_up(w)


@SIMULATED
@given(
    st.lists(st.tuples(st.floats(3, 30), st.floats(0, 8000)), min_size=1, max_size=8),
    st.floats(0.01, 0.5),
    st.sampled_from([None, 600.0, 2500.0]),
    st.sampled_from([0.0, 1.0]),
    st.integers(0, 1000),
)
@example([(27.732, 21.0), (17.7228, 17.7228)], 0.0685, 600.0, 0.0, 429)  # what an outage held back
def test_any_trace_is_lived_through(
    pieces: list[tuple[float, float]],
    delay: float,
    budget: float | None,
    coalesce: float,
    seed: int,
) -> None:
    """Whatever the link did, on a good one frames come and go again in time."""

    def trace(t: float) -> float:
        for length, rate in pieces:
            if t < length:
                return rate
            t -= length
        return 8000.0

    bad = sum(length for length, _ in pieces)
    w = world(trace, Limits(budget, 3.0, coalesce, 255), delay=delay, seed=seed)
    w.run(bad + 120)
    assert_adds_up(w)
    assert w.latency(50, bad + 90, bad + 120) < 3.0 + coalesce
    assert w.frames_a_second(bad + 90, bad + 120) > 0.5
    if budget is not None:
        assert_in_budget(w)


@pytest.mark.parametrize(
    ("budget", "coalesce", "overhead", "layer", "fps"),
    [
        (1250.0, 0.0, 150.0, 10.0, 4.8),  # 10 kbit/s, each frame at once
        (625.0, 1.0, 140.0, 14.0, 4.8),  # 5 kbit/s, one message a second
        (250.0, 5.0, 250.0, 36.0, 1.0),  # 2 kbit/s, boxes too
    ],
)
def test_thin_budgets_bear_the_frames_that_their_bytes_allow(
    budget: float, coalesce: float, overhead: float, layer: float, fps: float
) -> None:
    """Costs as counted over TLS with answers gathered for 5 s (docs/decisions.md), layers of 60."""
    limits = Limits(budget=budget, coalesce=coalesce, gather=5.0, best=255)
    costs = {"overhead": overhead, "layer_cost": layer, "floor_bytes": 60, "handshake": 5400.0}
    w = world(lambda _: 1e6, limits, **costs)
    w.run(180.0)
    assert w.frames_a_second(60.0, 180.0) >= fps
    assert_in_budget(w)


@pytest.mark.parametrize(
    ("budget", "coalesce", "boxes", "answer", "floor_bytes"),
    [
        (1250.0, 0.0, False, 0.0, 42),  # as counted: docs/decisions.md
        (1250.0, 0.0, True, 32.0, 42),
        (625.0, 1.0, False, 0.0, 42),
        (625.0, 1.0, True, 32.0, 38),
    ],
)
def test_no_frame_is_left_out_while_quality_can_fall(
    budget: float, coalesce: float, *, boxes: bool, answer: float, floor_bytes: int
) -> None:
    """Nor for an intra layer every 50, nor for answers that come every five seconds."""
    limits = Limits(budget=budget, coalesce=coalesce, gather=5.0, best=255, boxes=boxes)
    costs = {"overhead": 150.0, "layer_cost": 11.0, "answer": answer, "floor_bytes": floor_bytes}
    w = world(fast, limits, **costs, key_every=50, handshake=5400.0)
    w.run(30.0)
    w.thinned.clear()
    w.run(150.0)
    assert w.thinned.total() <= 2
    assert w.quality(30.0, 180.0) > 0
    assert_in_budget(w)


def test_what_an_intra_layer_owes_is_paid_by_quality() -> None:
    limits = Limits(budget=1250.0, gather=5.0, best=255, boxes=False)
    costs = {"overhead": 150.0, "layer_cost": 11.0, "floor_bytes": 42}
    w = world(fast, limits, **costs, key_every=50)
    w.run(30.0)
    w.thinned.clear()
    w.run(60.0)
    worst = min(quality for at, quality in w.qualities if at >= 30)
    assert not w.thinned
    assert worst < 0.8 * w.quality(30.0, 90.0)
