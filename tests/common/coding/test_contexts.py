from __future__ import annotations

import numpy as np

from common.coding import contexts
from common.coding.contexts import BANDS, LEAN, LEAN_COUNT, NEAR, NEAR_COUNT


def surroundings_of(w: int, n: int, nw: int, ne: int) -> int:
    """The surroundings of the middle of the second row, one channel."""
    rows = np.array([[nw, n, ne], [w, 0, 0]], dtype=np.int16)[:, :, None]
    at = np.array([1])
    return int(contexts.surroundings(contexts.framed(rows), at, at)[0, 0])


def test_surroundings_follow_their_formula() -> None:
    assert surroundings_of(0, 0, 0, 0) == 0
    assert surroundings_of(1, 0, 0, 0) == 64 * 2 + 2
    assert surroundings_of(0, -1, 0, 0) == 64 * 2 - 2
    assert surroundings_of(0, 0, 1, -1) == 64 * 2
    assert surroundings_of(32767, -32767, 3, -3) == 64 * 18
    assert surroundings_of(9, 9, 9, 9) == 64 * 18 + 18


def test_buckets_cover_every_surrounding() -> None:
    rng = np.random.default_rng(0)
    for values in rng.integers(-5, 6, (2000, 4)):
        number = surroundings_of(*(int(v) for v in values))
        clipped = np.clip(values, -3, 3)
        t = int(np.abs(clipped) @ [2, 2, 1, 1])
        v = int(clipped @ [2, 2, 1, 1])
        assert number == 64 * t + v
        assert (NEAR[number] == 0) == (t == 0)
        assert np.sign(LEAN[number] - LEAN_COUNT // 2) == np.sign(v)
    assert NEAR.max() == NEAR_COUNT - 1
    assert LEAN.max() == LEAN_COUNT - 1


def test_bands_share_the_quality_byte_evenly() -> None:
    bands = [contexts.band(quality) for quality in range(256)]
    assert bands == sorted(bands)
    assert [bands.count(b) for b in range(BANDS)] == [256 // BANDS] * BANDS


def test_count_contexts_see_only_what_is_coded_before() -> None:
    rng = np.random.default_rng(1)
    counts = rng.integers(0, 65, (6, 7))
    before = contexts.count_contexts(counts)
    assert before.max() < contexts.COUNT_CONTEXTS
    for at in range(counts.size):
        later = counts.copy()
        later.flat[at:] = rng.integers(0, 65, counts.size - at)
        np.testing.assert_array_equal(
            contexts.count_contexts(later).ravel()[: at + 1], before.ravel()[: at + 1]
        )


def test_pressure_grows_with_what_is_owed_and_falls_with_what_is_expected() -> None:
    table = contexts.pressure_table(64)
    assert table.shape == (65, len(contexts.EXPECT_EDGES) + 1)
    assert (np.diff(table, axis=0) >= 0).all()
    assert (np.diff(table, axis=1) <= 0).all()
    assert table.min() == 0
    assert table.max() == contexts.PRESSURE_COUNT - 1


def test_half_octaves_are_whole_numbers_that_no_float_decides() -> None:
    edges = contexts.EXPECT_EDGES.tolist()
    assert edges[0::2] == [2 ** (7 + i) for i in range(16)]
    for i, edge in enumerate(edges):  # the largest whole number at most 2 ** (7 + i / 2)
        assert edge**2 <= 2 ** (14 + i) < (edge + 1) ** 2


def test_expectations_stay_below_the_last_edge() -> None:
    most = np.full((64, NEAR_COUNT), 65535)
    bucket = contexts.expectation(most, np.zeros((1, 64), dtype=np.int64))
    assert bucket.max() < len(contexts.EXPECT_EDGES)


def test_expectation_sums_the_channels_that_are_left() -> None:
    chance = np.full((3, NEAR_COUNT), 1 << 12)
    bucket = contexts.expectation(chance, np.zeros((1, 3), dtype=np.int64))[0]
    assert [int(contexts.EXPECT_EDGES[b - 1]) for b in bucket] == [11585, 8192, 4096]
