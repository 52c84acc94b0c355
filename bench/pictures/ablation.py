"""Is the base really used twice? The auxiliary codec with and without the machine layer below it.

    together  machine layer + auxiliary layer coded over it, shown with the machine latent
    apart     an auxiliary layer alone: tables counted anew without a base, shown without a latent

The floor: together costs at most a tenth more than apart at equal PSNR. Both by the same integers,
so that their difference is one of bytes and of fusion, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track

from bench.accuracy.bdrate import Front, bd_rate
from bench.pictures.rate_quality import Ours, own_side
from bench.report import write_report
from common.auxiliary import AuxiliaryCodec
from common.codec import Coded
from common.coding.blocks import analyse
from common.coding.choice import chosen
from common.coding.coefficients import CoefficientModel
from edge.capture.picture import PICTURE_SUFFIXES, Pixels, read_picture
from train.auxiliary import fit, sights
from train.evaluate import pad

QUALITIES = (0, 40, 80, 120, 160)
WAYS = ("together", "apart")


def ablation(
    images: Path,
    pictures: Sequence[Path],
    run: Path,
    out: Path,
    weights: Path,
    *,
    count: int = 240,
    most: int | None = None,
) -> dict[str, Any]:
    """Writes out/ablation.json.

    pictures, run, count  what `train auxiliary` made its tables of; the others are counted there
    """
    torch.set_num_threads(2)
    seen = [replace(s, base=np.zeros_like(s.base)) for s in sights(pictures, run, count)]
    apart = fit(seen)
    ours = Ours(weights)
    files = sorted(p for p in images.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES)[:most]
    rows = np.array([_one(ours, apart, read_picture(path).pixels) for path in track(files)])
    sizes, psnr = rows.mean(0)[..., 0], rows.mean(0)[..., 1]  # Q 2 each
    curves = [Front.of(sizes[:, way].tolist(), psnr[:, way].tolist()) for way in (0, 1)]
    percent = bd_rate(curves[0], curves[1])
    figures = {
        "dataset": images.name,
        "images": len(files),
        "together_against_apart_percent": None if percent is None else round(percent, 2),
        "points": [
            {
                "quality": quality,
                "together": {"bytes": round(sizes[i, 0], 1), "psnr": round(psnr[i, 0], 3)},
                "apart": {"bytes": round(sizes[i, 1], 1), "psnr": round(psnr[i, 1], 3)},
            }
            for i, quality in enumerate(QUALITIES)
        ],
    }
    write_report(out / "ablation.json", figures)
    return figures


def _one(ours: Ours, apart: CoefficientModel, pixels: Pixels) -> list[list[tuple[float, float]]]:
    """(bytes, PSNR) together and apart, by quality."""
    base = ours.machine(pixels)
    blind = replace(base, y=np.zeros_like(base.y))
    codec = AuxiliaryCodec(apart, ours.decoder.model_id)
    coefficients = analyse(pad(pixels))
    nothing = np.zeros((*coefficients.shape[:2], 2), np.int32)
    rows: list[list[tuple[float, float]]] = []
    for quality in QUALITIES:
        layer = ours.auxiliary(pixels, base, quality)
        side = own_side(pixels)
        q = chosen(apart, coefficients, nothing, quality)
        alone = codec.encode(q, blind, side=side, quality=quality)
        shown = ours.auxiliary(pixels, blind, quality)
        rows.append(
            [
                (len(base.data) + len(layer), _psnr(ours, pixels, base, layer)),
                (len(alone), _psnr(ours, pixels, blind, shown)),
            ]
        )
    return rows


def _psnr(ours: Ours, pixels: Pixels, base: Coded, layer: bytes) -> float:
    made = ours.decoder.restore(base, layer).pixels.astype(float)
    return float(10 * np.log10(255**2 / np.mean((made - pixels) ** 2)))
