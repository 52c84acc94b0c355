"""video.json as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from bench.video.points import INTER


def tables(figures: dict[str, Any]) -> Iterator[Table]:
    """For each clip our inter points, then how many times our bytes each video codec takes."""
    for clip in figures["clips"]:
        yield _points(clip)
        yield _against(clip)


def _points(clip: dict[str, Any]) -> Table:
    title = f"{clip['clip']}: {clip['pictures']} pictures, {clip['truth_boxes']['pixel']}"
    columns = ("side", "quality", "bytes", "kbit/s", "of intra", "mAP %", "mAP50 %", "best video")
    table = Table(*columns, title=title)
    rows = [row for row in clip["points"] if row["codec"] == INTER]
    for row, saved, placed in zip(rows, clip["inter_over_intra"], clip["our_points"], strict=True):
        times = placed["times_best_video"]["pixel"]
        table.add_row(
            str(row["side"]),
            f"{saved['quality']:g}",
            f"{row['bytes']:.1f}",
            f"{row['kbit_s']:.2f}",
            f"{saved['ratio']:.3f}",
            f"{100 * row['pixel']['map']:.1f}",
            f"{100 * row['pixel']['map50']:.1f}",
            "-" if isinstance(times, str) else f"x {times:.1f}",
        )
    return table


def _against(clip: dict[str, Any]) -> Table:
    title = f"{clip['clip']}: how many times our bytes at equal detection"
    table = Table("truth", "ours", "theirs", "by mAP", "from", "to", "of ours", title=title)
    for truth, curves in clip["equal_detection"].items():
        for ours, rivals in curves.items():
            for theirs, compared in rivals.items():
                table.add_row(truth, ours, theirs, *_figures(compared["map"]))
    return table


def _figures(found: dict[str, Any]) -> tuple[str, ...]:
    if "note" in found:
        return (found["note"],)
    ratios = (f"x {found[name]:.2f}" for name in ("mean", "least", "most"))
    return (*ratios, f"{100 * found['of_ours']:.0f} %")
