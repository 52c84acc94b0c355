from __future__ import annotations

import numpy as np
import pytest

from common.coding.contexts import (
    BANDS,
    COUNT_CONTEXTS,
    LEAN_COUNT,
    NEAR_COUNT,
    PRESSURE_COUNT,
    Ints,
)
from common.coding.counting import SYMBOLS, count_tables, symbols_of, undecided
from common.coding.rangecoder import TOTAL
from common.coding.temporal import SHAPE
from tests.common.latents import clustered, scene


def counted(*latents: Ints, quality: int = 0) -> dict[str, Ints]:
    return count_tables([(0, quality, y) for y in latents], latents[0].shape[0])


def test_tables_are_whole_and_leave_no_symbol_out() -> None:
    rng = np.random.default_rng(1)
    arrays = counted(*(clustered(rng, 6, 9, 9, 0.1) for _ in range(4)))
    assert arrays["counts"].shape == (1, BANDS, COUNT_CONTEXTS, 7)
    assert arrays["values"].shape == (1, BANDS, 6, LEAN_COUNT, SYMBOLS)
    assert arrays["zeros"].shape == (1, BANDS, 6, NEAR_COUNT, PRESSURE_COUNT)
    for name in ("counts", "values"):
        assert (arrays[name].sum(axis=-1, dtype=np.int64) == TOTAL).all()
        assert arrays[name].min() >= 1


def test_inter_tables_are_whole_and_leave_no_symbol_out() -> None:
    rng = np.random.default_rng(3)
    frames = scene(rng, 6, 9, 9, 4, 0.1)
    arrays = count_tables([(0, 0, frames[0])], 6, [(0, 0, frames), (3, 200, frames)])
    assert arrays["inter_profiles"].tolist() == [0, 3]
    assert arrays["inter_counts"].shape == (2, BANDS, SHAPE.counts, 7)
    assert arrays["inter_values"].shape == (2, BANDS, 6, SHAPE.lean, SYMBOLS)
    assert arrays["inter_zeros"].shape == (2, BANDS, 6, SHAPE.near, PRESSURE_COUNT)
    assert arrays["inter_expect"].shape == (2, BANDS, 6, SHAPE.near)
    for name in ("inter_counts", "inter_values"):
        assert (arrays[name].sum(axis=-1, dtype=np.int64) == TOTAL).all()
        assert arrays[name].min() >= 1


def test_sequences_leave_the_intra_tables_as_they_are() -> None:
    frames = scene(np.random.default_rng(4), 3, 9, 9, 3, 0.1)
    latents = [(0, 0, y) for y in frames]
    alone, both = count_tables(latents, 3), count_tables(latents, 3, [(0, 0, frames)])
    assert {name for name in both if not name.startswith("inter_")} == set(alone)
    for name, array in alone.items():
        np.testing.assert_array_equal(both[name], array)


def test_one_frame_is_no_sequence() -> None:
    y = np.ones((3, 4, 4), dtype=np.int16)
    assert "inter_order" not in count_tables([(0, 0, y)], 3, [(0, 0, [y])])


def test_channels_that_change_most_come_first() -> None:
    still = np.ones((3, 4, 4), dtype=np.int16)
    moved = still.copy()
    moved[2] += 1
    moved[0, 0] += 1
    arrays = count_tables([(0, 0, still)], 3, [(0, 0, [still, moved])])
    assert arrays["inter_order"].tolist() == [2, 0, 1]


def test_a_change_between_large_magnitudes_is_counted() -> None:
    """They are escapes in intra layers, all alike; in inter layers only the change counts."""
    frames = [np.full((1, 20, 20), value, dtype=np.int16) for value in (100, 101, 102, 103)]
    arrays = count_tables([(0, 0, frames[0])], 1, [(0, 0, frames)])
    assert arrays["inter_values"][0, 0, 0, :, 0].max() > 0.9 * TOTAL  # +1, away from zero
    assert arrays["inter_counts"][0, 0, -1, 1] > 0.5 * TOTAL


def test_busy_channels_come_first() -> None:
    y = np.zeros((3, 4, 4), dtype=np.int16)
    y[1] = 1
    y[2, 0] = 1
    assert counted(y)["order"].tolist() == [1, 2, 0]


def test_a_context_seen_often_has_its_own_frequency() -> None:
    rng = np.random.default_rng(2)
    y = (rng.random((1, 200, 200)) < 0.25).astype(np.int16)
    table = counted(y)["counts"][0, 0]
    assert table[0, 1] / TOTAL == pytest.approx(0.25, abs=0.05)


def test_a_context_never_seen_follows_its_kin() -> None:
    values = -np.ones((2, 30, 30), dtype=np.int16)
    values[1, ::2] = 0
    table = counted(values)["values"][0, 0].astype(float) / TOTAL
    assert table[:, :, 1].min() > 0.5  # -1 everywhere, whatever the neighbours' lean


def test_symbols_alternate_signs_and_end_in_escapes() -> None:
    values = np.array([1, -1, 2, -7, 7, 8, -8, 32767, -32767], dtype=np.int16)
    assert symbols_of(values).tolist() == [0, 1, 2, 13, 12, 14, 15, 14, 15]
    assert SYMBOLS == 16


def test_a_channel_is_asked_for_only_while_it_is_open() -> None:
    active = np.array([[5, 0, 0], [0, 0, 5], [5, 5, 5], [0, 5, 5]])
    at, channel, owed = undecided(active, np.array([1, 1, 3, 2]))
    asked = list(zip(at.tolist(), channel.tolist(), owed.tolist(), strict=True))
    assert asked == [(0, 0, 1), (1, 0, 1), (1, 1, 1), (3, 0, 2)]
