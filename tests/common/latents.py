"""Latents for tests: sparse, clustered, heavy-tailed integers, and the extremes."""

from __future__ import annotations

from functools import cache

import numpy as np

from common.contexts import Ints
from common.entropy import EntropyModel


def clustered(rng: np.random.Generator, m: int, h: int, w: int, density: float) -> Ints:
    """int16 M h w; about `density` of it is nonzero, in a few blobs and mostly in few channels."""
    y, x = np.mgrid[:h, :w]
    heat = np.zeros((h, w))
    for _ in range(rng.integers(1, 5)):
        far = (y - rng.uniform(0, h)) ** 2 + (x - rng.uniform(0, w)) ** 2
        heat += np.exp(-far / (1 + 0.02 * h * w * rng.random()))
    weight = rng.permutation(1 / (1 + np.arange(m)))
    chance = weight[:, None, None] * heat
    chance *= density / max(chance.mean(), 1e-9)
    hit = rng.random((m, h, w)) < chance
    size = rng.geometric(0.5, (m, h, w)) * rng.choice([1, 1, 1, 1, 9], (m, h, w))
    sign = np.where(rng.random((m, h, w)) < 0.3 + 0.4 * rng.random((m, 1, 1)), 1, -1)
    latent: Ints = (hit * size * sign).astype(np.int16)
    return latent


def any_latent(rng: np.random.Generator, m: int, limit: int = 6) -> Ints:
    """int16 M h w with h and w in 1..limit: empty, sparse, dense, or with magnitudes to 32767."""
    h, w = rng.integers(1, limit + 1, 2)
    most = int(rng.choice([1, 2, 8, 9, 300, 32767]))
    y: Ints = rng.integers(-most, most + 1, (m, h, w)).astype(np.int16)
    y *= rng.random((m, h, w)) < rng.choice([0.0, 0.02, 0.2, 1.0])
    return y


@cache
def model(m: int) -> EntropyModel:
    """Tables for `m` channels, counted on 24 clustered latents of profile 0."""
    rng = np.random.default_rng(m)
    return EntropyModel.count(
        ((0, 32 * (i % 8), clustered(rng, m, 12, 16, 0.005 * (1 + i % 8))) for i in range(24)), m
    )
