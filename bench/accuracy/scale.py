"""The two knobs of rate: trained gains, channel by channel, and one scale for all of them.

gains  as shipped: a trained gain and inverse for each channel, by quality
scale  gains off: the normalised latent (unit variance a channel) times one number, rounded, and
       divided by it again. That is implicit variable normalisation (IVN): nothing is trained for
       it. At each level the number is the root mean square of the gains there, so that a quality
       means about as many bits, and tables counted for about as many.

Everything else is alike: network, entropy tables, detector, pictures, and files go the whole way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.accuracy.bdrate import Front, compare
from bench.accuracy.matching import Matches, Truth, draws
from bench.accuracy.pixel import MIN_SCORE
from bench.accuracy.rate_accuracy import layer_points
from bench.report import write_report
from cloud.detector import LayerDetector
from cloud.weights import CloudWeights
from cloud.weights import load_weights as load_for_cloud
from edge.coding.encoder import Encoder
from edge.coding.weights import EdgeWeights
from edge.coding.weights import load_weights as load_for_edge

QUALITIES = (0.0, 0.25, 0.5, 0.75, 1.0)


def scale(
    dataset: Path,
    images: Path,
    out: Path,
    weights: Path,
    *,
    most: int | None = None,
    qualities: Sequence[float] = QUALITIES,
    draw_count: int = 200,
) -> dict[str, Any]:
    """Measures, writes scale.json into `out`, returns the figures.

    Raises BadSettings for a data set without one of the detector's classes.
    """
    truth = Truth(dataset, most)
    paths = [images / image["file_name"] for image in truth.images]
    edge, cloud = load_for_edge(weights), load_for_cloud(weights)
    drawn = draws(len(paths), draw_count)
    rows: list[dict[str, Any]] = []
    fronts: list[list[Front]] = []  # of all pictures, then of each draw
    mismatches = 0
    for rate, sides in {"gains": (edge, cloud), "scale": gains_off(edge, cloud)}.items():
        encoder = Encoder(sides[0], threads=1)
        detector = LayerDetector(sides[1], threads=1, min_score=MIN_SCORE)
        points, wrong = layer_points(truth, paths, encoder, detector, qualities, rate)
        mismatches += wrong
        matches = [Matches(truth, point.found) for point in points]
        for quality, point, match in zip(qualities, points, matches, strict=True):
            score = match.score()
            rows.append(
                {
                    "rate": rate,
                    "quality": quality,
                    "mean_bytes": round(float(point.sizes.mean()), 1),
                    "map": round(score.map, 4),
                    "map50": round(score.map50, 4),
                }
            )
        fronts.append(
            [
                Front.of(
                    [float(point.sizes[draw].mean()) for point in points],
                    [match.score(draw).map for match in matches],
                )
                for draw in (np.arange(len(paths)), *drawn)
            ]
        )
    gains, one = fronts
    figures = {
        "dataset": dataset.name,
        "images": len(paths),
        "round_trip_mismatches": mismatches,
        "bootstrap_draws": draw_count,
        "points": rows,
        "bd_rate_map": compare(gains[0], one[0], list(zip(gains[1:], one[1:], strict=True))),
    }
    write_report(out / "scale.json", figures)
    return figures


def gains_off(edge: EdgeWeights, cloud: CloudWeights) -> tuple[EdgeWeights, CloudWeights]:
    """Both sides with one gain for all channels, and its reciprocal as the inverse."""
    level = np.log(np.exp(2.0 * edge.log_gain).mean(2, keepdims=True)) / 2
    log_gain = np.broadcast_to(level, edge.log_gain.shape).astype(np.float32)
    return (
        replace(edge, log_gain=log_gain),
        replace(cloud, log_inverse=-torch.from_numpy(log_gain)),
    )
