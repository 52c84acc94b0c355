"""The tables of one family (intra or inter), by task profile and quality band, ready for coding."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from common.coding import contexts
from common.coding.contexts import Ints

_NAMES = ("counts", "expect", "zeros", "values")


class Tables:
    """The tables of one profile and band.

    counts    contexts M+2, cumulative       zeros   M near pressure
    expect    M near                         values  M lean SYMBOLS+1, cumulative
    pressure  M+1 half octaves+1

    All int64 and within 0..65536. `lists` holds them as lists, which only reading needs: an edge
    never makes them.
    """

    def __init__(
        self, counts: Ints, expect: Ints, zeros: Ints, values: Ints, pressure: Ints
    ) -> None:
        self.counts = _cumulative(counts)
        self.expect = expect.astype(np.int64)
        self.zeros = zeros.astype(np.int64)
        self.values = _cumulative(values)
        self.pressure = pressure

    @cached_property
    def lists(self) -> Lists:
        return Lists(self)


class Lists:
    """What `Tables` holds, as lists, and sums that reading starts from.

    ahead    M: the sum of expect at near = 0 of a channel and of all after it, below 2**22
    surplus  M near: expect less expect at near = 0, within +-2**16
    """

    def __init__(self, tables: Tables) -> None:
        self.counts: list[list[int]] = tables.counts.tolist()
        self.zeros: list[list[list[int]]] = tables.zeros.tolist()
        self.values: list[list[list[int]]] = tables.values.tolist()
        self.pressure: list[list[int]] = tables.pressure.tolist()
        alone = tables.expect[:, :1]
        self.ahead: list[int] = alone[::-1].cumsum()[::-1].tolist()
        self.surplus: list[list[int]] = (tables.expect - alone).tolist()


class Family:
    """The tables of intra or of inter layers, from the arrays whose names begin with `prefix`."""

    def __init__(self, arrays: Mapping[str, Ints], prefix: str) -> None:
        self._arrays, self._prefix = arrays, prefix
        self.order = arrays[f"{prefix}order"].astype(np.int64)
        self._profiles = arrays[f"{prefix}profiles"].tolist()
        self._pressure = arrays["pressure"].astype(np.int64)
        self._ready: dict[tuple[int, int], Tables] = {}

    def tables(self, profile: int, quality: int) -> Tables:
        """A profile that was not counted reads the first one's tables."""
        if not 0 <= quality <= 255:
            raise ValueError(f"quality {quality} is outside 0..255")
        at = self._profiles.index(profile) if profile in self._profiles else 0
        key = (at, contexts.band(quality))
        if key not in self._ready:
            own = {name: self._arrays[self._prefix + name][key] for name in _NAMES}
            self._ready[key] = Tables(**own, pressure=self._pressure)
        return self._ready[key]

    def rows(self, y: Ints) -> Ints:
        """Return y as h w M in the family's order, int16."""
        return np.ascontiguousarray(y[self.order].transpose(1, 2, 0), dtype=np.int16)

    def latent(self, rows: Ints) -> Ints:
        """Return rows as M h w in the latent's own order, int16."""
        y = np.empty((rows.shape[2], *rows.shape[:2]), dtype=np.int16)
        y[self.order] = rows.transpose(2, 0, 1)
        return y


def _cumulative(freq: Ints) -> Ints:
    """Return 0, f0, f0+f1, ... along the last axis, int64."""
    out = np.zeros((*freq.shape[:-1], freq.shape[-1] + 1), dtype=np.int64)
    np.cumsum(freq, axis=-1, out=out[..., 1:])
    return out
