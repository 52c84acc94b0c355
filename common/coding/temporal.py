"""Contexts of inter layers: what the layers before say about this one, on integers alone.

An inter layer codes *changes*. With `last`, the integers of the layer before, and `before`, those
of the one before that (of `last` itself, after an intra layer), the change of an integer is

    change = s * (integer - last)     s = -1 where last is negative, else 1

so that -1 is a step towards zero, whatever the sign. Positions, channels and changes are coded as
intra layers code positions, channels and values (entropy.py), under these contexts:

    how many channels change here      changes at coded neighbours; movement around here, one layer
                                       ago, on all sides; nonzeros of `last` here
    does this channel change           its |last|; whether it changed one layer ago; whether it
                                       changes at W and N
    by how much                        its |last|; the way back to `before`; its sign at the coded
                                       neighbours

Rows are h w M in the model's channel order, as in contexts.py, int16 and within +-32767.

Bounds: a change, and a way back, is within +-65534, more than int16 holds, hence int32 until it
is clipped; near is 0..17 and lean 0..44. Counts are at most 64, so that the sums that index the
tables of counts are at most 4 * 64, 11 * 64 and 64: each table is one longer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.coding.contexts import MOST, SIGN, Ints, Shape, buckets, framed, surroundings

MOST_CHANGE = 2 * MOST
_HOLD = (0.6, 0.9)  # quantisation steps, at the lowest and at the highest quality

_SIDE = buckets([1, 2, 4, 8, 16], 4 * 64 + 1)
_RING = buckets([1, 3, 8, 20], 4 * 64 + 1)
_MOVED = buckets([1, 4, 10, 24], 11 * 64 + 1)
_OWN = buckets([1, 2, 4], 64 + 1)
_RINGS, _MOVES, _OWNS = 5, 5, 4
_BACK = 2  # the way back to `before` is clipped to -2..2
_SIGNS = 3

# A count's context is that of its neighbours, by 2 (W + N) and NW + NE + WW + NN, plus its place's.
_BESIDE = (_SIDE[:, None] * _RINGS + _RING) * (_MOVES * _OWNS)
BESIDE: list[list[int]] = _BESIDE.tolist()

SHAPE = Shape(counts=6 * _RINGS * _MOVES * _OWNS, near=3 * 2 * 3, lean=3 * (2 * _BACK + 1) * _SIGNS)


def usual_hold(quality: int) -> float:
    """How far a value may usually drift at quality 0..255 before a change is coded, in steps.

    An encoder's choice, which tables are counted with. Steps are coarse where quality is low: there
    the same drift costs more of what is found.
    """
    low, high = _HOLD
    return low + (high - low) * quality / 255


@dataclass(frozen=True, slots=True)
class Past:
    """The two layers before an inter layer: integers M h w each; `before` is older than `last`."""

    last: Ints
    before: Ints


class Still:
    """What is known of every position before any of it is coded. `last`, `before`: rows.

    near, lean, sign  h w M, int16: contexts before neighbours add theirs; -1 or 1
    place             h w: a count's context before its neighbours add theirs
    """

    def __init__(self, last: Ints, before: Ints) -> None:
        self.last = last
        self.sign = np.where(last < 0, np.int16(-1), np.int16(1))
        moved = last != before
        size = np.abs(np.clip(last, -2, 2))
        self.near = (size * 2 + moved) * 3
        away = np.clip(before.astype(np.int32) - last, -_BACK, _BACK).astype(np.int16)
        self.lean = (size * (2 * _BACK + 1) + away * self.sign + _BACK) * _SIGNS + 1
        n = np.count_nonzero(moved, axis=2)
        pad = np.pad(n, 1)
        h, w = n.shape
        around = sum(pad[i : i + h, j : j + w] for i in range(3) for j in range(3))
        own = np.count_nonzero(last != 0, axis=2)
        self.place = _MOVED[2 * n + around] * _OWNS + _OWN[own]

    def changes(self, now: Ints) -> Ints:
        """Return the changes of rows `now`, int32."""
        out: Ints = (now.astype(np.int32) - self.last) * self.sign
        return out

    def count_contexts(self, n: Ints) -> Ints:
        """Return each position's context, h w, from the counts of changes n, h w."""
        h, w = n.shape
        pad = np.zeros((h + 2, w + 3), dtype=np.int64)
        pad[2:, 2:-1] = n
        side = 2 * (pad[2:, 1:-2] + pad[1:-1, 2:-1])
        ring = pad[1:-1, 1:-2] + pad[1:-1, 3:] + pad[2:, :-3] + pad[:-2, 2:-1]
        out: Ints = _BESIDE[side, ring] + self.place
        return out

    def channel_contexts(self, now: Ints, y: Ints, x: Ints) -> tuple[Ints, Ints]:
        """Return (near, lean), A M each, of the A positions (y, x) of rows `now`."""
        changed = np.zeros((now.shape[0] + 1, now.shape[1] + 1, now.shape[2]), dtype=np.int16)
        changed[1:, 1:] = now != self.last
        near = self.near[y, x] + changed[y + 1, x] + changed[y, x + 1]
        sign = SIGN[surroundings(framed(now), y, x)]
        lean = self.lean[y, x] + self.sign[y, x] * sign
        return near, lean
