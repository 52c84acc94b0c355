"""Which table codes which integer: the contexts of the entropy model, on integers alone.

Encoder, decoder and counting share these rules. A position's integers are seen in the model's
own channel order, most active first, as an array row of M. What is known of a channel from the
four neighbours that are coded before it (W, N, NW, NE) is one small number, its *surroundings*:

    64 * t + v    t = 2 (|W| + |N|) + |NW| + |NE|   magnitudes clipped to 3, so 0..18
                  v = 2 (W + N) + NW + NE           values clipped to -3..3, |v| <= t

`NEAR` turns t into a bucket for 'is it zero?', `LEAN` turns v into one for 'which value?'.

Bounds: a signature is 0..195 and surroundings are 0..1170, as int16 holds; NEAR, LEAN and SIGN have
1234 entries. Counts are at most 64, so that their sums are at most 128 (SIDE) and 256 (RING), the
last entries of these tables. Expectations are sums of at most 64 chances below 2**16.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[Any]  # an integer array; which integer type is said where it matters

MAX_CHANNELS = 64
BANDS = 8  # ranges of the quality byte that have tables of their own
LARGEST = 7  # magnitudes above it are escapes
MOST = 32767  # the largest magnitude that can be coded

_CLIP = 3
_T_MAX = 6 * _CLIP


@dataclass(frozen=True, slots=True)
class Shape:
    """How many contexts there are for a count, for a channel's flag, and for its value."""

    counts: int
    near: int
    lean: int


def buckets(edges: list[int], size: int) -> Ints:
    """Table of `size` entries: entry i is the number of edges <= i."""
    return np.searchsorted(np.array(edges), np.arange(size), side="right")


_T_BUCKET = buckets([1, 2, 3, 4, 5, 7, 9, 12], _T_MAX + 1)
_V_BUCKET = buckets([_T_MAX - 5, _T_MAX - 2, _T_MAX, _T_MAX + 1, _T_MAX + 3, _T_MAX + 6], 37)
_NUMBER = np.arange((_T_MAX + 1) * 64 + _T_MAX)
_T = (_NUMBER + 32) >> 6
NEAR = _T_BUCKET[np.minimum(_T, _T_MAX)]
_V = np.clip(_NUMBER - (_T << 6), -_T_MAX, _T_MAX)
LEAN = _V_BUCKET[_V + _T_MAX]
SIGN = np.sign(_V)  # of v: which way the neighbours point
NEAR_COUNT = int(_T_BUCKET.max()) + 1
LEAN_COUNT = int(_V_BUCKET.max()) + 1

# How many channels are nonzero at a position, from how many were at its neighbours: W + N on one
# axis, NW + NE + WW + NN on the other. Both tables reach as far as 64 channels can.
_SIDE_EDGES = [1, 2, 3, 4, 6, 9, 13, 20, 32, 50]
_RING_EDGES = [1, 3, 6, 12, 24]
SIDE = buckets(_SIDE_EDGES, 2 * 64 + 1)
RING = buckets(_RING_EDGES, 4 * 64 + 1)
RING_COUNT = len(_RING_EDGES) + 1
COUNT_CONTEXTS = (len(_SIDE_EDGES) + 1) * RING_COUNT

SHAPE = Shape(COUNT_CONTEXTS, NEAR_COUNT, LEAN_COUNT)


def band(quality: int) -> int:
    """Return 0..7, the band of a quality byte 0..255."""
    return quality * BANDS >> 8


def signature(values: Ints) -> Ints:
    """Return 64 |v| + v with v clipped to -3..3, int16: what a neighbour adds to surroundings."""
    clipped = np.clip(values, -_CLIP, _CLIP).astype(np.int16)
    out: Ints = (np.abs(clipped) << 6) + clipped
    return out


def framed(rows: Ints) -> Ints:
    """Return an h w M latent's signatures in zeros: h+1 w+2 M, a row above, a column each side."""
    h, w, m = rows.shape
    out = np.zeros((h + 1, w + 2, m), dtype=np.int16)
    out[1:, 1:-1] = signature(rows)
    return out


def surroundings(frame: Ints, y: Ints, x: Ints) -> Ints:
    """Return the surroundings, A M, of the A positions (y, x), from what `framed` returned."""
    nearest = frame[y + 1, x] + frame[y, x + 1]
    out: Ints = (nearest << 1) + frame[y, x] + frame[y, x + 2]
    return out


def count_contexts(counts: Ints) -> Ints:
    """Return each position's context, 0..COUNT_CONTEXTS-1, from the h w counts of nonzeros."""
    h, w = counts.shape
    pad = np.zeros((h + 2, w + 3), dtype=np.int64)
    pad[2:, 2:-1] = counts
    side = pad[2:, 1:-2] + pad[1:-1, 2:-1]
    ring = pad[1:-1, 1:-2] + pad[1:-1, 3:] + pad[2:, :-3] + pad[:-2, 2:-1]
    out: Ints = SIDE[side] * RING_COUNT + RING[ring]
    return out


# The pressure on a channel: how many nonzeros are still owed, against how many its surroundings
# and those of the channels after it let expect. Both on a scale of half octaves.
PRESSURE_COUNT = 12
_HALF_OCTAVES = 31
EXPECT_EDGES = np.array([isqrt(2 ** (14 + i)) for i in range(_HALF_OCTAVES)])  # 2**(7 + i/2)


def pressure_table(channels: int) -> Ints:
    """Return (channels+1, half octaves + 1) buckets, int64, by nonzeros owed and by expectation.

    Made once, when tables are counted, and stored with them: logarithms are floats.
    """
    owed = np.log2(np.arange(channels + 1).clip(1) * 65536.0)[:, None]
    expected = 7 - 0.25 + np.arange(_HALF_OCTAVES + 1)[None] / 2
    steps: Ints = np.rint(2 * (owed - expected)).astype(np.int64) + 5
    return steps.clip(0, PRESSURE_COUNT - 1)


def expectation(expect: Ints, near: Ints) -> Ints:
    """Return the expectation bucket of each channel, A M.

    expect  M NEAR_COUNT, chance in 1/65536 that a channel is nonzero at a position that has any
    near    A M
    """
    chance = expect[np.arange(expect.shape[0]), near]
    ahead = np.cumsum(chance[:, ::-1], axis=1)[:, ::-1]  # below 2**22
    bucket: Ints = np.searchsorted(EXPECT_EDGES, ahead, side="right")
    return bucket
