"""The decoder's half of the entropy model: one symbol decides the table of the next.

Arrays do not help there. What helps is that nearly all is zero: what stands at a position is a
dict of its channels that are not, so that an empty place costs one symbol, and a busy one what is
at it and beside it. Contexts are those of contexts.py and temporal.py, number for number.

A hostile body cannot run for long: work and memory are bounded by M h w, which the caller takes
from a header that bounds it; an escape has at most 31 bits.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from common.coding import contexts, temporal
from common.coding.contexts import LARGEST, MOST, Ints
from common.coding.rangecoder import TOTAL, Decoder
from common.coding.tables import Lists
from common.coding.temporal import MOST_CHANGE, Still
from common.errors import CorruptStream

_HALF = TOTAL >> 1
_NEAR: list[int] = contexts.NEAR.tolist()
_LEAN: list[int] = contexts.LEAN.tolist()
_SIGN: list[int] = contexts.SIGN.tolist()
_SIDE: list[int] = (contexts.SIDE * contexts.RING_COUNT).tolist()
_RING: list[int] = contexts.RING.tolist()
_EXPECT_EDGES: list[int] = contexts.EXPECT_EDGES.tolist()
_SIGNATURE: list[int] = contexts.signature(np.array([0, 1, 2, 3, -3, -2, -1])).tolist()

_Cell = Mapping[int, int]
_EMPTY: _Cell = {}


def read_intra(decoder: Decoder, size: tuple[int, int], tables: Lists) -> Ints:
    """Return rows, h w M int16, of an intra layer; `size` = (h, w)."""
    h, w = size
    rows = np.zeros((h, w, len(tables.ahead)), dtype=np.int16)
    symbol = decoder.symbol
    above = [_EMPTY] * (w + 2)  # signatures by channel, in the row before
    over, north = [0] * (w + 3), [0] * (w + 3)  # counts: x is at x + 2, NE of the last at w + 2
    for y in range(h):
        here = [_EMPTY] * (w + 2)
        counts = [0] * (w + 3)
        for x in range(w):
            side = counts[x + 1] + north[x + 2]
            ring = north[x + 1] + north[x + 3] + counts[x] + over[x + 2]
            n = symbol(tables.counts[_SIDE[side] + _RING[ring]])
            if n:
                around = _around(here[x], above[x + 1], above[x], above[x + 2])
                near = {channel: _NEAR[number] for channel, number in around.items()}
                found = _read_position(decoder, n, near, partial(_lean, around), MOST, tables)
                for channel, value in found.items():
                    rows[y, x, channel] = value
                counts[x + 2] = n
                here[x + 1] = {channel: _signature(value) for channel, value in found.items()}
        above, over, north = here, north, counts
    return rows


def read_inter(decoder: Decoder, last: Ints, before: Ints, tables: Lists) -> Ints:
    """Return rows, h w M int16, of an inter layer after rows `last` and `before`."""
    h, w, _ = last.shape
    symbol = decoder.symbol
    still = Still(last, before)
    reader = _Changes(still)
    place = still.place.tolist()
    beside = temporal.BESIDE
    above = [_EMPTY] * (w + 1)  # changes by channel, in the row before; x is at x + 1
    over, north = [0] * (w + 3), [0] * (w + 3)
    for y in range(h):
        here = [_EMPTY] * (w + 1)
        counts = [0] * (w + 3)
        for x in range(w):
            side = 2 * (counts[x + 1] + north[x + 2])
            ring = north[x + 1] + north[x + 3] + counts[x] + over[x + 2]
            n = symbol(tables.counts[beside[side][ring] + place[y][x]])
            if n:
                near = reader.near(y, x, here[x], above[x + 1])
                lean = partial(reader.lean, y, x)
                changes = _read_position(decoder, n, near, lean, MOST_CHANGE, tables)
                reader.apply(y, x, changes)
                counts[x + 2] = n
                here[x + 1] = changes
        above, over, north = here, north, counts
    return reader.rows


def _around(west: _Cell, north: _Cell, north_west: _Cell, north_east: _Cell) -> dict[int, int]:
    """Return the surroundings of each channel that is not zero at every neighbour."""
    around: dict[int, int] = {}
    for cell in (west, north):
        for channel, signature in cell.items():
            around[channel] = around.get(channel, 0) + 2 * signature
    for cell in (north_west, north_east):
        for channel, signature in cell.items():
            around[channel] = around.get(channel, 0) + signature
    return around


def _lean(around: _Cell, channel: int) -> int:
    return _LEAN[around.get(channel, 0)]


def _signature(value: int) -> int:
    return _SIGNATURE[max(-3, min(value, 3))]


class _Changes:
    """Rows that begin as those of the layer before and take changes in raster order."""

    def __init__(self, still: Still) -> None:
        self.rows = still.last.copy()
        self._still = still
        self._frame = contexts.framed(still.last)  # always that of self.rows
        h, w, m = self.rows.shape
        self._width = w
        near = still.near.ravel()
        where = np.flatnonzero(near != 0)
        self._starts = np.searchsorted(where, m * np.arange(h * w + 1)).tolist()
        self._channels = (where % m).astype(np.int16)
        self._near = near[where]

    def near(self, y: int, x: int, west: _Cell, north: _Cell) -> dict[int, int]:
        """Return near, by channel, where it is not 0; `west`, `north`: what changed there."""
        at = y * self._width + x
        own = slice(self._starts[at], self._starts[at + 1])
        near = dict(zip(self._channels[own].tolist(), self._near[own].tolist(), strict=True))
        for cell in (west, north):
            for channel in cell:
                near[channel] = near.get(channel, 0) + 1
        return near

    def lean(self, y: int, x: int, channel: int) -> int:
        at = self._frame.item
        number = 2 * (at(y + 1, x, channel) + at(y, x + 1, channel))
        number += at(y, x, channel) + at(y, x + 2, channel)
        still = self._still
        sign: int = still.sign.item(y, x, channel) * _SIGN[number]
        return sign + int(still.lean.item(y, x, channel))

    def apply(self, y: int, x: int, changes: _Cell) -> None:
        """Raises CorruptStream for a change that leaves the range."""
        for channel, change in changes.items():
            sign = self._still.sign.item(y, x, channel)
            value = self.rows.item(y, x, channel) + sign * change
            if abs(value) > MOST:
                raise CorruptStream("an integer is out of range")
            self.rows[y, x, channel] = value
            self._frame[y + 1, x + 1, channel] = _signature(value)


def _read_position(
    decoder: Decoder,
    n: int,
    near: _Cell,
    lean: Callable[[int], int],
    most: int,
    tables: Lists,
) -> dict[int, int]:
    """Return the n integers of a position that are not zero, by channel; magnitudes to `most`.

    near  by channel, where it is not 0; lean is asked for the n channels only
    """
    surplus, ahead, zeros = tables.surplus, tables.ahead, tables.zeros
    bit, symbol = decoder.bit, decoder.symbol
    extra = 0  # what `near` adds to `ahead`: surplus of this channel and of all after it
    for channel, number in near.items():
        extra += surplus[channel][number]
    found: dict[int, int] = {}
    owed = n
    pressure = tables.pressure[owed]
    m = len(ahead)
    for channel in range(m):
        number = near.get(channel, 0)
        if owed != m - channel:
            expected = bisect_right(_EXPECT_EDGES, ahead[channel] + extra)
            if not bit(zeros[channel][number][pressure[expected]]):
                extra -= surplus[channel][number]
                continue
        extra -= surplus[channel][number]
        which = symbol(tables.values[channel][lean(channel)])
        size = (which >> 1) + 1
        if size > LARGEST:
            size += _read_excess(decoder, most)
        found[channel] = -size if which & 1 else size
        owed -= 1
        if not owed:
            break
        pressure = tables.pressure[owed]
    return found


def _read_excess(decoder: Decoder, most: int) -> int:
    """Return by how much an escape's magnitude passes LARGEST + 1; it is at most `most`."""
    largest = most - LARGEST
    length = 0
    while not decoder.bit(_HALF):
        length += 1
        if length >= largest.bit_length():
            raise CorruptStream("an escape is too long")
    value = 1
    for _ in range(length):
        value = value << 1 | decoder.bit(_HALF)
    if value > largest:
        raise CorruptStream("an integer is out of range")
    return value - 1
