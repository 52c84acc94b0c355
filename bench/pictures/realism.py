"""How far a codec's pictures are, as a set, from photographs: no weights, no reference network.

Sliced Wasserstein distance of patches from Laplacian pyramids (Karras et al. 2018, "Progressive
growing of GANs", 5): patches of 7 x 7 pixels at three levels, colours normalised over both sets,
projected on random directions; the mean distance between the sorted projections, times 1000. It
sees textures that are missing or made up, and not whether they stand where they stood.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Patches = NDArray[np.float32]
"""Levels K 147: K patches of each level."""

LEVELS = 3
_SIDE = 7
_EACH = 96  # patches of each picture and level
_DIRECTIONS = 256


def patches(pixels: Pixels, seed: int) -> Patches:
    """From a picture H W 3; the same seed, the same places."""
    rng = np.random.default_rng(seed)
    levels = _pyramid(pixels.astype(np.float32))
    out = np.empty((LEVELS, _EACH, _SIDE * _SIDE * 3), np.float32)
    for level, plane in enumerate(levels):
        rows = rng.integers(0, plane.shape[0] - _SIDE + 1, _EACH)
        columns = rng.integers(0, plane.shape[1] - _SIDE + 1, _EACH)
        for i, (y, x) in enumerate(zip(rows, columns, strict=True)):
            out[level, i] = plane[y : y + _SIDE, x : x + _SIDE].ravel()
    return out


def distance(real: Sequence[Patches], made: Sequence[Patches]) -> float:
    """Mean over the levels; 0 for the same patches. Both have as many pictures."""
    a, b = np.concatenate(real, 1), np.concatenate(made, 1)
    rng = np.random.default_rng(0)
    total = 0.0
    for one, other in zip(a, b, strict=True):
        spread = one.std() + 1e-6
        directions = rng.normal(size=(one.shape[1], _DIRECTIONS)).astype(np.float32)
        directions /= np.linalg.norm(directions, axis=0)
        sorted_one = np.sort(one / spread @ directions, axis=0)
        sorted_other = np.sort(other / spread @ directions, axis=0)
        total += float(np.abs(sorted_one - sorted_other).mean())
    return 1000 * total / LEVELS


def _pyramid(pixels: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """LEVELS - 1 differences between sizes, then what is left."""
    levels = []
    for _ in range(LEVELS - 1):
        small = _resized(pixels, (pixels.shape[1] + 1) // 2, (pixels.shape[0] + 1) // 2)
        levels.append(pixels - _resized(small, pixels.shape[1], pixels.shape[0]))
        pixels = small
    return [*levels, pixels]


def _resized(pixels: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    planes = [
        Image.fromarray(pixels[..., c]).resize((width, height), Image.Resampling.BILINEAR)
        for c in range(3)
    ]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)
