"""The sums that choose tables, taken in another order and in another type of number.

If an index depended on the order of a sum or on how a float rounds, layers coded like this would
differ from those coded as usual, and could not be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from unittest.mock import patch

import numpy as np

from common.coding import contexts, temporal
from common.coding.contexts import Ints
from common.coding.temporal import Still

_TYPES = (np.int32, np.int64, np.float32, np.float64)


@contextmanager
def shuffled(rng: np.random.Generator) -> Iterator[None]:
    """Shuffle each sum over channels or neighbours anew while this lasts; `rng` says how."""
    around = partial(_surroundings, rng)
    with (
        patch.object(contexts, "expectation", partial(_expectation, rng)),
        patch.object(contexts, "surroundings", around),
        patch.object(temporal, "surroundings", around),
        patch.object(contexts, "count_contexts", partial(_count_contexts, rng)),
        patch.object(Still, "count_contexts", lambda still, n: _still_contexts(rng, still, n)),
    ):
        yield


def _sum(rng: np.random.Generator, terms: Sequence[Ints]) -> Ints:
    if any(term.dtype.kind not in "iu" for term in terms):
        raise AssertionError("a float on the way to a table")
    total: Ints = np.zeros(terms[0].shape, dtype=_TYPES[rng.integers(len(_TYPES))])
    for at in rng.permutation(len(terms)):
        total += terms[at]
    out: Ints = total.astype(np.int64)
    return out


def _expectation(rng: np.random.Generator, expect: Ints, near: Ints) -> Ints:
    chance = expect[np.arange(expect.shape[0]), near]
    ahead: Ints = np.zeros(chance.shape, dtype=_TYPES[rng.integers(len(_TYPES))])
    for channel in rng.permutation(chance.shape[1]):
        ahead[:, : channel + 1] += chance[:, channel, None]
    bucket: Ints = np.searchsorted(contexts.EXPECT_EDGES, ahead, side="right")
    return bucket


def _surroundings(rng: np.random.Generator, frame: Ints, y: Ints, x: Ints) -> Ints:
    west, north = frame[y + 1, x], frame[y, x + 1]
    return _sum(rng, [west, west, north, north, frame[y, x], frame[y, x + 2]])


def _neighbours(n: Ints) -> tuple[list[Ints], list[Ints]]:
    """(W, N) and (NW, NE, WW, NN) of each position, 0 outside."""
    h, w = n.shape
    pad = np.zeros((h + 2, w + 4), dtype=np.int64)
    pad[2:, 2:-2] = n

    def at(up: int, left: int) -> Ints:
        found: Ints = pad[2 - up : 2 - up + h, 2 - left : 2 - left + w]
        return found

    return [at(0, 1), at(1, 0)], [at(1, 1), at(1, -1), at(0, 2), at(2, 0)]


def _count_contexts(rng: np.random.Generator, counts: Ints) -> Ints:
    side, ring = _neighbours(counts)
    first, second = contexts.SIDE[_sum(rng, side)], contexts.RING[_sum(rng, ring)]
    out: Ints = first * contexts.RING_COUNT + second
    return out


def _still_contexts(rng: np.random.Generator, still: Still, n: Ints) -> Ints:
    side, ring = _neighbours(n)
    beside = np.array(temporal.BESIDE)
    out: Ints = beside[_sum(rng, [*side, *side]), _sum(rng, ring)] + still.place
    return out
