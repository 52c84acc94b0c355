"""A run's log as a picture: losses, rate and accuracy over training time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt


def plot(run: Path, out: Path) -> None:
    """Draws `run`/log.jsonl into `out`. Raises FileNotFoundError if the run has no log."""
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    steps = [row for row in rows if "box_loss" in row]
    scores = [row for row in rows if "map50" in row]
    figure, (losses, rate, accuracy) = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    minutes = [row["minutes"] for row in steps]
    for name in ("score_loss", "box_loss"):
        losses.plot(minutes, [row[name] for row in steps], label=name.replace("_", " "))
    losses.legend()
    rate.plot(minutes, [row["bpp"] for row in steps], label="training, all qualities")
    rate.set_yscale("log")
    for i, (quality, points) in enumerate(_by_quality(scores).items()):
        colour = f"C{i + 1}"
        at = [row["minutes"] for row in points]
        name = "pixels" if quality is None else f"quality {quality}"
        accuracy.plot(at, [100 * row["map50"] for row in points], "o-", color=colour, label=name)
        if quality is not None:
            rate.plot(at, [row["bpp_estimate"] for row in points], "o", color=colour, label=name)
    for axes, title in (
        (losses, "loss"),
        (rate, "bits per pixel (estimate)"),
        (accuracy, "mAP50, %"),
    ):
        axes.set_title(title)
        axes.set_xlabel("minutes of training")
        axes.grid(alpha=0.3)
    for axes in (rate, accuracy):
        if axes.has_data():
            axes.legend(fontsize=8)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)
    plt.close(figure)


def _by_quality(rows: list[dict[str, Any]]) -> dict[float | None, list[dict[str, Any]]]:
    groups: dict[float | None, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row.get("quality"), []).append(row)
    return groups
