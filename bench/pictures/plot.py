"""rate_quality.json as a picture: likeness and realism by bits per pixel."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from bench.pictures.rate_quality import MACHINE, OURS, PEERS
from bench.report import log_axis

_PANELS = (
    ("psnr", "PSNR, dB"),
    ("ms_ssim", "MS-SSIM, dB"),
    ("ssimulacra2", "SSIMULACRA2"),
    ("swd", "distance to photographs (SWD), less is better"),
)
_NAMES = {"jpeg": "JPEG", "webp": "WebP", "avif": "AVIF", "jxl": "JPEG XL", "hevc": "HEVC intra"}


def plot(figures: dict[str, Any], path: Path) -> None:
    """Draws the points of rate_quality.json."""
    points = figures["points"]
    figure, axes = plt.subplots(2, 2, figsize=(11, 8), layout="constrained")
    for panel, (metric, title) in zip(axes.flat, _PANELS, strict=True):
        for codec in PEERS:
            rows = [p for p in points if p["codec"] == codec]
            label = _NAMES[codec]
            panel.plot(*_xy(rows, metric), "o-", ms=3, lw=1, label=label)
        ours = [p for p in points if p["codec"] == OURS and p["steps"] == 0]
        panel.plot(*_xy(ours, metric), "ko-", lw=2.4, label="glimpse, preview")
        refined = [p for p in points if p["codec"] == OURS and p["steps"] == 4]
        if refined:
            panel.plot(*_xy(refined, metric), "k^", ms=7, mfc="none", label="glimpse, 4 steps")
        alone = [p for p in points if p["codec"] == MACHINE and p["steps"] == 0]
        panel.plot(*_xy(alone, metric), "ks", ms=6, mfc="none", label="glimpse, machine layer")
        log_axis(panel)
        panel.set_xlabel("bits per pixel")
        panel.set_title(title)
        panel.grid(alpha=0.3, which="both")
    axes[0, 0].legend(fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _xy(rows: list[dict[str, Any]], metric: str) -> tuple[list[float], list[float]]:
    values = [p[metric] for p in rows]
    if metric == "ms_ssim":
        values = [-10 * math.log10(max(1 - v, 1e-9)) for v in values]
    return [p["bpp"] for p in rows], values
