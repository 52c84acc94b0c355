"""Bytes at equal detection: one curve's against another's, where both are.

Between two neighbouring points of a curve the logarithm of the bytes is taken to be linear in the
accuracy. So the ratio of two curves is extreme at a point of one of them, and its geometric mean
over the accuracies that both reach is exact, not sampled. Nothing is extrapolated.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.accuracy.bdrate import Floats, Front, apart, overlap, share


def linear_rates(front: Front, accuracies: Floats) -> Floats:
    """The curve's bytes at accuracies that it reaches; NaN at others."""
    log = np.interp(accuracies, front.accuracies, np.log(front.rates), left=np.nan, right=np.nan)
    return np.asarray(np.exp(log))


def equal_detection(ours: Front, theirs: Front) -> dict[str, Any]:
    """How many times our bytes theirs are at equal accuracy: least, geometric mean, most.

    `of_ours` and `of_theirs` say which share of each curve, by accuracy, the figures are about.
    Without an overlap there are none, and `note` says why.
    """
    shared = overlap(ours, theirs)
    if shared is None:
        return {"note": apart(ours, theirs)}
    low, high = shared
    at = np.unique(np.concatenate([ours.accuracies, theirs.accuracies, [low, high]]))
    at = at[(at >= low) & (at <= high)]
    log = np.log(linear_rates(theirs, at) / linear_rates(ours, at))
    mean = float(np.diff(at) @ (log[1:] + log[:-1]) / 2 / (high - low))
    return {
        "least": round(float(np.exp(log.min())), 2),
        "mean": round(float(np.exp(mean)), 2),
        "most": round(float(np.exp(log.max())), 2),
        "overlap": [round(low, 4), round(high, 4)],
        "of_ours": round(share(shared, ours), 3),
        "of_theirs": round(share(shared, theirs), 3),
    }


def ratio_at(rate: float, accuracy: float, theirs: Front) -> tuple[float | None, str | None]:
    """How many times `rate` theirs is at this accuracy; or None, and why not."""
    if not len(theirs.rates):
        return None, "no points"
    if accuracy < theirs.accuracies[0]:
        return None, "no overlap: theirs has no point so inaccurate"
    if accuracy > theirs.accuracies[-1]:
        return None, "no overlap: theirs has no point so accurate"
    return round(float(linear_rates(theirs, np.array([accuracy]))[0] / rate), 2), None
