"""video.json as a picture: one panel a clip, mAP by rate, each curve at its best settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from bench.accuracy.bdrate import Front
from bench.report import log_axis
from bench.video.points import CLEAN, INTER, INTRA


def plot(figures: dict[str, Any], path: Path) -> None:
    """Draws the points of video.json by the headlined truth."""
    clips = figures["clips"]
    figure, panels = plt.subplots(
        1, len(clips), figsize=(6.2 * len(clips), 4.6), layout="constrained", squeeze=False
    )
    for axes, clip in zip(panels[0], clips, strict=True):
        _panel(axes, clip)
    panels[0][0].legend(fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _panel(axes: Axes, clip: dict[str, Any]) -> None:
    codecs = list(dict.fromkeys(row["codec"] for row in clip["points"]))
    for i, codec in enumerate(name for name in codecs if name != CLEAN):
        rows = [row for row in clip["points"] if row["codec"] == codec]
        rates = [row["kbit_s"] for row in rows]
        accuracies = [100 * row["pixel"]["map"] for row in rows]
        front = Front.of(rates, accuracies)
        ours = codec in (INTRA, INTER)
        axes.plot(rates, accuracies, ".", color=f"C{i}", alpha=0.3, ms=4)
        axes.plot(
            front.rates,
            front.accuracies,
            "o-" if codec != INTRA else "o--",
            color=f"C{i}",
            lw=2.2 if ours else 1.2,
            ms=4 if ours else 2.5,
            label=codec,
        )
    log_axis(axes)
    axes.set_ylim(0, 100)
    axes.set_xlabel("kbit/s")
    axes.set_ylabel("mAP against the pixel detector on clean pictures, %")
    axes.set_title(f"{clip['clip']}: {', '.join(clip['truth_boxes']['pixel'])}")
    axes.grid(alpha=0.3, which="both")
