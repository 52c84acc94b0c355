"""A small human decoder for tests: the real formats, random networks, tables of made pictures."""

from __future__ import annotations

import io
import json
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from cloud.models.fusion import Fusion, FusionConfig
from cloud.models.prior import Prior
from cloud.models.prior_files import prior_files
from common.coding.blocks import COEFFICIENTS, analyse
from common.coding.coefficients import CoefficientModel
from common.coding.contexts import Ints
from common.manifest import Manifest
from tests.weights import CHANNELS, LEVELS
from train.auxiliary import Sight, fit

FUSION = FusionConfig(latent=CHANNELS, widths=(8, 8, 8), depths=(1, 1, 1))
PRIOR = (32, 32, 32)


def tiny_human(weights: Path, *, prior: bool = True, seed: int = 0) -> Path:
    """Writes human/ into a weights folder that holds a machine codec; returns it."""
    below = Manifest.parse((weights / "manifest.json").read_bytes())
    torch.manual_seed(seed)
    tensors = dict(Fusion(FUSION).state_dict())
    tensors["log_inverse"] = torch.zeros(1, LEVELS, CHANNELS)
    file = io.BytesIO()
    np.savez_compressed(file, **tiny_tables().to_arrays())
    files = {
        "auxiliary.npz": file.getvalue(),
        "fusion.safetensors": save({k: v.half().contiguous() for k, v in tensors.items()}),
    }
    folder = weights / "human"
    if prior:
        Prior.fresh(PRIOR).save(folder / "prior")
    manifest = Manifest.build(
        files,
        name=f"tiny-human-{seed}",
        codec={"base": below.model_id},
        labels=(),
        profiles=("picture",),
        trained={
            "fusion": json.dumps(
                {"latent": FUSION.latent, "widths": FUSION.widths, "depths": FUSION.depths}
            )
        },
        beside=prior_files(folder),
    )
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "manifest.json").write_bytes(manifest.to_json())
    return folder


@cache
def tiny_tables() -> CoefficientModel:
    """Counted on a few made pictures."""
    rng = np.random.default_rng(0)
    base = np.zeros((6, 8, 2), np.int32)
    return fit([Sight(analyse(made(rng)), base, int(q)) for q in rng.integers(0, 256, 8)])


def made(rng: np.random.Generator, height: int = 96, width: int = 128) -> NDArray[np.uint8]:
    """A picture with flat parts, slopes, edges and some noise."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.zeros((height, width, 3))
    for _ in range(6):
        a, b, c = rng.normal(size=3)
        side = (a * (y - height / 2) + b * (x - width / 2) + 20 * c) > 0
        pixels += side[..., None] * rng.uniform(-60, 60, 3) + (a * y + b * x)[..., None] * 0.2
    pixels += rng.normal(0, 3, pixels.shape)
    return (pixels + 128).clip(0, 255).astype(np.uint8)


def any_coefficients(rng: np.random.Generator, h: int, w: int, density: float) -> Ints:
    """Integers h w 384: mostly small and of low frequency, some anywhere, some huge."""
    falling = np.exp(-np.arange(COEFFICIENTS) % 256 / (256 * density))
    sizes = rng.geometric(0.4, (h, w, COEFFICIENTS)) * (rng.random((h, w, COEFFICIENTS)) < falling)
    huge = rng.random(sizes.shape) < 0.001
    sizes = np.where(huge, rng.integers(0, 3000, sizes.shape), sizes)
    signs = rng.choice((-1, 1), sizes.shape)
    out: Ints = (sizes * signs).astype(np.int16)
    return out
