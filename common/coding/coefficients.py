"""The entropy model of an auxiliary layer: coefficients (blocks.py) as integers <-> bytes.

Positions go in raster order, at each the planes Y, Cb, Cr. Of each plane:

    1. the reach: how many of its bands of frequencies hold anything, by the reaches at the four
       positions coded before it and by what the layers before it say of this place
    2. the magnitudes inside the reach, high frequencies first, each 0..14 or an escape whose excess
       follows in Exp-Golomb bits; a sign after each that is not zero, at even odds

A magnitude's table is chosen by how large it is to be expected: a weighted sum, with weights of its
own frequency, of magnitudes known by then. In the block: seven of higher frequency beside it, and
the sum of all. In the blocks W, N, NW, NE: the same frequency and the six around it. In the planes
before: the same frequency, the sum of all luma. In the machine layer: how much is at this place.
(Wu 1997, "Lossless compression of continuous-tone images via context selection, quantization and
modeling", for the principle.) So the base is coded once and used twice.

The DC of a plane is coded as the difference from what W, N and NW say (median of W, N, W + N - NW;
Weinberger et al. 2000, LOCO-I).

Exact on every machine: magnitudes are clipped to 24, weights are integers in -32768..32767, so that
an expectation stays below 2**30; sums made in floats are sums of integers below 2**24.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from common.coding.blocks import COEFFICIENTS, PLANES, Plane, scan
from common.coding.contexts import Ints
from common.coding.rangecoder import TOTAL, Decoder, Encoder
from common.errors import CorruptStream, ModelMismatch

BANDS = 4  # ranges of the quality byte with weights of their own
SCALE = 4096  # what a weight of 1 is
FEATURES = 22
LARGEST = 14  # magnitudes above it are escapes
MOST = 32767
KINDS, GROUPS, REACHES = 2, 8, 11
REACH_CONTEXTS = 48
_CLIP = 24
_HALF = TOTAL >> 1
_MOST_EXCESS_BITS = 16
_BESIDE = ((1, 0), (0, 1), (1, 1), (2, 0), (0, 2), (2, 1), (1, 2))  # within a block
_AROUND = ((1, 0), (0, 1), (1, 1), (-1, 0), (0, -1), (-1, -1))  # in a block before
_BEFORE = ((0, -1), (-1, 0), (-1, -1), (-1, 1))  # W N NW NE: rows, columns of positions
_EXPECTED = (0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.55, 0.75, 1, 1.4, 2, 3, 4.5, 7, 11)
EDGES = tuple(round(SCALE * e) for e in _EXPECTED)
BUCKETS = len(EDGES) + 1
_REACH_EDGES = (1, 2, 4, 6, 9, 13, 18, 24, 30, 38, 46)
_BASE_EDGES, _LUMA_EDGES, _CB_EDGES = (1, 2, 4), (1, 4, 7), (1, 2, 4)
_BAND_STARTS = {16: (0, 1, 2, 3, 4, 6, 8, 11, 15, 20), 8: (0, 1, 2, 3, 4, 5, 7, 9)}  # row + column


def band(quality: int) -> int:
    """Return 0..3, which weights a quality 0..255 has."""
    return quality * BANDS >> 8


def describe(y: Ints, size: tuple[int, int]) -> Ints:
    """Return what a machine layer's integers y (M h' w') say at each position: h w 2, int32.

    How many are not zero, at most 16; the sum of their magnitudes, at most 64. `size` is (h, w) of
    the auxiliary layer; where it is another than the base's, the nearest position speaks.
    """
    count = np.minimum(np.count_nonzero(y, axis=0), 16)
    total = np.minimum(np.abs(y.astype(np.int32)).sum(axis=0), 64)
    rows = np.arange(size[0]) * y.shape[1] // size[0]
    columns = np.arange(size[1]) * y.shape[2] // size[1]
    both = np.stack([count, total], axis=-1).astype(np.int32)
    picked: Ints = both[rows[:, None], columns]
    return picked


@dataclass(frozen=True, slots=True)
class _Layout:
    """What of a plane's block does not change.

    ends    of each reach: the first scan index beyond it
    group   n*n: the frequency's group of tables
    around  n*n n*n: 1 where one is among the six around the other
    beside  of each scan index: (scan index, feature) of those that it lies beside
    lookup  7 n*n: scan index beside each, n*n where there is none
    """

    plane: Plane
    kind: int
    ends: tuple[int, ...]
    group: Ints
    around: Ints
    beside: tuple[tuple[tuple[int, int], ...], ...]
    lookup: Ints
    reach_of: Ints


@cache
def _layout(number: int) -> _Layout:
    plane = PLANES[number]
    n, order = plane.n, scan(plane.n)
    index = {at: i for i, at in enumerate(order)}
    sums = [u + v for u, v in order]
    starts = _BAND_STARTS[n]
    ends = (0, *(sum(s < start for s in sums) for start in starts[1:]), n * n)
    around = np.zeros((n * n, n * n), np.float32)
    beside: list[list[tuple[int, int]]] = [[] for _ in order]
    lookup = np.full((len(_BESIDE), n * n), n * n)
    for i, (u, v) in enumerate(order):
        for du, dv in _AROUND:
            if (u + du, v + dv) in index:
                around[index[u + du, v + dv], i] = 1
        for k, (du, dv) in enumerate(_BESIDE):
            if (u + du, v + dv) in index:
                lookup[k, i] = index[u + du, v + dv]
                beside[lookup[k, i]].append((i, k))
    group = np.searchsorted([0.1, 1.1, 2.1, 3.1, 4.5, 6.5, 9.5], [8 * s / n for s in sums])
    reach_of = np.searchsorted(ends, np.arange(n * n), side="right").astype(np.int32)
    return _Layout(
        plane, min(number, 1), ends, group, around, tuple(map(tuple, beside)), lookup, reach_of
    )


LAYOUTS = tuple(_layout(number) for number in range(3))


@dataclass(frozen=True, slots=True)
class Seen:
    """One plane of a picture with its contexts, P positions in raster order.

    magnitudes  P n*n, up to MOST (the DC as its difference)
    reach       P, 0..10
    context     P: of the reach
    """

    values: Ints
    magnitudes: Ints
    reach: Ints
    context: Ints


def see(q: Ints, base: Ints) -> tuple[Seen, ...]:
    """Return the planes of q (h w 384) as they are coded; base h w 2 as from `describe`."""
    h, w = q.shape[:2]
    out: list[Seen] = []
    for number, layout in enumerate(LAYOUTS):
        plane = layout.plane
        values = q[..., plane.start : plane.end].astype(np.int32)
        values[..., 0] -= _predicted(values[..., 0])
        magnitudes = np.abs(values).reshape(h * w, -1)
        reach = (layout.reach_of * (magnitudes > 0)).max(axis=1).astype(np.int32)
        context = _reach_context(number, reach.reshape(h, w), base, [s.reach for s in out])
        out.append(Seen(values.reshape(h * w, -1), magnitudes, reach, context))
    return tuple(out)


def features(number: int, seen: tuple[Seen, ...], base: Ints) -> Iterator[Ints]:
    """Yield the 22 things that a magnitude of plane `number` is expected from: P n*n int32 each."""
    layout, size = LAYOUTS[number], base.shape[:2]
    m = np.minimum(seen[number].magnitudes, _CLIP)
    positions, count = m.shape
    padded = np.concatenate([m, np.zeros((positions, 1), m.dtype)], axis=1)
    for row in layout.lookup:
        yield padded[:, row]
    yield m[:, ::-1].cumsum(axis=1)[:, ::-1] - m
    grid = m.reshape(*size, count)
    six = (grid.astype(np.float32) @ layout.around).astype(np.int32)
    for rows, columns in _BEFORE:
        yield _moved(grid, rows, columns).reshape(positions, count)
        yield _moved(six, rows, columns).reshape(positions, count)
    nothing = np.zeros_like(m)
    luma = np.minimum(seen[0].magnitudes, _CLIP)
    yield luma[:, _SAME] if number else nothing
    yield np.minimum(seen[1].magnitudes, _CLIP) if number == 2 else nothing
    total = np.minimum(luma.sum(axis=1), 255)[:, None]
    yield np.broadcast_to(total, m.shape) if number else nothing
    for said in base.reshape(positions, 2).T:
        yield np.broadcast_to(said[:, None], m.shape)
    yield np.ones_like(m)


_SAME = np.array([scan(16).index(at) for at in scan(8)])  # luma's index of a chroma frequency


class CoefficientModel:
    """Integer weights and tables that code coefficients: see the head of this file."""

    def __init__(self, weights: Ints, values: Ints, reaches: Ints) -> None:
        self._weights = weights.astype(np.int32)
        self._values, self._reaches = _cumulative(values), _cumulative(reaches)
        self._arrays = {"weights": weights, "values": values, "reaches": reaches}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Ints]) -> CoefficientModel:
        """Return the model of `to_arrays`. Raises ModelMismatch unless every array is sound."""
        shapes = {
            "weights": (BANDS, COEFFICIENTS, FEATURES),
            "values": (KINDS, GROUPS, BUCKETS, LARGEST + 2),
            "reaches": (len(PLANES), REACH_CONTEXTS, REACHES),
        }
        for name, shape in shapes.items():
            if name not in arrays or arrays[name].shape != shape:
                raise ModelMismatch(f"auxiliary tables: {name} is missing or has another shape")
        weights, values, reaches = (arrays[name] for name in shapes)
        if weights.dtype != np.int16:
            raise ModelMismatch("auxiliary tables: weights are not int16")
        for name in ("values", "reaches"):
            table = arrays[name]
            if table.dtype != np.uint16 or (table.astype(int).sum(-1) != TOTAL).any():
                raise ModelMismatch(f"auxiliary tables: {name} does not sum to {TOTAL}")
            if (table == 0).any():
                raise ModelMismatch(f"auxiliary tables: {name} has a symbol that cannot be")
        return cls(weights, values, reaches)

    def to_arrays(self) -> dict[str, Ints]:
        """Return the model as integer arrays, ready for np.savez."""
        return {name: array.copy() for name, array in self._arrays.items()}

    def expected(self, number: int, seen: tuple[Seen, ...], base: Ints, quality: int) -> Ints:
        """Return the bucket of every magnitude of a plane: P n*n, 0..17."""
        plane = PLANES[number]
        weights = self._weights[band(quality), plane.start : plane.end]
        total = np.zeros(seen[number].magnitudes.shape, np.int32)
        for k, feature in enumerate(features(number, seen, base)):
            total += weights[:, k] * feature
        return np.searchsorted(EDGES, total, side="right")

    def cost(self, number: int, buckets: Ints) -> Ints:
        """Return the bits of magnitudes 0..15, with sign and least excess: P n*n 16 float32."""
        freq = np.diff(self._values, axis=-1)[LAYOUTS[number].kind]
        bits = 16 - np.log2(freq)
        bits[..., 1:] += 1
        bits[..., -1] += 1
        out: Ints = bits[LAYOUTS[number].group, buckets].astype(np.float32)
        return out

    def encode(self, q: Ints, base: Ints, quality: int) -> bytes:
        """Return the bytes of q, h w 384; base h w 2 as from `describe`.

        Raises ValueError for a magnitude above 16383: no picture has one, and a difference of two
        would not fit.
        """
        if np.abs(q.astype(np.int32)).max(initial=0) > MOST // 2:
            raise ValueError(f"a coefficient above {MOST // 2}")
        seen = see(q, base)
        parts = [self._symbols(number, seen, base, quality) for number in range(3)]
        keys, lows, freqs = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.argsort(keys, kind="stable")
        encoder = Encoder()
        encoder.encode_all(zip(lows[order].tolist(), freqs[order].tolist(), strict=True))
        return encoder.finish()

    def _symbols(
        self, number: int, seen: tuple[Seen, ...], base: Ints, quality: int
    ) -> tuple[Ints, Ints, Ints]:
        """(sort key, low, freq) of every symbol of a plane."""
        layout, own = LAYOUTS[number], seen[number]
        positions, count = own.magnitudes.shape
        start = (np.arange(positions) * 3 + number) * (COEFFICIENTS * 64)
        table = self._reaches[number]
        keys = [start]
        lows = [table[own.context, own.reach]]
        highs = [table[own.context, own.reach + 1]]
        inside = layout.reach_of <= own.reach[:, None]
        at, index = np.nonzero(inside)
        magnitude = own.magnitudes[at, index]
        symbol = np.minimum(magnitude, LARGEST + 1)
        bucket = self.expected(number, seen, base, quality)[at, index]
        table, group = self._values[layout.kind], layout.group[index]
        key = start[at] + (count - index) * 64
        keys.append(key)
        lows.append(table[group, bucket, symbol])
        highs.append(table[group, bucket, symbol + 1])
        some = magnitude > 0
        negative = own.values[at, index][some] < 0
        keys.append(key[some] + 63)
        lows.append(np.where(negative, _HALF, 0))
        highs.append(lows[-1] + _HALF)
        long = magnitude > LARGEST
        for where, excess in zip(key[long], magnitude[long] - LARGEST, strict=True):
            bits = _exp_golomb(int(excess))
            keys.append(where + 1 + np.arange(len(bits)))
            lows.append(np.array(bits) * _HALF)
            highs.append(lows[-1] + _HALF)
        low, high = np.concatenate(lows), np.concatenate(highs)
        return np.concatenate(keys), low, high - low

    def decode(self, data: bytes, base: Ints, quality: int) -> Ints:
        """Return q, h w 384 int16. Raises CorruptStream for bytes that are none."""
        return _Reader(data, base, self._weights[band(quality)], self._values, self._reaches).all()


class _Reader:
    """Reads one layer, position by position."""

    def __init__(self, data: bytes, base: Ints, weights: Ints, values: Ints, reaches: Ints) -> None:
        self._from = Decoder(data)
        self._base = base
        h, w = self._size = base.shape[0], base.shape[1]
        self._values: list[list[list[list[int]]]] = values.tolist()
        self._reaches: list[list[list[int]]] = reaches.tolist()
        self._q = np.zeros((h, w, COEFFICIENTS), np.int16)
        # a border of zeros on three sides, so that every position has its four neighbours
        self._m = np.zeros((h + 1, w + 2, COEFFICIENTS), np.int32)
        self._six = np.zeros((h + 1, w + 2, COEFFICIENTS), np.int32)
        self._reach = np.zeros((3, h + 1, w + 2), np.int32)
        self._weights = [weights[p.start : p.end] for p in PLANES]
        self._push = [
            [[(i, int(self._weights[number][i, k])) for i, k in targets] for targets in lay.beside]
            for number, lay in enumerate(LAYOUTS)
        ]
        self._after = [own[:, len(_BESIDE)].tolist() for own in self._weights]
        self._ready = [own[:, len(_BESIDE) + 1 :].T.copy() for own in self._weights]
        self._groups = [lay.group.tolist() for lay in LAYOUTS]

    def all(self) -> Ints:
        for i in range(self._size[0]):
            for j in range(self._size[1]):
                for number in range(3):
                    self._plane(number, i, j)
        self._from.finish()
        return self._q

    def _plane(self, number: int, i: int, j: int) -> None:
        layout = LAYOUTS[number]
        plane = layout.plane
        reach = self._from.symbol(self._reaches[number][self._context(number, i, j)])
        if reach >= len(layout.ends):
            raise CorruptStream("a reach beyond the last band")
        self._reach[number, i + 1, j + 1] = reach
        values = self._q[i, j, plane.start : plane.end]
        if reach:
            read = self._magnitudes(number, layout.ends[reach], i, j)
            for index, value in read:
                values[index] = value
            m = np.minimum(np.abs(values.astype(np.int32)), _CLIP)
            self._m[i + 1, j + 1, plane.start : plane.end] = m
            six = m.astype(np.float32) @ layout.around
            self._six[i + 1, j + 1, plane.start : plane.end] = six
        dc = int(values[0]) + self._predict(plane.start, i, j)
        if abs(dc) > MOST:
            raise CorruptStream("a coefficient is out of range")
        values[0] = dc

    def _magnitudes(self, number: int, end: int, i: int, j: int) -> list[tuple[int, int]]:
        """(scan index, value) of what is not zero, high frequencies first."""
        expected: list[int] = self._expected(number, i, j)
        after, push, group = self._after[number], self._push[number], self._groups[number]
        tables, coder = self._values[LAYOUTS[number].kind], self._from
        out: list[tuple[int, int]] = []
        total = 0
        for index in range(end - 1, -1, -1):
            bucket = bisect_right(EDGES, expected[index] + after[index] * total)
            magnitude = coder.symbol(tables[group[index]][bucket])
            if magnitude == 0:
                continue
            if magnitude > LARGEST:
                magnitude = LARGEST + _read_exp_golomb(coder)
            out.append((index, -magnitude if coder.bit(_HALF) else magnitude))
            m = min(magnitude, _CLIP)
            total += m
            for target, weight in push[index]:
                expected[target] += weight * m
        return out

    def _expected(self, number: int, i: int, j: int) -> list[int]:
        """What the blocks, planes and layer before say of each magnitude here."""
        plane, rows = LAYOUTS[number].plane, []
        part = slice(plane.start, plane.end)
        for di, dj in _BEFORE:
            rows.append(self._m[i + 1 + di, j + 1 + dj, part])
            rows.append(self._six[i + 1 + di, j + 1 + dj, part])
        luma = self._m[i + 1, j + 1, : PLANES[0].end]
        weights = self._ready[number]
        total = (weights[:8] * np.stack(rows)).sum(axis=0)
        if number:
            total += weights[8] * luma[_SAME] + weights[10] * min(int(luma.sum()), 255)
        if number == 2:
            total += weights[9] * self._m[i + 1, j + 1, PLANES[1].start : PLANES[1].end]
        count, size = self._base[i, j].tolist()
        total += weights[11] * count + weights[12] * size + weights[13]
        out: list[int] = total.tolist()
        return out

    def _context(self, number: int, i: int, j: int) -> int:
        r = self._reach[number]
        near = 2 * (int(r[i + 1, j]) + int(r[i, j + 1])) + int(r[i, j]) + int(r[i, j + 2])
        if number == 0:
            said = bisect_right(_BASE_EDGES, int(self._base[i, j, 0]))
        else:
            edges = _LUMA_EDGES if number == 1 else _CB_EDGES
            said = bisect_right(edges, int(self._reach[number - 1, i + 1, j + 1]))
        return bisect_right(_REACH_EDGES, near) * 4 + said

    def _predict(self, at: int, i: int, j: int) -> int:
        dc = self._q[..., at]
        west = int(dc[i, j - 1]) if j else 0
        north = int(dc[i - 1, j]) if i else 0
        if not i:
            return west
        if not j:
            return north
        return _median(west, north, west + north - int(dc[i - 1, j - 1]))


def _median(a: int, b: int, c: int) -> int:
    return max(min(a, b), min(max(a, b), c))


def _predicted(dc: Ints) -> Ints:
    """What the differences of a plane's DC, h w, are taken from."""
    west, north, corner = _moved(dc, 0, -1), _moved(dc, -1, 0), _moved(dc, -1, -1)
    low, high = np.minimum(west, north), np.maximum(west, north)
    out: Ints = np.minimum(np.maximum(west + north - corner, low), high)
    out[0], out[1:, 0] = west[0], north[1:, 0]
    return out


