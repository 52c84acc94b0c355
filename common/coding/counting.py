"""Counting: from the latents of a training set to the integer tables of an entropy model.

Every table is built from yes-or-no questions: is this channel zero? is the value negative? is
the magnitude above m? are there more than n nonzeros here? Each question has a cell per
combination of contexts. Most cells are rare, so that their own counts say little; a cell's
log-odds is therefore a sum of effects, one for each *group* of contexts from coarse to fine down
to the cell itself, fitted with a penalty on every effect: penalised logistic regression, by
Newton steps over the groups in turn. A rare cell ends near what its groups say, a frequent one
at its own frequency. Floats live here only; the result is integers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from common.coding import contexts, temporal
from common.coding.contexts import BANDS, LARGEST, MAX_CHANNELS, MOST, PRESSURE_COUNT, Ints, Shape
from common.coding.rangecoder import TOTAL
from common.coding.temporal import Still
from common.errors import ModelMismatch

Floats = NDArray[np.float64]

SYMBOLS = 2 * LARGEST + 2  # +1 -1 +2 -2 ... +7 -7, then an escape for each sign
INTER = "inter_"  # before the names of inter layers' arrays
_FAMILY = ("order", "profiles", "counts", "expect", "zeros", "values")

_PENALTY = 2.0  # on each effect: worth about as much as eight even observations
_SWEEPS = 12


@dataclass(frozen=True, slots=True)
class _Sample:
    """One latent, only what is not zero: a training set of thousands fits into memory."""

    profile: int
    band: int
    shape: tuple[int, int]
    where: Ints  # flat index into h w M, M in the model's order
    values: Ints

    def rows(self, channels: int) -> Ints:
        """h w M"""
        flat = np.zeros(self.shape[0] * self.shape[1] * channels, dtype=np.int16)
        flat[self.where] = self.values
        return flat.reshape(*self.shape, channels)

    def activity(self, channels: int) -> Ints:
        """How often each channel is not zero."""
        return np.bincount(self.where % channels, minlength=channels)


@dataclass(frozen=True, slots=True)
class _Step:
    """One latent and the two before it."""

    sample: _Sample
    last: _Sample
    before: _Sample

    @property
    def profile(self) -> int:
        return self.sample.profile

    @property
    def band(self) -> int:
        return self.sample.band

    def activity(self, channels: int) -> Ints:
        """How often each channel changes."""
        changed = self.sample.rows(channels) != self.last.rows(channels)
        counts: Ints = np.count_nonzero(changed, axis=(0, 1))
        return counts


_T = TypeVar("_T", _Sample, _Step)


@dataclass(frozen=True, slots=True)
class _Seen:
    """One latent with its contexts: of every position h w, and of the A active ones, A M each."""

    band: int
    context: Ints
    n: Ints
    near: Ints
    lean: Ints
    active: Ints


def count_tables(
    latents: Iterable[tuple[int, int, Ints]],
    channels: int,
    sequences: Iterable[tuple[int, int, Sequence[Ints]]] = (),
) -> dict[str, Ints]:
    """Return the arrays of EntropyModel.from_arrays.

    latents    (profile, quality, y M h w): what intra tables are counted on
    sequences  (profile, quality, y of one frame after another): what inter tables are counted on;
               none: the model codes no inter layers
    """
    samples = [_sample(profile, quality, y, channels) for profile, quality, y in latents]
    if not samples:
        raise ValueError("no latents to count")
    steps = [
        _Step(after, last, before)
        for profile, quality, frames in sequences
        for before, last, after in _triples(
            [_sample(profile, quality, y, channels) for y in frames]
        )
    ]
    pressure = contexts.pressure_table(channels)
    tables = {"pressure": pressure.astype(np.uint8)}
    tables |= _family("", samples, contexts.SHAPE, _walk_intra, channels, pressure)
    if steps:
        tables |= _family(INTER, steps, temporal.SHAPE, _walk_inter, channels, pressure)
    return tables


def check_tables(arrays: Mapping[str, Ints]) -> None:
    """Raise ModelMismatch, naming the array, for tables that no counting could have made."""
    _check_family(arrays, "", contexts.SHAPE)
    names = {"pressure", *_FAMILY}
    if f"{INTER}order" in arrays:
        _check_family(arrays, INTER, temporal.SHAPE)
        names |= {INTER + name for name in _FAMILY}
        if len(arrays[f"{INTER}order"]) != len(arrays["order"]):
            raise ModelMismatch("entropy tables: inter tables of another number of channels")
    if set(arrays) != names:
        raise ModelMismatch(f"entropy tables: not exactly {', '.join(sorted(names))}")
    shape = (len(arrays["order"]) + 1, len(contexts.EXPECT_EDGES) + 1)
    pressure = arrays["pressure"]
    if pressure.shape != shape or pressure.dtype != np.uint8 or pressure.max() >= PRESSURE_COUNT:
        raise ModelMismatch("entropy tables: pressure holds numbers that cannot be")


def _check_family(arrays: Mapping[str, Ints], prefix: str, shape: Shape) -> None:
    found = {name: arrays[prefix + name] for name in _FAMILY if prefix + name in arrays}
    for name in ("order", "profiles"):
        if name not in found or found[name].ndim != 1:
            raise ModelMismatch(f"entropy tables: {prefix}{name} is missing or has another shape")
    m, p = len(found["order"]), len(found["profiles"])
    if not (1 <= m <= MAX_CHANNELS and 1 <= p <= 16):
        raise ModelMismatch("entropy tables: too few or too many channels or profiles")
    each = (p, BANDS)
    kinds = {
        "order": ((m,), np.uint16),
        "profiles": ((p,), np.uint8),
        "counts": ((*each, shape.counts, m + 1), np.uint16),
        "expect": ((*each, m, shape.near), np.uint16),
        "zeros": ((*each, m, shape.near, PRESSURE_COUNT), np.uint16),
        "values": ((*each, m, shape.lean, SYMBOLS), np.uint16),
    }
    for name, (size, dtype) in kinds.items():
        if name not in found or found[name].shape != size or found[name].dtype != dtype:
            raise ModelMismatch(f"entropy tables: {prefix}{name} has another shape or type")
    sound = {
        "order": np.array_equal(np.sort(found["order"]), np.arange(m)),
        "profiles": len(set(found["profiles"].tolist())) == p and found["profiles"].max() < 16,
        "expect": found["expect"].min() >= 1,
        "zeros": found["zeros"].min() >= 1,
        **{name: _sums(found[name]) for name in ("counts", "values")},
    }
    for name, is_sound in sound.items():
        if not is_sound:
            raise ModelMismatch(f"entropy tables: {prefix}{name} holds numbers that cannot be")


def _sums(freq: Ints) -> bool:
    return bool(freq.min() >= 1 and (freq.sum(axis=-1, dtype=np.int64) == TOTAL).all())


def _sample(profile: int, quality: int, y: Ints, channels: int) -> _Sample:
    if y.ndim != 3 or y.shape[0] != channels:
        raise ValueError(f"a latent of shape {y.shape} does not have {channels} channels")
    flat = y.transpose(1, 2, 0).ravel()
    where = np.flatnonzero(flat)
    values = np.clip(flat[where], -MOST, MOST).astype(np.int16)
    return _Sample(profile, contexts.band(quality), (y.shape[1], y.shape[2]), where, values)


def _triples(frames: list[_Sample]) -> Iterator[tuple[_Sample, _Sample, _Sample]]:
    """(before, last, this) of every frame but the first; the first stands before itself."""
    return zip([frames[0], *frames], frames, frames[1:], strict=False)


def _family(
    prefix: str,
    samples: Sequence[_T],
    shape: Shape,
    walk: Callable[[Sequence[_T], Ints], Iterator[_Seen]],
    channels: int,
    pressure: Ints,
) -> dict[str, Ints]:
    """All tables of intra or of inter layers."""
    activity = np.sum([s.activity(channels) for s in samples], axis=0)
    order = np.argsort(-activity, kind="stable")
    profiles = sorted({s.profile for s in samples})
    parts = []
    for profile in profiles:
        own = [s for s in samples if s.profile == profile]
        parts.append(_profile_tables(partial(walk, own, order), shape, order, pressure))
    tables = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
    tables["order"] = order.astype(np.uint16)
    tables["profiles"] = np.array(profiles, dtype=np.uint8)
    return {prefix + name: table for name, table in tables.items()}


def _profile_tables(
    walk: Callable[[], Iterator[_Seen]], shape: Shape, order: Ints, pressure: Ints
) -> dict[str, Ints]:
    m = len(order)
    counts = np.zeros((BANDS, shape.counts, m + 1))
    values = np.zeros((BANDS, m, shape.lean, SYMBOLS))
    seen = np.zeros((BANDS, m, shape.near, 2))
    for s in walk():
        _tally(counts[s.band], s.context.ravel(), s.n.ravel())
        at, channel = np.nonzero(s.active)
        symbol = symbols_of(s.active[at, channel])
        _tally(values[s.band], channel, s.lean[at, channel], symbol)
        channels = np.broadcast_to(np.arange(m), s.near.shape)
        _tally(seen[s.band], channels, s.near, s.active != 0)
    seen = _fill_bands(seen)
    chance = _odds(seen[..., 1], seen.sum(-1), [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)])
    expect = _parts(chance)
    flags = np.zeros((BANDS, m, shape.near, PRESSURE_COUNT, 2))
    for s in walk():
        at, channel, owed = undecided(s.active, s.n[s.n > 0])
        ahead = contexts.expectation(expect[s.band].astype(np.int64), s.near)[at, channel]
        _tally(
            flags[s.band],
            channel,
            s.near[at, channel],
            pressure[owed, ahead],
            s.active[at, channel] != 0,
        )
    return {
        "counts": _count_table(_fill_bands(counts)),
        "expect": expect,
        "zeros": _zero_table(_fill_bands(flags)),
        "values": _value_table(_fill_bands(values)),
    }


def _walk_intra(samples: Sequence[_Sample], order: Ints) -> Iterator[_Seen]:
    for sample in samples:
        rows = sample.rows(len(order))[:, :, order]
        n = np.count_nonzero(rows, axis=2)
        y, x = np.nonzero(n)
        around = contexts.surroundings(contexts.framed(rows), y, x)
        near, lean = contexts.NEAR[around], contexts.LEAN[around]
        yield _Seen(sample.band, contexts.count_contexts(n), n, near, lean, rows[y, x])


def _walk_inter(steps: Sequence[_Step], order: Ints) -> Iterator[_Seen]:
    m = len(order)
    for step in steps:
        now, last, before = (s.rows(m)[:, :, order] for s in (step.sample, step.last, step.before))
        still = Still(last, before)
        changes = still.changes(now)
        n = np.count_nonzero(changes, axis=2)
        y, x = np.nonzero(n)
        near, lean = still.channel_contexts(now, y, x)
        yield _Seen(step.band, still.count_contexts(n), n, near, lean, changes[y, x])


def undecided(active: Ints, counts: Ints) -> tuple[Ints, Ints, Ints]:
    """Return (position, channel, nonzeros owed) of each channel whose being zero must be coded.

    active  A M integers, counts  A, the nonzeros in each row. A channel is decided once nothing
    is owed, or once every channel that is left must be nonzero.
    """
    nonzero = active != 0
    owed = counts[:, None] - np.cumsum(nonzero, axis=1) + nonzero
    left = active.shape[1] - np.arange(active.shape[1])
    at, channel = np.nonzero((owed > 0) & (owed != left))
    return at, channel, owed[at, channel]


def symbols_of(values: Ints) -> Ints:
    """Return the symbol, 0..SYMBOLS-1, of each nonzero integer."""
    wide = values.astype(np.int64)
    return 2 * np.minimum(np.abs(wide), LARGEST + 1) - 2 + (wide < 0)


def _tally(table: Floats, *index: Ints) -> None:
    flat = np.ravel_multi_index([np.asarray(i, dtype=np.int64) for i in index], table.shape)
    table += np.bincount(flat.ravel(), minlength=table.size).reshape(table.shape)


def _fill_bands(counts: Floats) -> Floats:
    """Give a band that was never seen the counts of the nearest one that was."""
    seen = np.flatnonzero(counts.reshape(BANDS, -1).any(axis=1))
    if not len(seen):
        return counts
    nearest = seen[np.abs(np.arange(BANDS)[:, None] - seen).argmin(axis=1)]
    filled: Floats = counts[nearest]
    return filled


def _odds(yes: Floats, asked: Floats, groups: list[tuple[int, ...]]) -> Floats:
    """Return the chance of 'yes' in every cell; `groups` name the axes that an effect varies on."""
    axes = tuple(range(yes.ndim))
    kept = [(), *groups, axes]
    shapes = [[n if i in group else 1 for i, n in enumerate(yes.shape)] for group in kept]
    effects = [np.zeros(shape) for shape in shapes]
    total = np.zeros(yes.shape)
    for _ in range(_SWEEPS):
        for i, group in enumerate(kept):
            rest = tuple(axis for axis in axes if axis not in group)
            chance = 1 / (1 + np.exp(-total))
            slope = (yes - asked * chance).sum(axis=rest, keepdims=True) - _PENALTY * effects[i]
            bend = (asked * chance * (1 - chance)).sum(axis=rest, keepdims=True) + _PENALTY
            step = np.clip(slope / bend, -1.0, 1.0)
            effects[i] = effects[i] + step
            total = np.clip(total + step, -20.0, 20.0)
    return 1 / (1 + np.exp(-total))


def _count_table(counts: Floats) -> Ints:
    """P(n) from P(more than n | at least n); axes band, context, n."""
    least = counts[..., ::-1].cumsum(axis=-1)[..., ::-1]  # at least n
    more = _odds(least[..., 1:], least[..., :-1], [(2,), (1,), (0,), (1, 2), (0, 2), (0, 1)])
    return _whole(_stop(more))


def _value_table(values: Floats) -> Ints:
    """P(value) from P(negative) and P(above m | at least m, sign); axes band, channel, lean."""
    pairs = values.reshape(*values.shape[:-1], LARGEST + 1, 2)
    pairs = pairs.swapaxes(-1, -2)  # sign, magnitude
    least = pairs[..., ::-1].cumsum(axis=-1)[..., ::-1]
    groups = [(4,), (0,), (1,), (2,), (0, 4), (1, 4), (2, 4), (1, 3), (2, 3), (0, 1, 4), (1, 2, 3)]
    above = _odds(least[..., 1:], least[..., :-1], groups)
    signs = [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2)]
    negative = _odds(pairs[..., 1, :].sum(-1), pairs.sum((-1, -2)), signs)
    chance = _stop(above) * np.stack([1 - negative, negative], axis=-1)[..., None]
    return _whole(chance.swapaxes(-1, -2).reshape(values.shape))


def _zero_table(flags: Floats) -> Ints:
    """Frequency of 'zero' in 1/65536; axes band, channel, near, pressure."""
    groups = [(0,), (1,), (2,), (3,), (0, 1), (1, 2), (2, 3), (0, 2), (1, 3), (0, 3), (1, 2, 3)]
    chance = _odds(flags[..., 0], flags.sum(-1), groups)
    return _parts(chance)


def _stop(more: Floats) -> Floats:
    """P(0), P(1), ..., P(N) from the N chances of going on."""
    reach = np.concatenate([np.ones_like(more[..., :1]), np.cumprod(more, axis=-1)], axis=-1)
    stop = np.concatenate([1 - more, np.ones_like(more[..., :1])], axis=-1)
    chance: Floats = reach * stop
    return chance


def _parts(chance: Floats) -> Ints:
    """Return chances as uint16 in 1/65536, 1..65535."""
    parts: Ints = np.rint(chance * TOTAL).clip(1, TOTAL - 1).astype(np.uint16)
    return parts


def _whole(chance: Floats) -> Ints:
    """Return uint16 frequencies >= 1 along the last axis that sum to 65536."""
    spare = TOTAL - chance.shape[-1]
    freq = 1 + np.floor(chance / chance.sum(axis=-1, keepdims=True) * spare).astype(np.int64)
    best = freq.argmax(axis=-1)[..., None]
    rest = TOTAL - freq.sum(axis=-1, keepdims=True)
    np.put_along_axis(freq, best, np.take_along_axis(freq, best, -1) + rest, -1)
    out: Ints = freq.astype(np.uint16)
    return out
