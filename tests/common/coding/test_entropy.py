from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.coding.contexts import BANDS, MOST, Ints
from common.coding.entropy import EntropyModel
from common.errors import CorruptStream, ModelMismatch
from tests.common.latents import any_latent, clustered, model


def round_trip(tables: EntropyModel, y: Ints, *, profile: int = 0, quality: int = 100) -> bytes:
    body = tables.encode(y, profile=profile, quality=quality)
    back = tables.decode(body, (y.shape[1], y.shape[2]), profile=profile, quality=quality)
    assert back.dtype == np.int16
    np.testing.assert_array_equal(back, y)
    ideal = tables.bits(y, profile=profile, quality=quality) / 8
    assert len(body) <= ideal * 1.02 + 2
    return body


def test_ten_thousand_latents_come_back() -> None:
    rng = np.random.default_rng(8)
    for i in range(10_000):
        m = (1, 2, 3, 5, 16, 64)[i % 6]
        limit = 2 if m == 64 else 4
        round_trip(model(m), any_latent(rng, m, limit), quality=int(rng.integers(256)))


@pytest.mark.parametrize("m", range(1, 65))
def test_every_number_of_channels(m: int) -> None:
    rng = np.random.default_rng(m)
    few = EntropyModel.count([(0, 0, any_latent(rng, m))], m)
    for _ in range(3):
        round_trip(few, any_latent(rng, m))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-MOST, MOST), min_size=1, max_size=60))
def test_any_integers_come_back(values: list[int]) -> None:
    round_trip(model(1), np.array(values, dtype=np.int16).reshape(1, 1, -1))
    round_trip(model(1), np.array(values, dtype=np.int64).reshape(1, -1, 1))


def test_extremes_come_back() -> None:
    for fill in (MOST, -MOST, 7, 8, -8):
        round_trip(model(64), np.full((64, 3, 2), fill, dtype=np.int16))


def test_an_empty_latent_costs_next_to_nothing() -> None:
    empty = np.zeros((64, 30, 40), dtype=np.int16)
    rng = np.random.default_rng(2)
    tables = EntropyModel.count(
        [(0, 0, empty)] * 5 + [(0, 0, clustered(rng, 64, 30, 40, 0.01)) for _ in range(5)], 64
    )
    assert len(round_trip(tables, empty, quality=0)) <= 20


def test_counted_tables_beat_tables_of_another_band_and_a_flat_code() -> None:
    rng = np.random.default_rng(3)
    tables = EntropyModel.count(
        ((0, q, clustered(rng, 16, 20, 20, d)) for q, d in [(0, 0.01), (255, 0.2)] * 30), 16
    )
    for share, own, other in ((0.01, 0, 255), (0.2, 255, 0)):
        latents = [clustered(rng, 16, 20, 20, share) for _ in range(20)]
        bits = sum(tables.bits(y, profile=0, quality=own) for y in latents)
        assert bits < sum(tables.bits(y, profile=0, quality=other) for y in latents)
        found, asked = sum(np.count_nonzero(y) for y in latents), 20 * 16 * 20 * 20
        share = found / asked
        flat = -asked * (share * math.log2(share) + (1 - share) * math.log2(1 - share))
        assert bits < flat + 3 * found


def test_bands_without_latents_take_the_nearest() -> None:
    rng = np.random.default_rng(4)
    tables = EntropyModel.count([(0, 40, clustered(rng, 4, 8, 8, 0.2)) for _ in range(5)], 4)
    arrays = tables.to_arrays()
    for name in ("counts", "zeros", "values", "expect"):
        for band in range(BANDS):
            np.testing.assert_array_equal(arrays[name][:, band], arrays[name][:, 1])


def test_a_profile_has_its_own_tables_or_those_of_the_first() -> None:
    rng = np.random.default_rng(5)
    two = [(p, 0, clustered(rng, 4, 8, 8, d)) for p, d in [(0, 0.01), (1, 0.3)] * 8]
    tables = EntropyModel.count(two, 4)
    y = clustered(rng, 4, 8, 8, 0.3)
    assert tables.bits(y, profile=1, quality=0) < tables.bits(y, profile=0, quality=0)
    assert tables.encode(y, profile=9, quality=0) == tables.encode(y, profile=0, quality=0)


