"""The entropy model: integers of a latent <-> bytes, through counted tables (no hyper-latent).

Positions go in raster order. At each one:

    1. n, how many of the M channels are nonzero, by the counts at its neighbours. Nothing more
       follows for n = 0, the usual case.
    2. the channels in the model's order, most active first, until n nonzeros are found: one
       yes-or-no symbol each, by channel, by its own neighbours' magnitudes (near), and by the
       pressure: nonzeros still owed against nonzeros to be expected from here on.
    3. after each yes, the value: +1 -1 ... +7 -7 or an escape with a sign, by channel and by its
       neighbours' values (lean). An escape's excess follows in Exp-Golomb bits.

All tables exist once per quality band and counted task profile. See contexts.py for the exact
contexts, counting.py for how tables come about. At coding time everything is an integer.

A hostile body cannot run for long: work and memory are bounded by M h w, which the caller takes
from a header that bounds it; an escape has at most 29 bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from common import contexts
from common.contexts import LARGEST, MAX_CHANNELS, MOST, Ints
from common.counting import SYMBOLS, check_tables, count_tables, symbols_of, undecided
from common.errors import CorruptStream
from common.geometry import MAX_LATENT_SIDE
from common.rangecoder import TOTAL, Decoder, Encoder

_HALF = TOTAL >> 1
_KEYS = 64  # room between two symbols' sort keys for the bits of an escape
_PREFIX_BITS = 14  # an excess below 2**15 - 1 has at most 14 leading zeros


@dataclass(frozen=True, slots=True)
class _Tables:
    """The tables of one profile and band, in the forms that the loops want."""

    counts: Ints  # contexts M+2, cumulative
    expect: Ints  # M NEAR_COUNT, int64
    zeros: Ints  # M NEAR_COUNT PRESSURE_COUNT, int64
    values: Ints  # M LEAN_COUNT SYMBOLS+1, cumulative
    counts_list: list[list[int]]
    zeros_list: list[int]
    values_list: list[list[int]]


class EntropyModel:
    """Integer tables that code a latent y, int16 M h w, values -32767..32767."""

    def __init__(self, arrays: Mapping[str, Ints]) -> None:
        self._arrays = {name: array.copy() for name, array in arrays.items()}
        self.channels = len(arrays["order"])
        self._order = arrays["order"].astype(np.int64)
        self._profiles = arrays["profiles"].tolist()
        self._pressure = arrays["pressure"].astype(np.int64)
        self._pressure_list: list[list[int]] = self._pressure.tolist()
        self._ready: dict[tuple[int, int], _Tables] = {}

    @classmethod
    def count(cls, latents: Iterable[tuple[int, int, Ints]], channels: int) -> EntropyModel:
        """Return the model that these latents ask for.

        latents   (profile 0..15, quality 0..255, y M h w); some hundred pictures in each of the
                  8 bands are enough. A band without any takes the nearest one's counts.
        channels  M, 1..64

        Raises ValueError for no latents, or one with another number of channels.
        """
        if not 1 <= channels <= MAX_CHANNELS:
            raise ValueError(f"{channels} channels are outside 1..{MAX_CHANNELS}")
        return cls.from_arrays(count_tables(latents, channels))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Ints]) -> EntropyModel:
        """Return the model of `to_arrays`. Raises ModelMismatch unless every table is sound."""
        check_tables(arrays)
        return cls(arrays)

    def to_arrays(self) -> dict[str, Ints]:
        """Return the model as unsigned integer arrays, ready for np.savez."""
        return {name: array.copy() for name, array in self._arrays.items()}

    def encode(self, y: Ints, *, profile: int, quality: int) -> bytes:
        """Return the body of a layer for y, an integer array M h w.

        Raises ValueError for another shape, h or w outside 1..256, a magnitude above 32767, or a
        quality outside 0..255.
        """
        low, freq = self._symbols(y, self._tables(profile, quality))
        encoder = Encoder()
        encoder.encode_all(zip(low.tolist(), freq.tolist(), strict=True))
        return encoder.finish()

    def bits(self, y: Ints, *, profile: int, quality: int) -> float:
        """Return the ideal code length of y in bits: what `encode` would take without rounding."""
        _, freq = self._symbols(y, self._tables(profile, quality))
        return float(-np.log2(freq / TOTAL).sum())

    def decode(self, body: bytes, size: tuple[int, int], *, profile: int, quality: int) -> Ints:
        """Return y, int16 M h w, for `size` = (h, w), each 1..256.

        Raises CorruptStream for a damaged body, ValueError for a size that no header can have.
        """
        h, w = size
        _check_size(h, w)
        decoder = Decoder(body)
        rows = self._read(decoder, h, w, self._tables(profile, quality))
        decoder.finish()
        y = np.empty((self.channels, h, w), dtype=np.int16)
        y[self._order] = rows.transpose(2, 0, 1)
        return y

    def _tables(self, profile: int, quality: int) -> _Tables:
        """A profile that was not counted reads the first one's tables."""
        if not 0 <= quality <= 255:
            raise ValueError(f"quality {quality} is outside 0..255")
        at = self._profiles.index(profile) if profile in self._profiles else 0
        key = (at, contexts.band(quality))
        if key not in self._ready:
            self._ready[key] = self._prepare(key)
        return self._ready[key]

    def _prepare(self, key: tuple[int, int]) -> _Tables:
        counts = _cumulative(self._arrays["counts"][key])
        zeros = self._arrays["zeros"][key].astype(np.int64)
        values = _cumulative(self._arrays["values"][key])
        return _Tables(
            counts=counts,
            expect=self._arrays["expect"][key].astype(np.int64),
            zeros=zeros,
            values=values,
            counts_list=counts.tolist(),
            zeros_list=zeros.ravel().tolist(),
            values_list=values.reshape(-1, SYMBOLS + 1).tolist(),
        )

    def _symbols(self, y: Ints, tables: _Tables) -> tuple[Ints, Ints]:
        """Return (low, freq) of every symbol of y in coding order."""
        rows = self._rows(y)
        m = self.channels
        n = np.count_nonzero(rows, axis=2)
        place = np.flatnonzero(n)
        at_y, at_x = np.nonzero(n)
        active = rows[at_y, at_x]
        around = contexts.surroundings(contexts.framed(rows), at_y, at_x)
        key = np.arange(n.size) * (2 * m + 1)

        low, freq = _pick(tables.counts[contexts.count_contexts(n).ravel()], n.ravel())
        parts = [(key * _KEYS, low, freq)]

        at, channel, owed = undecided(active, n[at_y, at_x])
        near = contexts.NEAR[around]
        ahead = contexts.expectation(tables.expect, near)[at, channel]
        zero = tables.zeros[channel, near[at, channel], self._pressure[owed, ahead]]
        found = active[at, channel] != 0
        low, freq = np.where(found, zero, 0), np.where(found, TOTAL - zero, zero)
        parts.append(((key[place[at]] + 1 + 2 * channel) * _KEYS, low, freq))

        at, channel = np.nonzero(active)
        integers = active[at, channel].astype(np.int64)
        lean = contexts.LEAN[around[at, channel]]
        low, freq = _pick(tables.values[channel, lean], symbols_of(integers))
        key = (key[place[at]] + 2 + 2 * channel) * _KEYS
        parts += [(key, low, freq), _escapes(key, np.abs(integers) - LARGEST - 1)]

        key, low, freq = (np.concatenate(part) for part in zip(*parts, strict=True))
        turn = np.argsort(key, kind="stable")
        return low[turn], freq[turn]

    def _rows(self, y: Ints) -> Ints:
        """Return y as h w M in the model's order, int16. Raises ValueError, see `encode`."""
        if y.ndim != 3 or y.shape[0] != self.channels or y.dtype.kind not in "iu":
            raise ValueError(f"not an integer latent of {self.channels} channels: {y.shape}")
        _check_size(y.shape[1], y.shape[2])
        if int(y.max()) > MOST or int(y.min()) < -MOST:
            raise ValueError(f"a magnitude is above {MOST}")
        return np.ascontiguousarray(y[self._order].transpose(1, 2, 0), dtype=np.int16)

    def _read(self, decoder: Decoder, h: int, w: int, tables: _Tables) -> Ints:
        """Return h w M in the model's order."""
        m = self.channels
        rows = np.zeros((h, w, m), dtype=np.int16)
        side, ring = contexts.SIDE.tolist(), contexts.RING.tolist()
        above = np.zeros((w + 2, m), dtype=np.int16)  # signatures of the row before
        over, north = [0] * (w + 3), [0] * (w + 3)  # counts: x is at x + 2, NE of the last at w + 2
        for y in range(h):
            here = np.zeros_like(above)
            partial = (above[1:-1] << 1) + above[:-2] + above[2:]
            counts = [0] * (w + 3)
            for x in range(w):
                context = side[counts[x + 1] + north[x + 2]] * contexts.RING_COUNT
                context += ring[north[x + 1] + north[x + 3] + counts[x] + over[x + 2]]
                n = decoder.symbol(tables.counts_list[context])
                if n:
                    counts[x + 2] = n
                    around = partial[x] + (here[x] << 1)
                    self._read_position(decoder, n, around, rows[y, x], tables)
                    here[x + 1] = contexts.signature(rows[y, x])
            above, over, north = here, north, counts
        return rows

    def _read_position(
        self, decoder: Decoder, n: int, around: Ints, out: Ints, tables: _Tables
    ) -> None:
        """Read the n nonzeros of one position into `out`, M."""
        m = self.channels
        near = contexts.NEAR[around]
        ahead = contexts.expectation(tables.expect, near[None])[0].tolist()
        cell = ((np.arange(m) * contexts.NEAR_COUNT + near) * contexts.PRESSURE_COUNT).tolist()
        zeros = tables.zeros_list
        bit = decoder.bit
        owed = n
        pressure = self._pressure_list[owed]
        for channel in range(m):
            if owed != m - channel and not bit(zeros[cell[channel] + pressure[ahead[channel]]]):
                continue
            lean = int(contexts.LEAN[around[channel]])
            symbol = decoder.symbol(tables.values_list[channel * contexts.LEAN_COUNT + lean])
            size = (symbol >> 1) + 1
            if size > LARGEST:
                size += _read_excess(decoder)
            out[channel] = -size if symbol & 1 else size
            owed -= 1
            if not owed:
                return
            pressure = self._pressure_list[owed]


