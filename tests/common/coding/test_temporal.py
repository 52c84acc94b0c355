from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from common.coding.contexts import MOST, Ints
from common.coding.temporal import BESIDE, MOST_CHANGE, SHAPE, Still

EXTREMES = (-MOST, -3, -1, 0, 1, 3, MOST)


def three(rng: np.random.Generator, h: int, w: int, m: int) -> tuple[Ints, Ints, Ints]:
    """(before, last, now), rows h w M, of small integers and extremes."""
    values = np.array([*EXTREMES, 0, 0, 0, 0, 2, -2], dtype=np.int16)
    before, last, now = rng.choice(values, (3, h, w, m))
    kept = rng.random((2, h, w, m)) < 0.7
    last = np.where(kept[0], before, last)
    return before, last, np.where(kept[1], last, now)


def padded(rows: Ints, y: int, x: int, c: int) -> int:
    h, w, _ = rows.shape
    return int(rows[y, x, c]) if 0 <= y < h and 0 <= x < w else 0


@pytest.mark.parametrize("last", EXTREMES)
@pytest.mark.parametrize("now", EXTREMES)
def test_a_change_does_not_wrap_and_minus_is_towards_zero(last: int, now: int) -> None:
    rows = np.full((1, 1, 1), last, dtype=np.int16)
    still = Still(rows, rows)
    change = int(still.changes(np.full((1, 1, 1), now, dtype=np.int16))[0, 0, 0])
    assert change == (last - now if last < 0 else now - last)
    assert abs(change) <= MOST_CHANGE
    if abs(now) < abs(last):
        assert change < 0


def test_the_way_back_does_not_wrap() -> None:
    for last, before in product(EXTREMES, EXTREMES):
        rows = (np.full((1, 1, 1), value, dtype=np.int16) for value in (last, before))
        way = (before - last) * (-1 if last < 0 else 1)
        size = min(abs(last), 2)
        lean = (size * 5 + max(-2, min(way, 2)) + 2) * 3 + 1
        assert int(Still(*rows).lean[0, 0, 0]) == lean


def test_contexts_follow_their_definition() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        before, last, now = three(rng, 4, 5, 3)
        still = Still(last, before)
        changes = still.changes(now)
        n = np.count_nonzero(changes, axis=2)
        counts = still.count_contexts(n)
        for y, x in np.ndindex(4, 5):
            assert counts[y, x] == count_context(before, last, now, y, x)
        every = np.indices((4, 5)).reshape(2, -1)
        near, lean = still.channel_contexts(now, *every)
        for i, (y, x) in enumerate(every.T.tolist()):
            for c in range(3):
                assert near[i, c] == near_context(before, last, now, y, x, c)
                assert lean[i, c] == lean_context(before, last, now, y, x, c)


def count_context(before: Ints, last: Ints, now: Ints, y: int, x: int) -> int:
    channels = range(last.shape[2])

    def changed(y: int, x: int) -> int:
        return sum(padded(now, y, x, c) != padded(last, y, x, c) for c in channels)

    def moved(y: int, x: int) -> int:
        return sum(padded(last, y, x, c) != padded(before, y, x, c) for c in channels)

    side = 2 * (changed(y, x - 1) + changed(y - 1, x))
    ring = changed(y - 1, x - 1) + changed(y - 1, x + 1) + changed(y, x - 2) + changed(y - 2, x)
    around = sum(moved(y + i, x + j) for i, j in product((-1, 0, 1), repeat=2)) + 2 * moved(y, x)
    own = int(np.count_nonzero(last[y, x]))
    place = sum(around >= edge for edge in (1, 4, 10, 24)) * 4
    place += sum(own >= edge for edge in (1, 2, 4))
    first = sum(side >= edge for edge in (1, 2, 4, 8, 16)) * 5
    return (first + sum(ring >= edge for edge in (1, 3, 8, 20))) * 20 + place


def near_context(before: Ints, last: Ints, now: Ints, y: int, x: int, c: int) -> int:
    def changed(y: int, x: int) -> bool:
        return padded(now, y, x, c) != padded(last, y, x, c)

    own, older = int(last[y, x, c]), int(before[y, x, c])
    return (min(abs(own), 2) * 2 + (own != older)) * 3 + changed(y, x - 1) + changed(y - 1, x)


def lean_context(before: Ints, last: Ints, now: Ints, y: int, x: int, c: int) -> int:
    def clipped(y: int, x: int) -> int:
        return max(-3, min(padded(now, y, x, c), 3))

    own, older = int(last[y, x, c]), int(before[y, x, c])
    sign = -1 if own < 0 else 1
    v = 2 * (clipped(y, x - 1) + clipped(y - 1, x)) + clipped(y - 1, x - 1) + clipped(y - 1, x + 1)
    back = max(-2, min((older - own) * sign, 2))
    return (min(abs(own), 2) * 5 + back + 2) * 3 + 1 + sign * int(np.sign(v))


def test_contexts_fill_their_tables_and_stay_inside() -> None:
    rng = np.random.default_rng(2)
    values = np.array([-MOST, *range(-4, 5), MOST], dtype=np.int16)
    seen: list[set[int]] = [set(), set(), set()]
    for density in (0.0, 0.02, 0.2, 1.0) * 6:
        heat = density * rng.random((3, 16, 16, 1))
        rows = rng.choice(values, (3, 16, 16, 64)) * (rng.random((3, 16, 16, 64)) < heat)
        last, before, now = rows.astype(np.int16)
        still = Still(last, before)
        n = np.count_nonzero(still.changes(now), axis=2)
        near, lean = still.channel_contexts(now, *np.nonzero(n >= 0))
        for numbers, found in zip((still.count_contexts(n), near, lean), seen, strict=True):
            found.update(np.unique(numbers).tolist())
    counts, nears, leans = seen
    assert counts <= set(range(SHAPE.counts))
    assert max(counts) == SHAPE.counts - 1
    assert nears == set(range(SHAPE.near))
    assert leans == set(range(SHAPE.lean))


def test_contexts_see_only_what_is_coded_before() -> None:
    rng = np.random.default_rng(3)
    before, last, now = three(rng, 4, 5, 4)
    still = Still(last, before)
    every = np.nonzero(np.ones((4, 5)))
    n = np.count_nonzero(still.changes(now), axis=2)
    counts, (near, lean) = still.count_contexts(n), still.channel_contexts(now, *every)
    for at in range(20):
        later = now.copy().reshape(20, 4)
        later[at:] = rng.choice(np.array(EXTREMES, dtype=np.int16), (20 - at, 4))
        later = later.reshape(now.shape)
        other = np.count_nonzero(still.changes(later), axis=2)
        contexts = still.count_contexts(other), *still.channel_contexts(later, *every)
        for had, has in zip((counts.ravel(), near, lean), contexts, strict=True):
            np.testing.assert_array_equal(has.reshape(had.shape)[: at + 1], had[: at + 1])


def test_the_lists_of_the_reader_are_the_arrays_of_the_writer() -> None:
    still = Still(*np.zeros((2, 1, 1, 1), dtype=np.int16))
    assert still.place.item() == 0
    for side, ring in ((0, 0), (256, 256), (16, 3)):
        assert BESIDE[side][ring] % 20 == 0
    assert len(BESIDE) == 4 * 64 + 1
    assert {len(row) for row in BESIDE} == {4 * 64 + 1}
