"""The entropy model: integers of a latent <-> bytes, through counted tables (no hyper-latent).

Positions go in raster order. At each one:

    1. n, how many of the M channels are nonzero, by the counts at its neighbours. Nothing more
       follows for n = 0, the usual case.
    2. the channels in the model's order, most active first, until n nonzeros are found: one
       yes-or-no symbol each, by channel, by its own neighbours' magnitudes (near), and by the
       pressure: nonzeros still owed against nonzeros to be expected from here on.
    3. after each yes, the value: +1 -1 ... +7 -7 or an escape with a sign, by channel and by its
       neighbours' values (lean). An escape's excess follows in Exp-Golomb bits.

An inter layer is coded the same way, with tables of its own: there n counts the channels that
change, the flags say which, and the values say by how much (temporal.py).

All tables exist once per quality band and counted task profile. See contexts.py for the exact
contexts, counting.py for how tables come about, reading.py for the way back.

At coding time everything is an integer, and all are small: excesses are below 2**16, frequencies
and their sums at most 2**16, symbols' sort keys below 256 * 256 * 129 * 64 < 2**30. No array is
narrower than what it holds, so that no order of operations, and no machine, gives another number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from common.coding import contexts
from common.coding.contexts import LARGEST, MAX_CHANNELS, MOST, Ints
from common.coding.counting import INTER, check_tables, count_tables, symbols_of, undecided
from common.coding.rangecoder import TOTAL, Decoder, Encoder
from common.coding.reading import read_inter, read_intra
from common.coding.tables import Family, Tables
from common.coding.temporal import Past, Still
from common.geometry import MAX_LATENT_SIDE

_HALF = TOTAL >> 1
_KEYS = 64  # room between two symbols' sort keys for the bits of an escape, at most 31


@dataclass(frozen=True, slots=True)
class _Grid:
    """What is coded, intra or inter alike: integers, mostly zero, and their contexts."""

    n: Ints  # h w: how many at each position are not zero
    context: Ints  # h w
    active: Ints  # A M: the integers of the A positions where any is not zero
    near: Ints  # A M
    lean: Ints  # A M


class EntropyModel:
    """Integer tables that code a latent y, int16 M h w, values -32767..32767."""

    def __init__(self, arrays: Mapping[str, Ints]) -> None:
        self._arrays = {name: array.copy() for name, array in arrays.items()}
        self.channels = len(arrays["order"])
        self._intra = Family(self._arrays, "")
        self._inter = Family(self._arrays, INTER) if f"{INTER}order" in arrays else None

    @property
    def codes_inter(self) -> bool:
        """Whether there are tables for inter layers."""
        return self._inter is not None

    @classmethod
    def count(
        cls,
        latents: Iterable[tuple[int, int, Ints]],
        channels: int,
        sequences: Iterable[tuple[int, int, Sequence[Ints]]] = (),
    ) -> EntropyModel:
        """Return the model that these latents ask for.

        latents    (profile 0..15, quality 0..255, y M h w); some hundred pictures in each of the
                   8 bands are enough. A band without any takes the nearest one's counts.
        channels   M, 1..64
        sequences  (profile, quality, y of frames in order): what inter tables are counted on

        Raises ValueError for no latents, or one with another number of channels.
        """
        if not 1 <= channels <= MAX_CHANNELS:
            raise ValueError(f"{channels} channels are outside 1..{MAX_CHANNELS}")
        return cls.from_arrays(count_tables(latents, channels, sequences))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Ints]) -> EntropyModel:
        """Return the model of `to_arrays`. Raises ModelMismatch unless every table is sound."""
        check_tables(arrays)
        return cls(arrays)

    def to_arrays(self) -> dict[str, Ints]:
        """Return the model as unsigned integer arrays, ready for np.savez."""
        return {name: array.copy() for name, array in self._arrays.items()}

    def encode(self, y: Ints, *, profile: int, quality: int, past: Past | None = None) -> bytes:
        """Return the body of a layer for y, an integer array M h w; of an inter layer after `past`.

        Raises ValueError for another shape, h or w outside 1..256, a magnitude above 32767, a
        quality outside 0..255, a past of another shape, or one without tables for inter layers.
        """
        low, freq = self._symbols(y, profile, quality, past)
        encoder = Encoder()
        encoder.encode_all(zip(low.tolist(), freq.tolist(), strict=True))
        return encoder.finish()

    def bits(self, y: Ints, *, profile: int, quality: int, past: Past | None = None) -> float:
        """Return the ideal code length of y in bits: what `encode` would take without rounding."""
        _, freq = self._symbols(y, profile, quality, past)
        return float(-np.log2(freq / TOTAL).sum())

    def decode(
        self,
        body: bytes,
        size: tuple[int, int],
        *,
        profile: int,
        quality: int,
        past: Past | None = None,
    ) -> Ints:
        """Return y, int16 M h w, for `size` = (h, w), each 1..256.

        Raises CorruptStream for a damaged body, ValueError for a size that no header can have and
        for a past as in `encode`.
        """
        h, w = size
        _check_size(h, w)
        decoder = Decoder(body)
        if past is None:
            family = self._intra
            rows = read_intra(decoder, size, family.tables(profile, quality).lists)
        else:
            family = self._family_of(past, (self.channels, h, w))
            last, before = family.rows(past.last), family.rows(past.before)
            rows = read_inter(decoder, last, before, family.tables(profile, quality).lists)
        decoder.finish()
        return family.latent(rows)

    def _family_of(self, past: Past | None, shape: tuple[int, ...]) -> Family:
        if past is None:
            return self._intra
        if self._inter is None:
            raise ValueError("this model codes no inter layers")
        if past.last.shape != shape or past.before.shape != shape:
            raise ValueError(f"a past of another shape than {shape}")
        self._check(past.last)
        self._check(past.before)
        return self._inter

    def _symbols(self, y: Ints, profile: int, quality: int, past: Past | None) -> tuple[Ints, Ints]:
        """Return (low, freq) of every symbol of y in coding order."""
        self._check(y)
        family = self._family_of(past, y.shape)
        grid = _changes(family, y, past) if past else _values(family, y)
        return self._coded(grid, family.tables(profile, quality))

    def _coded(self, grid: _Grid, tables: Tables) -> tuple[Ints, Ints]:
        m, n, active, near = self.channels, grid.n, grid.active, grid.near
        place = np.flatnonzero(n)
        key = np.arange(n.size) * (2 * m + 1)

        low, freq = _pick(tables.counts[grid.context.ravel()], n.ravel())
        parts = [(key * _KEYS, low, freq)]

        at, channel, owed = undecided(active, n.ravel()[place])
        ahead = contexts.expectation(tables.expect, near)[at, channel]
        zero = tables.zeros[channel, near[at, channel], tables.pressure[owed, ahead]]
        found = active[at, channel] != 0
        low, freq = np.where(found, zero, 0), np.where(found, TOTAL - zero, zero)
        parts.append(((key[place[at]] + 1 + 2 * channel) * _KEYS, low, freq))

        at, channel = np.nonzero(active)
        integers = active[at, channel].astype(np.int64)
        low, freq = _pick(tables.values[channel, grid.lean[at, channel]], symbols_of(integers))
        key = (key[place[at]] + 2 + 2 * channel) * _KEYS
        parts += [(key, low, freq), _escapes(key, np.abs(integers) - LARGEST - 1)]

        key, low, freq = (np.concatenate(part) for part in zip(*parts, strict=True))
        turn = np.argsort(key, kind="stable")
        return low[turn], freq[turn]

    def _check(self, y: Ints) -> None:
        """Raises ValueError, see `encode`."""
        if y.ndim != 3 or y.shape[0] != self.channels or y.dtype.kind not in "iu":
            raise ValueError(f"not an integer latent of {self.channels} channels: {y.shape}")
        _check_size(y.shape[1], y.shape[2])
        if int(y.max()) > MOST or int(y.min()) < -MOST:
            raise ValueError(f"a magnitude is above {MOST}")


def _values(family: Family, y: Ints) -> _Grid:
    """The grid of an intra layer: the integers themselves."""
    rows = family.rows(y)
    n = np.count_nonzero(rows, axis=2)
    at = np.nonzero(n)
    around = contexts.surroundings(contexts.framed(rows), *at)
    near, lean = contexts.NEAR[around], contexts.LEAN[around]
    return _Grid(n, contexts.count_contexts(n), rows[at], near, lean)


def _changes(family: Family, y: Ints, past: Past) -> _Grid:
    """The grid of an inter layer."""
    rows = family.rows(y)
    still = Still(family.rows(past.last), family.rows(past.before))
    changes = still.changes(rows)
    n = np.count_nonzero(changes, axis=2)
    at = np.nonzero(n)
    near, lean = still.channel_contexts(rows, *at)
    return _Grid(n, still.count_contexts(n), changes[at], near, lean)


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


def _check_size(h: int, w: int) -> None:
    if not (1 <= h <= MAX_LATENT_SIDE and 1 <= w <= MAX_LATENT_SIDE):
        raise ValueError(f"a latent of {h} x {w} positions is outside 1..{MAX_LATENT_SIDE}")
