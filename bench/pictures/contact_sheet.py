"""Pictures side by side, at the same bytes: for a person to judge at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from bench.pictures.rate_quality import Ours, matched
from edge.capture.picture import Pixels, read_picture

_PEERS = {"jpeg": "JPEG", "webp": "WebP", "avif": "AVIF"}
_QUALITY = 45  # of the auxiliary layer
_STEPS = 4


def contact_sheet(pictures: Sequence[Path], weights: Path, out: Path) -> None:
    """Writes a PNG: for each picture a row of the original, the peers at our bytes, and ours."""
    torch.set_num_threads(2)
    ours = Ours(weights)
    rows = [_row(read_picture(path).pixels, ours) for path in pictures]
    figure, axes = plt.subplots(
        len(rows), len(rows[0]), figsize=(3.2 * len(rows[0]), 2.5 * len(rows)), layout="constrained"
    )
    for line, row in zip(axes.reshape(len(rows), -1), rows, strict=True):
        for panel, (title, pixels) in zip(line, row, strict=True):
            panel.imshow(pixels)
            panel.set_title(title, fontsize=9)
            panel.axis("off")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)
    plt.close(figure)


def _row(pixels: Pixels, ours: Ours) -> list[tuple[str, Pixels]]:
    base = ours.machine(pixels)
    layer = ours.auxiliary(pixels, base, _QUALITY)
    budget = len(base.data) + len(layer)
    row = [("original", pixels)]
    for codec, name in _PEERS.items():
        size, made = matched(pixels, codec, budget)
        row.append((f"{name}, {size:,} B", made))
    for steps in (0, _STEPS) if ours.decoder.refines else (0,):
        title = "preview" if steps == 0 else f"{steps} steps"
        made = ours.decoder.restore(base, layer, steps=steps, seed=1).pixels
        row.append((f"glimpse, {title}, {budget:,} B", made))
    alone = ours.decoder.restore(base).pixels
    return [*row, (f"machine layer alone, {len(base.data):,} B", alone)]