def test_tables_survive_their_arrays() -> None:
    tables = model(5)
    arrays = tables.to_arrays()
    assert all(array.dtype.kind == "u" for array in arrays.values())
    y = any_latent(np.random.default_rng(6), 5)
    again = EntropyModel.from_arrays(arrays)
    assert again.encode(y, profile=0, quality=9) == tables.encode(y, profile=0, quality=9)


def test_tables_are_small() -> None:
    assert sum(array.nbytes for array in model(64).to_arrays().values()) < 1_000_000


def test_unsound_arrays_are_named() -> None:
    sound = model(5).to_arrays()

    def refused(name: str, array: Ints | None) -> None:
        arrays = {k: v for k, v in sound.items() if k != name or array is not None}
        if array is not None:
            arrays[name] = array
        with pytest.raises(ModelMismatch):
            EntropyModel.from_arrays(arrays)

    for name, array in sound.items():
        refused(name, None)
        refused(name, array.astype(np.int64))
        refused(name, array[:-1])
        refused(name, array[None])
        refused(name, np.full_like(array, 0 if name not in ("profiles", "pressure") else 200))
    refused("extra", sound["order"])
    for name in ("counts", "values"):
        off_by_one = sound[name].copy()
        off_by_one.flat[0] += 1
        refused(name, off_by_one)
    refused("order", np.zeros(65, dtype=np.uint16))


@pytest.mark.parametrize(
    "y",
    [
        np.zeros((4, 3, 3), dtype=np.int16),
        np.zeros((5, 3), dtype=np.int16),
        np.zeros((5, 3, 3), dtype=np.float32),
        np.zeros((5, 0, 3), dtype=np.int16),
        np.zeros((5, 1, 257), dtype=np.int16),
        np.full((5, 3, 3), -32768, dtype=np.int16),
        np.full((5, 3, 3), 32768, dtype=np.int32),
    ],
)
def test_latents_that_cannot_be_coded(y: Ints) -> None:
    with pytest.raises(ValueError):
        model(5).encode(y, profile=0, quality=0)


@pytest.mark.parametrize("quality", [-1, 256])
def test_qualities_out_of_range(quality: int) -> None:
    with pytest.raises(ValueError, match="quality"):
        model(5).encode(np.zeros((5, 1, 1), dtype=np.int16), profile=0, quality=quality)


def test_nothing_to_count_is_refused() -> None:
    with pytest.raises(ValueError, match="no latents"):
        EntropyModel.count([], 4)
    with pytest.raises(ValueError, match="channels"):
        EntropyModel.count([(0, 0, np.zeros((3, 2, 2), dtype=np.int16))], 4)
    with pytest.raises(ValueError, match="channels"):
        EntropyModel.count([], 65)


def test_damaged_bodies_end_in_integers_or_an_error() -> None:
    rng = np.random.default_rng(7)
    tables = model(16)
    body = tables.encode(clustered(rng, 16, 8, 8, 0.1), profile=0, quality=50)
    caught = 0
    for _ in range(400):
        bad = bytearray(body)
        bad[rng.integers(len(bad))] ^= int(rng.integers(1, 256))
        try:
            y = tables.decode(
                bytes(bad[: rng.integers(len(bad)) + 1]), (8, 8), profile=0, quality=50
            )
            assert y.shape == (16, 8, 8)
        except CorruptStream:
            caught += 1
    assert caught > 200


def test_the_largest_header_bounds_the_work() -> None:
    start = time.monotonic()
    for body in (b"", b"\0" * 50, b"\xff" * 50):
        try:
            y = model(64).decode(body, (256, 256), profile=0, quality=0)
            assert y.nbytes == 2 * 64 * 256 * 256
        except CorruptStream:
            pass
    assert time.monotonic() - start < 30
    with pytest.raises(ValueError):
        model(64).decode(b"", (257, 1), profile=0, quality=0)
