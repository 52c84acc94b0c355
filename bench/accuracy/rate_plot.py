"""rate_accuracy.json as a picture: mAP and mAP50 by bytes, each curve at its best settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from bench.accuracy.bdrate import Front
from bench.accuracy.comparisons import EDGE
from bench.accuracy.points import OURS, UNCOMPRESSED
from bench.report import log_axis

Row = dict[str, Any]


def plot(figures: dict[str, Any], path: Path) -> None:
    """Draws the points of rate_accuracy.json; the pixel detector fine-tuned dashed."""
    rows: list[Row] = figures["points"]
    codecs = list(dict.fromkeys(row["codec"] for row in rows if row["codec"] != UNCOMPRESSED))
    colours = {codec: f"C{i % 10}" for i, codec in enumerate(codecs)}
    figure, panels = plt.subplots(1, 2, figsize=(15, 5.2), layout="constrained")
    for axes, metric, title in zip(panels, ("map", "map50"), ("mAP", "mAP50"), strict=True):
        curves: dict[tuple[str, str], list[Row]] = {}
        for row in rows:
            curves.setdefault((row["codec"], row["detector"]), []).append(row)
        for (codec, detector), points in curves.items():
            if codec == UNCOMPRESSED:
                axes.axhline(100 * points[0][metric], color="grey", ls=_dashes(detector), lw=0.8)
            else:
                _curve(axes, codec, detector, points, metric, colours[codec])
        log_axis(axes)
        axes.set_xlabel("bytes a picture")
        axes.set_title(f"{title}, %")
        axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
        axes.grid(alpha=0.3, which="both")
    figure.legend(*panels[0].get_legend_handles_labels(), fontsize=7, loc="outside right upper")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _curve(
    axes: Axes, codec: str, detector: str, points: list[Row], metric: str, colour: str
) -> None:
    front = Front.of([row["mean_bytes"] for row in points], [row[metric] for row in points])
    ours = codec == OURS
    axes.plot(
        front.rates,
        100 * front.accuracies,
        "o",
        ls=_dashes(detector),
        color=colour,
        lw=2.5 if ours else 1.1,
        ms=5 if ours else 2.5,
        label=codec if ours or detector == EDGE else f"{codec}, {detector}",
    )


def _dashes(detector: str) -> str:
    return "--" if detector.endswith("tuned") else "-"
