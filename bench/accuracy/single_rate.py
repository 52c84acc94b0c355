"""What one model for all rates loses against models of a single rate each.

The single-rate models are `train machine --quality Q` from the same start and for as long as the
variable one; each is exported with tables of its own. At each of their points:

bytes     the variable curve's bytes at the same mAP against theirs, per cent (negative: fewer)
accuracy  the variable curve's mAP at the same bytes, less theirs; says more where mAP is level

Both with an interval over draws of the pictures, the same draws for all models.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.interpolate import PchipInterpolator

from bench.accuracy.bdrate import Front, rates_at
from bench.accuracy.matching import Matches, Truth, draws
from bench.accuracy.pixel import MIN_SCORE
from bench.accuracy.rate_accuracy import layer_points
from bench.report import write_report
from cloud.detector import LayerDetector
from cloud.weights import load_weights as load_for_cloud
from edge.coding.encoder import Encoder
from edge.coding.weights import load_weights as load_for_edge

QUALITIES = tuple(i / 10 for i in range(11))


def single_rate(
    dataset: Path,
    images: Path,
    out: Path,
    variable: Path,
    single: Mapping[float, Path],
    *,
    most: int | None = None,
    draw_count: int = 200,
    qualities: Sequence[float] = QUALITIES,
) -> dict[str, Any]:
    """Measures, writes single_rate.json into `out`, returns the figures.

    single  weights folders by the quality, 0..1, that each was trained for

    Raises BadSettings for a data set without one of the detector's classes.
    """
    truth = Truth(dataset, most)
    paths = [images / image["file_name"] for image in truth.images]
    everything = np.arange(len(paths))
    chosen = [everything, *draws(len(paths), draw_count)]
    ours = _Measured(truth, paths, variable, qualities, "variable", chosen)
    fronts = [
        Front.of([bytes_ for bytes_, _ in points], [score for _, score in points])
        for points in ours.points
    ]
    rows = []
    for quality, weights in sorted(single.items()):
        theirs = _Measured(truth, paths, weights, [quality], f"single {quality:g}", chosen)
        one = [points[0] for points in theirs.points]
        against = [_against(front, *point) for front, point in zip(fronts, one, strict=True)]
        rows.append(
            {
                "quality": quality,
                "mean_bytes": round(one[0][0], 1),
                "map": round(one[0][1], 4),
                "bytes_percent": _with_interval([a for a, _ in against], 1),
                "map_difference": _with_interval([d for _, d in against], 4),
            }
        )
    figures = {
        "dataset": dataset.name,
        "images": len(paths),
        "bootstrap_draws": draw_count,
        "variable": [
            {"quality": q, "mean_bytes": round(b, 1), "map": round(m, 4)}
            for q, (b, m) in zip(qualities, ours.points[0], strict=True)
        ],
        "single": rows,
    }
    write_report(out / "single_rate.json", figures)
    return figures


class _Measured:
    """points  for each draw of the pictures (bytes, mAP) by quality."""

    def __init__(
        self,
        truth: Truth,
        paths: Sequence[Path],
        weights: Path,
        qualities: Sequence[float],
        name: str,
        chosen: Sequence[np.ndarray[Any, Any]],
    ) -> None:
        encoder = Encoder(load_for_edge(weights), threads=1)
        detector = LayerDetector(load_for_cloud(weights), threads=1, min_score=MIN_SCORE)
        found, _ = layer_points(truth, paths, encoder, detector, qualities, name)
        matches = [Matches(truth, point.found) for point in found]
        self.points = [
            [
                (float(point.sizes[draw].mean()), match.score(draw).map)
                for point, match in zip(found, matches, strict=True)
            ]
            for draw in chosen
        ]


def _against(front: Front, size: float, score: float) -> tuple[float, float]:
    """(per cent of bytes, difference of mAP) of a curve against one point; NaN out of its range."""
    percent, difference = math.nan, math.nan
    if len(front.rates) < 2:
        return percent, difference
    if front.accuracies[0] <= score <= front.accuracies[-1]:
        percent = 100 * (float(rates_at(front, np.array([score]))[0]) / size - 1)
    if front.rates[0] <= size <= front.rates[-1]:
        curve = PchipInterpolator(np.log(front.rates), front.accuracies)
        difference = float(curve(math.log(size))) - score
    return percent, difference


def _with_interval(values: Sequence[float], digits: int) -> dict[str, Any]:
    """The first value, and the 95 % interval of the others; None where a curve does not reach."""
    first, others = values[0], [v for v in values[1:] if not math.isnan(v)]
    low, high = np.percentile(others, [2.5, 97.5]) if others else (math.nan, math.nan)
    return {
        "value": None if math.isnan(first) else round(first, digits),
        "interval": [round(float(low), digits), round(float(high), digits)] if others else None,
        "draws": len(others),
    }
