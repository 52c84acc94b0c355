from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.accuracy.bdrate import Front, bd_rate, best_of, compare, overlap, rates_at

RATES = np.array([100.0, 200, 400, 800, 1600])
ACCURACIES = np.array([0.1, 0.17, 0.22, 0.25, 0.26])


def front(rates=RATES, accuracies=ACCURACIES) -> Front:
    return Front.of(list(rates), list(accuracies))


def test_a_front_keeps_what_nothing_cheaper_beats():
    kept = Front.of([400, 100, 200, 300, 100], [0.3, 0.1, 0.3, 0.2, 0.15])
    assert kept.rates.tolist() == [100, 200]
    assert kept.accuracies.tolist() == [0.15, 0.3]


@given(st.lists(st.tuples(st.floats(1, 1e6), st.floats(0, 1)), min_size=1, max_size=30))
def test_every_point_is_on_its_front_or_beaten_by_it(points):
    kept = Front.of(*zip(*points, strict=True))
    assert (np.diff(kept.rates) > 0).all()
    assert (np.diff(kept.accuracies) > 0).all()
    for rate, accuracy in points:
        assert ((kept.rates <= rate) & (kept.accuracies >= accuracy)).any()


@pytest.mark.parametrize("factor", [0.1, 0.5, 1.0, 3.0])
def test_a_curve_of_a_factor_in_bytes_has_that_bd_rate(factor):
    found = bd_rate(front(RATES * factor), front())
    assert found == pytest.approx(100 * (factor - 1), abs=1e-6)


def test_the_overlap_decides_what_is_compared():
    """Where only the upper half is shared, the lower half's bytes do not matter."""
    ours = front(RATES[2:] / 2, ACCURACIES[2:])
    assert overlap(ours, front()) == pytest.approx((0.22, 0.26))
    found = compare(ours, front(), [(ours, front())] * 3)
    assert found["percent"] == pytest.approx(-50, abs=3)  # PCHIP bends at a curve's end
    assert found["interval"] == [found["percent"]] * 2
    assert found["overlap"] == [0.22, 0.26]
    assert found["overlap_of_ours"] == 1.0
    assert found["overlap_of_theirs"] == 0.25
    assert found["draws"] == 3


def test_curves_that_do_not_meet_have_no_figure():
    better = compare(front(RATES, ACCURACIES + 0.5), front(), [])
    worse = compare(front(), front(RATES, ACCURACIES + 0.5), [])
    single = compare(front([100], [0.2]), front(), [])
    assert better["percent"] is worse["percent"] is single["percent"] is None
    assert "ours above" in better["note"]
    assert "theirs above" in worse["note"]
    assert "single point" in single["note"]


def test_draws_that_do_not_meet_are_left_out_of_the_interval():
    apart = front(RATES, ACCURACIES + 0.5)
    drawn = [(front(RATES * f), front()) for f in (0.4, 0.5, 0.6)]
    found = compare(front(RATES * 0.5), front(), [*drawn, (apart, front())])
    assert found["draws"] == 3
    low, high = found["interval"]
    assert -60 <= low < -50 < high <= -40


def test_bytes_at_an_accuracy():
    exact, between, below, above = rates_at(front(), np.array([0.22, 0.2, 0.05, 0.27]))
    assert exact == pytest.approx(400)
    assert 200 < between < 400
    assert below == pytest.approx(100)  # an upper bound: nothing is extrapolated
    assert above == np.inf
    assert rates_at(front([], []), np.array([0.1])) == np.inf
    assert rates_at(front([50], [0.2]), np.array([0.1, 0.2])).tolist() == pytest.approx([50, 50])


def test_the_best_of_curves_is_never_above_any():
    """One is better at low rates, the other at high ones and reaches further."""
    steep, flat = front(), front(RATES * 0.8 + 150, ACCURACIES * 1.1)
    best = best_of([steep, flat])
    accuracies = np.linspace(best.accuracies[0], best.accuracies[-1], 50)
    both = np.minimum(rates_at(steep, accuracies), rates_at(flat, accuracies))
    assert rates_at(best, accuracies) == pytest.approx(both, rel=0.02)
    assert best.accuracies[-1] == flat.accuracies[-1]
    assert (bd_rate(best, steep) or 0) < 0
    assert (bd_rate(best, flat) or 0) < 0
    assert best_of([steep]).rates[-1] == pytest.approx(1600)
    assert len(best_of([]).rates) == 0
