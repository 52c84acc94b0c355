from __future__ import annotations

import numpy as np
import pytest

from bench.accuracy.bdrate import Front
from bench.video.equal import equal_detection, linear_rates, ratio_at


def test_between_points_bytes_grow_by_the_same_factor():
    front = Front.of([10.0, 40.0], [0.2, 0.4])
    rates = linear_rates(front, np.array([0.1, 0.2, 0.3, 0.4, 0.5]))
    assert rates[1:4] == pytest.approx([10, 20, 40])
    assert np.isnan(rates[[0, 4]]).all()  # nothing is extrapolated


def test_a_curve_five_times_as_dear_is_so_everywhere():
    ours = Front.of([10.0, 30.0, 50.0], [0.2, 0.5, 0.6])
    theirs = Front.of([50.0, 150.0, 250.0], [0.2, 0.5, 0.6])
    found = equal_detection(ours, theirs)
    assert (found["least"], found["mean"], found["most"]) == (5.0, 5.0, 5.0)
    assert found["overlap"] == [0.2, 0.6]
    assert (found["of_ours"], found["of_theirs"]) == (1.0, 1.0)


def test_the_figures_are_those_of_a_fine_sampling():
    ours = Front.of([10.0, 30.0, 55.0, 80.0], [0.15, 0.5, 0.6, 0.62])
    theirs = Front.of([40.0, 90.0, 400.0], [0.3, 0.45, 0.8])
    found = equal_detection(ours, theirs)
    at = np.linspace(0.3, 0.62, 100_001)
    log = np.log(linear_rates(theirs, at) / linear_rates(ours, at))
    assert found["mean"] == pytest.approx(np.exp(log.mean()), abs=0.01)
    assert found["least"] == pytest.approx(np.exp(log.min()), abs=0.01)
    assert found["most"] == pytest.approx(np.exp(log.max()), abs=0.01)
    assert found["of_ours"] == pytest.approx(0.32 / 0.47, abs=0.001)
    assert found["of_theirs"] == pytest.approx(0.32 / 0.5, abs=0.001)


def test_curves_that_do_not_meet_have_no_figure():
    low, high = Front.of([10.0, 20.0], [0.1, 0.2]), Front.of([10.0, 20.0], [0.5, 0.6])
    assert equal_detection(low, high) == {"note": "no overlap: theirs above"}
    assert equal_detection(high, low) == {"note": "no overlap: ours above"}
    assert "single point" in equal_detection(low, Front.of([10.0], [0.1]))["note"]


def test_one_point_against_a_curve():
    theirs = Front.of([50.0, 200.0], [0.3, 0.5])
    assert ratio_at(10.0, 0.4, theirs) == (10.0, None)
    assert ratio_at(10.0, 0.2, theirs) == (None, "no overlap: theirs has no point so inaccurate")
    assert ratio_at(10.0, 0.6, theirs) == (None, "no overlap: theirs has no point so accurate")
    assert ratio_at(10.0, 0.6, Front.of([], [])) == (None, "no points")
