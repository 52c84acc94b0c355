from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.coding.blocks import COEFFICIENTS, analyse, quantise
from common.coding.coefficients import (
    LAYOUTS,
    MOST,
    CoefficientModel,
    describe,
    features,
    see,
)
from common.coding.contexts import Ints
from common.errors import CorruptStream, ModelMismatch
from tests.human import any_coefficients, made, tiny_tables


def any_base(rng: np.random.Generator, h: int, w: int) -> Ints:
    y = rng.poisson(0.2, (16, h, w)) * rng.choice((-1, 1), (16, h, w))
    return describe(y.astype(np.int16), (h, w))


def round_trip(q: Ints, base: Ints, quality: int) -> bytes:
    model = tiny_tables()
    data = model.encode(q, base, quality)
    back = model.decode(data, base, quality)
    assert back.dtype == np.int16
    np.testing.assert_array_equal(back, q)
    return data


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (4, 1), (2, 2), (5, 7)])
@pytest.mark.parametrize("density", [0.01, 0.1, 0.6])
def test_any_integers_come_back(size: tuple[int, int], density: float) -> None:
    rng = np.random.default_rng(int(1000 * density) + size[0])
    for quality in (0, 63, 64, 200, 255):
        round_trip(any_coefficients(rng, *size, density), any_base(rng, *size), quality)


def test_extremes_come_back() -> None:
    base = np.zeros((2, 3, 2), np.int32)
    for fill in (0, 1, -1, 14, 15, -16, MOST // 4):
        round_trip(np.full((2, 3, COEFFICIENTS), fill, np.int16), base, 10)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_single_integers_come_back(data: st.DataObject) -> None:
    q = np.zeros((2, 2, COEFFICIENTS), np.int16)
    for _ in range(data.draw(st.integers(0, 6))):
        at = tuple(data.draw(st.integers(0, n - 1)) for n in q.shape)
        q[at] = data.draw(st.integers(-MOST // 4, MOST // 4))
    round_trip(q, np.zeros((2, 2, 2), np.int32), data.draw(st.integers(0, 255)))


def test_the_file_is_as_long_as_the_tables_say() -> None:
    rng, model = np.random.default_rng(5), tiny_tables()
    base = np.zeros((6, 8, 2), np.int32)
    for quality in (60, 150, 220):
        q = quantise(analyse(made(rng)), quality)
        seen, bits = see(q, base), 0.0
        arrays = model.to_arrays()
        for number, layout in enumerate(LAYOUTS):
            own = seen[number]
            inside = layout.reach_of <= own.reach[:, None]
            cost = model.cost(number, model.expected(number, seen, base, quality))
            symbol = np.minimum(own.magnitudes, 15)[..., None]
            bits += np.take_along_axis(cost, symbol, -1)[..., 0][inside].sum()
            excess = own.magnitudes[own.magnitudes > 14] - 14
            bits += (2 * np.floor(np.log2(excess))).sum()
            freq = arrays["reaches"][number][own.context, own.reach]
            bits += (16 - np.log2(freq)).sum()
        assert len(model.encode(q, base, quality)) == pytest.approx(bits / 8, rel=0.01, abs=3)


def test_the_contexts_bring_something() -> None:
    """Neighbours in their places cost less than the same blocks in any order."""
    rng = np.random.default_rng(6)
    q = quantise(analyse(made(rng, 192, 256)), 150)
    base = np.zeros((*q.shape[:2], 2), np.int32)
    shuffled = rng.permutation(q.reshape(-1, COEFFICIENTS)).reshape(q.shape)
    model = tiny_tables()
    assert len(model.encode(q, base, 150)) < 0.9 * len(model.encode(shuffled, base, 150))


def test_there_are_as_many_features_as_weights() -> None:
    q = any_coefficients(np.random.default_rng(7), 2, 3, 0.2)
    base = np.zeros((2, 3, 2), np.int32)
    seen = see(q, base)
    for number, layout in enumerate(LAYOUTS):
        rows = list(features(number, seen, base))
        assert len(rows) == 22
        assert {row.shape for row in rows} == {(6, layout.plane.n**2)}


def test_a_layer_below_of_another_size_speaks_by_its_nearest_place() -> None:
    y = np.zeros((4, 2, 2), np.int16)
    y[:, 1, 1] = 30
    told = describe(y, (4, 6))
    assert told.shape == (4, 6, 2)
    assert told[3, 5].tolist() == [4, 64]
    assert told[0, 0].tolist() == [0, 0]
    assert (told[2:, 3:] == told[3, 5]).all()


def test_damage_ends_well() -> None:
    """A flipped bit gives other integers or a clear error, in bounded time of the processor."""
    rng, model = np.random.default_rng(8), tiny_tables()
    base = np.zeros((4, 5, 2), np.int32)
    data = model.encode(any_coefficients(rng, 4, 5, 0.2), base, 100)
    begun = time.process_time()
    for _ in range(150):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] ^= 1 << rng.integers(8)
        cut = bytes(damaged[: rng.integers(1, len(data) + 1)])
        for wrong in (bytes(damaged), cut, rng.bytes(len(data))):
            try:
                q = model.decode(wrong, base, 100)
            except CorruptStream:
                continue
            assert q.shape == (4, 5, COEFFICIENTS)
    assert time.process_time() - begun < 60


def test_bytes_left_over_are_an_error() -> None:
    base = np.zeros((1, 1, 2), np.int32)
    data = tiny_tables().encode(np.ones((1, 1, COEFFICIENTS), np.int16), base, 0)
    with pytest.raises(CorruptStream):
        tiny_tables().decode(data + bytes(9), base, 0)
    with pytest.raises(CorruptStream):
        tiny_tables().decode(b"", np.zeros((40, 40, 2), np.int32), 0)


@pytest.mark.parametrize("name", ["weights", "values", "reaches"])
def test_tables_that_are_not_sound_are_refused(name: str) -> None:
    arrays = tiny_tables().to_arrays()
    with pytest.raises(ModelMismatch, match=name):
        CoefficientModel.from_arrays({k: v for k, v in arrays.items() if k != name})
    with pytest.raises(ModelMismatch, match=name):
        CoefficientModel.from_arrays(arrays | {name: arrays[name][:1]})
    with pytest.raises(ModelMismatch, match=name):
        CoefficientModel.from_arrays(arrays | {name: arrays[name].astype(np.int64)})


def test_frequencies_that_do_not_add_up_are_refused() -> None:
    arrays = tiny_tables().to_arrays()
    more = arrays["values"].copy()
    more[0, 0, 0, 0] -= 1
    with pytest.raises(ModelMismatch, match="65536"):
        CoefficientModel.from_arrays(arrays | {"values": more})
    never = arrays["values"].copy()
    never[0, 0, 0, 0] += never[0, 0, 0, 1]
    never[0, 0, 0, 1] = 0
    with pytest.raises(ModelMismatch, match="cannot be"):
        CoefficientModel.from_arrays(arrays | {"values": never})
