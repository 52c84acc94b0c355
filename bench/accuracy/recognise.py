"""Which classes are in view: bytes on disk against the average precision of presence.

Every picture goes the whole way: file -> edge encoder -> layer bytes -> cloud, once as a recognise
layer, once as a detect layer, at several qualities each. A detect layer's score of a class is that
of its surest box. A class is not scored on a picture where it is not labelled, or only as a crowd.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from bench.report import log_axis, write_report
from cloud.detector import Detection, LayerDetector
from cloud.weights import load_weights as load_for_cloud
from common.bitstream import DETECT, RECOGNISE
from common.errors import BadSettings
from common.types import Box, Presence
from edge.capture.picture import read_picture
from edge.coding.encoder import Encoder
from edge.coding.weights import load_weights as load_for_edge
from train.presence import Flags, mean_average_precision, truth

QUALITIES: Mapping[int, Sequence[float]] = {
    RECOGNISE: (0.0, 0.15, 0.3, 0.45, 0.6, 0.7, 0.8, 0.9, 1.0),
    DETECT: (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
}
_INTERVAL = (2.5, 97.5)  # percentiles of the bootstrap


@dataclass
class _Point:
    """One profile at one quality: bytes of every picture, and a score a class."""

    profile: int
    quality: float
    sizes: list[int] = field(default_factory=list)
    bits: list[float] = field(default_factory=list)  # per source pixel
    scores: list[list[float]] = field(default_factory=list)


def recognise(
    dataset: Path,
    images: Path,
    out: Path,
    weights: Path,
    *,
    most: int | None = None,
    qualities: Mapping[int, Sequence[float]] = QUALITIES,
    draw_count: int = 200,
) -> dict[str, Any]:
    """Measures, writes recognise.json and .png into `out`, returns the figures.

    qualities   by task profile
    draw_count  bootstrap draws for the intervals

    Raises BadSettings for weights without the profile, or a data set without one of its classes.
    """
    index = json.loads(dataset.read_text())
    chosen = index["images"][:most]
    labels = tuple(c["name"] for c in index["categories"])
    encoder = Encoder(load_for_edge(weights), threads=2)
    encoder.profile("recognise")
    detector = LayerDetector(load_for_cloud(weights), min_score=0.0)
    if unknown := set(detector.labels) - set(labels):
        raise BadSettings(f"the data set has no class {', '.join(sorted(unknown))}")
    points = [_Point(profile, q) for profile, some in qualities.items() for q in some]
    mismatches = 0
    for image in track(chosen, "pictures"):
        picture = read_picture(images / image["file_name"])
        analysis = encoder.analyse(picture)
        layers = [encoder.layer(analysis, point.quality, point.profile) for point in points]
        read = [detector.read(layer) for layer in layers]
        for point, layer, coded, seen in zip(
            points, layers, read, detector.detect_read(read), strict=True
        ):
            wanted = encoder.integers(analysis, point.quality, point.profile)
            mismatches += not np.array_equal(coded.y, wanted)
            point.sizes.append(len(layer))
            point.bits.append(len(layer) * 8 / (picture.width * picture.height))
            point.scores.append(class_scores(seen, labels))
    present, known = truth(index, [image["id"] for image in chosen])
    draws = np.random.default_rng(0).integers(len(chosen), size=(draw_count, len(chosen)))
    figures = {
        "dataset": dataset.name,
        "images": len(chosen),
        "detector": detector.model,
        "round_trip_mismatches": mismatches,
        "bootstrap_draws": draw_count,
        "chance_map": round(_chance(present, known), 4),
        "points": [
            {"profile": detector.profiles[point.profile]}
            | _row(point, labels, present, known, draws)
            for point in points
        ],
    }
    write_report(out / "recognise.json", figures)
    _plot(figures, out / "recognise.png")
    return figures


def class_scores(seen: Detection, labels: Sequence[str]) -> list[float]:
    """A score for each class: its presence, or the surest of its boxes; 0 for neither."""
    found = dict.fromkeys(labels, 0.0)
    signs: list[Box | Presence] = [*seen.boxes, *seen.presences]
    for sign in signs:
        found[sign.label] = max(found[sign.label], sign.score)
    return [found[label] for label in labels]


def _chance(present: Flags, known: Flags) -> float:
    """What scores that say nothing reach: the share of pictures that have the class."""
    return mean_average_precision(present, known, np.zeros(present.shape))[0]


def _row(
    point: _Point,
    labels: Sequence[str],
    present: Flags,
    known: Flags,
    draws: NDArray[np.int64],
) -> dict[str, Any]:
    scores = np.array(point.scores)
    mean, each = mean_average_precision(present, known, scores)
    drawn = [mean_average_precision(present[d], known[d], scores[d])[0] for d in draws]
    low, high = np.percentile(drawn, _INTERVAL) if drawn else (mean, mean)
    return {
        "quality": point.quality,
        "mean_bytes": round(float(np.mean(point.sizes)), 1),
        "largest_bytes": max(point.sizes),
        "bpp": round(float(np.mean(point.bits)), 5),
        "map": round(mean, 4),
        "map_interval": [round(float(low), 4), round(float(high), 4)],
        "ap": {
            label: round(float(ap), 4) for label, ap in zip(labels, each, strict=True) if ap == ap
        },
    }


def _plot(figures: dict[str, Any], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for i, profile in enumerate(dict.fromkeys(p["profile"] for p in figures["points"])):
        points = [p for p in figures["points"] if p["profile"] == profile]
        sizes = [p["mean_bytes"] for p in points]
        means = np.array([p["map"] for p in points])
        bounds = np.array([p["map_interval"] for p in points]).T
        reach = 100 * np.clip([means - bounds[0], bounds[1] - means], 0, None)
        style = "o-" if profile == "recognise" else "s--"
        name = f"{profile} layers"
        axes.errorbar(sizes, 100 * means, reach, fmt=style, color=f"C{i}", label=name, capsize=2)
    axes.axhline(100 * figures["chance_map"], color="grey", ls=":", label="chance")
    log_axis(axes)
    axes.set_xlabel("bytes a picture, header and checksum included")
    axes.set_ylabel("mAP of presence, %")
    axes.set_ylim(0, 100)
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    axes.set_title("Which classes are in view")
    figure.savefig(path, dpi=110)
    plt.close(figure)
