"""Latents for tests, and tables that are counted on them."""

from __future__ import annotations

from functools import cache

import numpy as np

from bench.coder.latents import (
    any_chain,
    any_latent,
    any_next,
    clustered,
    drawn_tables,
    scene,
    scene_tables,
)
from common.coding.entropy import EntropyModel

__all__ = [
    "any_chain", "any_latent", "any_next", "clustered", "drawn", "model", "scene", "scene_model",
]  # fmt: skip


@cache
def model(m: int) -> EntropyModel:
    """Tables for `m` channels, counted on 24 clustered latents of profile 0; none for inter."""
    rng = np.random.default_rng(m)
    return EntropyModel.count(
        ((0, 32 * (i % 8), clustered(rng, m, 12, 16, 0.005 * (1 + i % 8))) for i in range(24)), m
    )


@cache
def scene_model(m: int) -> EntropyModel:
    """Tables for `m` channels, counted on scenes of 8 frames, intra and inter."""
    return scene_tables(np.random.default_rng(m), m)


@cache
def drawn(m: int) -> EntropyModel:
    """Tables of two profiles that nothing was counted for, intra and inter."""
    return drawn_tables(np.random.default_rng(m), m, profiles=2)
