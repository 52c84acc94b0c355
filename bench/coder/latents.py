"""Random latents, chains of them and tables: what the coder is tried with beside real pictures."""

from __future__ import annotations

import numpy as np

from common.coding import contexts, temporal
from common.coding.contexts import BANDS, MOST, PRESSURE_COUNT, Ints, Shape
from common.coding.counting import INTER, SYMBOLS
from common.coding.entropy import EntropyModel
from common.coding.rangecoder import TOTAL


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
    return _any(rng, (m, int(h), int(w)))


def any_next(rng: np.random.Generator, last: Ints) -> Ints:
    """What may follow `last`: itself, its opposite, extremes, a few steps, another scene."""
    match rng.integers(6):
        case 0:
            return last.copy()
        case 1:
            return -last
        case 2:
            extremes: Ints = rng.choice(np.array([-MOST, MOST], dtype=np.int16), last.shape)
            return extremes
        case 3:
            return _any(rng, last.shape)
        case _:
            moved = rng.random(last.shape) < rng.choice([0.01, 0.1, 0.5])
            step = rng.integers(-3, 4, last.shape) * moved
            stepped: Ints = np.clip(last + step, -MOST, MOST).astype(np.int16)
            return stepped


def any_chain(rng: np.random.Generator, m: int, length: int, limit: int = 4) -> list[Ints]:
    """`length` latents of one size, each what may follow the one before."""
    seen = [any_latent(rng, m, limit)]
    while len(seen) < length:
        seen.append(any_next(rng, seen[-1]))
    return seen


def scene(
    rng: np.random.Generator, m: int, h: int, w: int, frames: int, density: float = 0.02
) -> list[Ints]:
    """What a fixed camera sees: most stands still, some flickers by one, a little is new."""
    still = clustered(rng, m, h, w, density)
    seen = []
    for _ in range(frames):
        flicker = (rng.random(still.shape) < 0.05) & (still != 0)
        passing = clustered(rng, m, h, w, density / 20)
        seen.append(still - np.sign(still) * flicker + passing)
    return seen


def scene_tables(rng: np.random.Generator, m: int) -> EntropyModel:
    """Tables counted on scenes of 8 frames, one for each quality band."""
    scenes = [(0, 32 * i, scene(rng, m, 12, 16, 8, 0.01 * (1 + i))) for i in range(BANDS)]
    latents = [(profile, quality, y) for profile, quality, seen in scenes for y in seen[:3]]
    return EntropyModel.count(latents, m, scenes)


def drawn_tables(rng: np.random.Generator, m: int, profiles: int = 1) -> EntropyModel:
    """Tables that nothing was counted for: every frequency is drawn, rare and common ones alike."""
    shape = (m + 1, len(contexts.EXPECT_EDGES) + 1)
    arrays = {"pressure": rng.integers(0, PRESSURE_COUNT, shape).astype(np.uint8)}
    arrays |= _drawn_family(rng, m, profiles, "", contexts.SHAPE)
    arrays |= _drawn_family(rng, m, profiles, INTER, temporal.SHAPE)
    return EntropyModel.from_arrays(arrays)


def _any(rng: np.random.Generator, shape: tuple[int, ...]) -> Ints:
    most = int(rng.choice([1, 2, 8, 9, 300, MOST]))
    y: Ints = rng.integers(-most, most + 1, shape).astype(np.int16)
    y *= rng.random(shape) < rng.choice([0.0, 0.02, 0.2, 1.0])
    return y


def _drawn_family(
    rng: np.random.Generator, m: int, profiles: int, prefix: str, shape: Shape
) -> dict[str, Ints]:
    each = (profiles, BANDS)
    arrays: dict[str, Ints] = {
        "order": rng.permutation(m).astype(np.uint16),
        "profiles": np.arange(profiles, dtype=np.uint8),
        "counts": _frequencies(rng, (*each, shape.counts, m + 1)),
        "expect": _chances(rng, (*each, m, shape.near)),
        "zeros": _chances(rng, (*each, m, shape.near, PRESSURE_COUNT)),
        "values": _frequencies(rng, (*each, m, shape.lean, SYMBOLS)),
    }
    return {prefix + name: array for name, array in arrays.items()}


def _frequencies(rng: np.random.Generator, size: tuple[int, ...]) -> Ints:
    """uint16, 1 or more, that sum to 65536 along the last axis."""
    spare = TOTAL - size[-1]
    cuts = np.sort((spare * rng.random((*size[:-1], size[-1] - 1)) ** 3).astype(np.int64), axis=-1)
    parts = np.diff(cuts, axis=-1, prepend=0, append=spare)
    out: Ints = (1 + rng.permuted(parts, axis=-1)).astype(np.uint16)
    return out


def _chances(rng: np.random.Generator, size: tuple[int, ...]) -> Ints:
    return rng.choice([1, 100, 3000, TOTAL >> 1, TOTAL - 3000, TOTAL - 1], size).astype(np.uint16)