def _reach_context(number: int, reach: Ints, base: Ints, before: list[Ints]) -> Ints:
    west, north, corner, right = (_moved(reach, rows, columns) for rows, columns in _BEFORE)
    near = np.searchsorted(_REACH_EDGES, 2 * (west + north) + corner + right, side="right")
    said = base[..., 0].ravel() if number == 0 else before[number - 1]
    edges = (_BASE_EDGES, _LUMA_EDGES, _CB_EDGES)[number]
    out: Ints = near.ravel() * 4 + np.searchsorted(edges, said, side="right")
    return out


def _moved(grid: Ints, rows: int, columns: int) -> Ints:
    """What stands `rows`, `columns` from each place (rows 0 or -1, columns -1..1); 0 outside."""
    out = np.zeros_like(grid)
    h, w = grid.shape[:2]
    target = slice(max(0, -columns), w - max(0, columns))
    source = slice(max(0, columns), w - max(0, -columns))
    out[-rows:, target] = grid[: h + rows, source]
    return out


def _exp_golomb(value: int) -> list[int]:
    """Bits of 1..32767: as many zeros as it has bits after the first, then its bits."""
    digits = [int(bit) for bit in bin(value)[2:]]
    return [0] * (len(digits) - 1) + digits


def _read_exp_golomb(coder: Decoder) -> int:
    count = 0
    while not coder.bit(_HALF):
        count += 1
        if count >= _MOST_EXCESS_BITS:
            raise CorruptStream("an escape without an end")
    value = 1
    for _ in range(count):
        value = value << 1 | coder.bit(_HALF)
    if value > MOST - LARGEST:
        raise CorruptStream("a coefficient is out of range")
    return value


def _cumulative(freq: Ints) -> Ints:
    out = np.zeros((*freq.shape[:-1], freq.shape[-1] + 1), np.int64)
    np.cumsum(freq, axis=-1, out=out[..., 1:])
    return out
