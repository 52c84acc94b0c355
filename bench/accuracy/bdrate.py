"""Curves of bytes against accuracy, and how far apart they are.

A curve is the *front* of its points: those that no other point beats in both bytes and accuracy.
So an image codec is taken at its best scale and quality for each rate, and so are we.

BD-rate is Bjontegaard's: the mean distance in log bytes over the accuracies that both curves reach,
in per cent, by piecewise cubic (PCHIP) interpolation. Where the ranges do not overlap there is no
figure: nothing is extrapolated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import bjontegaard
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

Floats = NDArray[np.float64]

_BETWEEN = 4  # steps from one point of any curve to the next, where the best of curves is taken
_LEAST_OVERLAP = 0.002  # of mAP, 0..1: below this a mean over the overlap says nothing


@dataclass(frozen=True)
class Front:
    """Mean bytes a picture and accuracy 0..1, both rising strictly."""

    rates: Floats
    accuracies: Floats

    @classmethod
    def of(cls, rates: Sequence[float], accuracies: Sequence[float]) -> Front:
        """The points that no cheaper or equally cheap point equals or beats."""
        kept: list[tuple[float, float]] = []
        for rate, accuracy in sorted(zip(rates, accuracies, strict=True), key=_cheapest_best):
            if not kept or accuracy > kept[-1][1]:
                kept.append((rate, accuracy))
        columns = np.array(kept, float).reshape(-1, 2)
        return cls(columns[:, 0], columns[:, 1])


def _cheapest_best(point: tuple[float, float]) -> tuple[float, float]:
    return point[0], -point[1]


def best_of(fronts: Sequence[Front]) -> Front:
    """At each accuracy the fewest bytes of any of them, between their points too."""
    fronts = [front for front in fronts if len(front.rates)]
    if not fronts:
        return Front.of([], [])
    knots = np.unique(np.concatenate([front.accuracies for front in fronts]))
    steps = np.linspace(0, 1, _BETWEEN, endpoint=False)
    between = knots[:-1, None] + steps * np.diff(knots)[:, None]
    accuracies = np.append(between.ravel(), knots[-1])
    rates = np.min([rates_at(front, accuracies) for front in fronts], axis=0)
    return Front.of(rates.tolist(), accuracies.tolist())


def overlap(a: Front, b: Front) -> tuple[float, float] | None:
    """The accuracies that both reach; None if they are too few for a figure."""
    if min(len(a.rates), len(b.rates)) < 2:
        return None
    low = max(a.accuracies[0], b.accuracies[0])
    high = min(a.accuracies[-1], b.accuracies[-1])
    return (float(low), float(high)) if high - low >= _LEAST_OVERLAP else None


def bd_rate(ours: Front, theirs: Front) -> float | None:
    """How many per cent more (fewer: negative) bytes ours takes; None without overlap."""
    if overlap(ours, theirs) is None:
        return None
    percent = bjontegaard.bd_rate(
        theirs.rates,
        theirs.accuracies,
        ours.rates,
        ours.accuracies,
        method="pchip",
        require_matching_points=False,
        min_overlap=0,
    )
    return float(percent)


def compare(ours: Front, theirs: Front, drawn: Sequence[tuple[Front, Front]]) -> dict[str, Any]:
    """BD-rate with its 95 % interval over bootstrap draws, and what it rests on.

    `percent` is None, with a note, where the curves do not meet. The interval leaves out draws in
    which they do not meet; `draws` counts the others.
    """
    percent, shared = bd_rate(ours, theirs), overlap(ours, theirs)
    if percent is None or shared is None:
        return {"percent": None, "note": apart(ours, theirs)}
    again = [figure for a, b in drawn if (figure := bd_rate(a, b)) is not None]
    low, high = np.percentile(again, [2.5, 97.5]) if again else (math.nan, math.nan)
    return {
        "percent": round(percent, 1),
        "interval": [round(float(low), 1), round(float(high), 1)] if again else None,
        "overlap": [round(v, 4) for v in shared],
        "overlap_of_ours": round(share(shared, ours), 3),
        "overlap_of_theirs": round(share(shared, theirs), 3),
        "draws": len(again),
    }


def share(shared: tuple[float, float], front: Front) -> float:
    """How much of a curve, by accuracy, an overlap is."""
    span = front.accuracies[-1] - front.accuracies[0]
    return float((shared[1] - shared[0]) / span)


def apart(ours: Front, theirs: Front) -> str:
    """Why two curves have no overlap."""
    if min(len(ours.rates), len(theirs.rates)) < 2:
        return "no overlap: a single point"
    if ours.accuracies[0] > theirs.accuracies[-1] - _LEAST_OVERLAP:
        return "no overlap: ours above"
    return "no overlap: theirs above"


def rates_at(front: Front, accuracies: Floats) -> Floats:
    """Mean bytes a picture at which the curve reaches each accuracy; infinite if it never does.

    Below the curve's lowest point it is that point's bytes: an upper bound, not a guess.
    """
    if not len(front.rates):
        return np.full(len(accuracies), np.inf)
    if len(front.rates) == 1:
        rates = np.full(len(accuracies), front.rates[0])
    else:
        log_rate = PchipInterpolator(front.accuracies, np.log(front.rates))
        rates = np.exp(log_rate(accuracies.clip(front.accuracies[0], front.accuracies[-1])))
    return np.where(accuracies > front.accuracies[-1], np.inf, rates)