def _cumulative(freq: Ints) -> Ints:
    """Return 0, f0, f0+f1, ... along the last axis, int64."""
    out = np.zeros((*freq.shape[:-1], freq.shape[-1] + 1), dtype=np.int64)
    np.cumsum(freq, axis=-1, out=out[..., 1:])
    return out


def _pick(cumulative: Ints, symbol: Ints) -> tuple[Ints, Ints]:
    """Return (low, freq) of one symbol in each row."""
    at = np.arange(len(symbol))
    low = cumulative[at, symbol]
    return low, cumulative[at, symbol + 1] - low


def _escapes(key: Ints, excess: Ints) -> tuple[Ints, Ints, Ints]:
    """Return (key, low, freq) of the Exp-Golomb bits of every excess >= 0."""
    keys: list[int] = []
    lows: list[int] = []
    where = np.flatnonzero(excess >= 0)
    for start, value in zip(key[where].tolist(), (excess[where] + 1).tolist(), strict=True):
        length = value.bit_length()
        for i in range(2 * length - 1):  # length - 1 zeros, then the bits, highest first
            keys.append(start + 1 + i)
            lows.append(_HALF if value >> (2 * length - 2 - i) & 1 else 0)
    low = np.array(lows, dtype=np.int64)
    return np.array(keys, dtype=np.int64), low, np.full_like(low, _HALF)


def _read_excess(decoder: Decoder) -> int:
    length = 0
    while not decoder.bit(_HALF):
        length += 1
        if length > _PREFIX_BITS:
            raise CorruptStream("an escape is too long")
    value = 1
    for _ in range(length):
        value = value << 1 | decoder.bit(_HALF)
    if value - 1 + LARGEST + 1 > MOST:
        raise CorruptStream("an integer is out of range")
    return value - 1


def _check_size(h: int, w: int) -> None:
    if not (1 <= h <= MAX_LATENT_SIDE and 1 <= w <= MAX_LATENT_SIDE):
        raise ValueError(f"a latent of {h} x {w} positions is outside 1..{MAX_LATENT_SIDE}")
