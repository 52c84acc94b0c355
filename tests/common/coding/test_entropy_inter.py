"""Inter layers in the entropy model: chains of integers there and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.coder.latents import drawn_tables
from common.bitstream import MAX_CHAIN
from common.coding.contexts import MOST, Ints
from common.coding.entropy import EntropyModel
from common.coding.temporal import Past
from common.errors import CorruptStream, ModelMismatch
from tests.common.latents import any_chain, any_latent, any_next, drawn, model, scene, scene_model


def past_of(chain: list[Ints], at: int) -> Past | None:
    """What the layer at `at` leans on; the first on nothing."""
    return Past(chain[at - 1], chain[max(at - 2, 0)]) if at else None


def round_trip(
    tables: EntropyModel, chain: list[Ints], qualities: list[int], profile: int = 0
) -> list[int]:
    """Codes each as the decoder, which has only what it decoded itself, can read; returns sizes."""
    back: list[Ints] = []
    sizes = []
    for at, (y, quality) in enumerate(zip(chain, qualities, strict=True)):
        past = past_of(chain, at)
        body = tables.encode(y, profile=profile, quality=quality, past=past)
        ideal = tables.bits(y, profile=profile, quality=quality, past=past) / 8
        assert len(body) <= ideal * 1.02 + 2
        seen = past_of([*back, y], at)
        size = (y.shape[1], y.shape[2])
        back.append(tables.decode(body, size, profile=profile, quality=quality, past=seen))
        assert back[-1].dtype == np.int16
        np.testing.assert_array_equal(back[-1], y)
        sizes.append(len(body))
    return sizes


@settings(max_examples=40, deadline=None)
@given(
    m=st.sampled_from([1, 2, 3, 5, 16, 64]),
    seed=st.integers(0, 2**32 - 1),
    qualities=st.lists(st.integers(0, 255), min_size=1, max_size=MAX_CHAIN),
    profile=st.integers(0, 2),
)
def test_any_chain_comes_back(m: int, seed: int, qualities: list[int], profile: int) -> None:
    chain = any_chain(np.random.default_rng(seed), m, len(qualities), 2 if m == 64 else 4)
    round_trip(drawn(m), chain, qualities, profile)


@pytest.mark.parametrize("m", range(1, 65))
def test_every_number_of_channels(m: int) -> None:
    rng = np.random.default_rng(m)
    round_trip(drawn(m), any_chain(rng, m, 4, 3), [0, 90, 180, 255])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[st.integers(-MOST, MOST)] * 3), min_size=1, max_size=20))
def test_any_integers_come_back(values: list[tuple[int, int, int]]) -> None:
    chain = [np.array(layer, dtype=np.int16).reshape(1, 1, -1) for layer in zip(*values)]  # noqa: B905
    round_trip(drawn(1), chain, [10, 20, 30])
    wide = [y.astype(np.int64).reshape(1, -1, 1) for y in chain]
    round_trip(drawn(1), wide, [10, 20, 30])


def test_changes_from_one_extreme_to_the_other_come_back() -> None:
    shape = (64, 3, 2)
    values = (MOST, -MOST, MOST, 0, -MOST, -7, 8, -8, 7, -MOST + 7, MOST - 8)
    chain = [np.full(shape, value, dtype=np.int16) for value in values]
    for m, tables in ((64, drawn(64)), (16, scene_model(16))):
        round_trip(tables, [y[:m] for y in chain], [25 * i for i in range(len(chain))])


def test_counted_tables_carry_scenes_in_less_than_intra_layers() -> None:
    rng = np.random.default_rng(4)
    tables = scene_model(16)
    for quality in (0, 100, 255):
        frames = scene(rng, 16, 15, 20, 6, 0.01 * (1 + quality / 32))
        sizes = round_trip(tables, frames, [quality] * 6)
        alone = [len(tables.encode(y, profile=0, quality=quality)) for y in frames]
        assert sizes[0] == alone[0]
        assert sum(sizes[1:]) < 0.6 * sum(alone[1:])


def test_an_unchanged_frame_costs_next_to_nothing() -> None:
    rng = np.random.default_rng(5)
    y = scene(rng, 16, 30, 40, 1)[0]
    moving = scene(rng, 16, 12, 16, 6)
    tables = EntropyModel.count([(0, 0, y)], 16, [(0, 0, [y] * 10), (0, 0, moving)])
    first, second, *still = round_trip(tables, [y] * 5, [0] * 5)
    assert first > 100
    assert second <= 20
    assert max(still) <= 20


def test_tables_without_inter_say_so() -> None:
    y = np.zeros((5, 2, 2), dtype=np.int16)
    assert not model(5).codes_inter
    assert drawn(5).codes_inter
    with pytest.raises(ValueError, match="codes no inter layers"):
        model(5).encode(y, profile=0, quality=0, past=Past(y, y))
    with pytest.raises(ValueError, match="codes no inter layers"):
        model(5).decode(b"", (2, 2), profile=0, quality=0, past=Past(y, y))


@pytest.mark.parametrize(
    "other",
    [
        np.zeros((5, 2, 3), dtype=np.int16),
        np.zeros((4, 2, 2), dtype=np.int16),
        np.zeros((5, 2), dtype=np.int16),
        np.zeros((5, 2, 2), dtype=np.float32),
        np.full((5, 2, 2), -32768, dtype=np.int16),
        np.full((5, 2, 2), 32768, dtype=np.int32),
    ],
)
def test_a_past_that_cannot_be_is_refused(other: Ints) -> None:
    y = np.zeros((5, 2, 2), dtype=np.int16)
    for past in (Past(other, y), Past(y, other)):
        with pytest.raises(ValueError):
            drawn(5).encode(y, profile=0, quality=0, past=past)
        with pytest.raises(ValueError):
            drawn(5).decode(b"", (2, 2), profile=0, quality=0, past=past)


def test_unsound_inter_arrays_are_named() -> None:
    sound = drawn(5).to_arrays()
    inter = [name for name in sound if name.startswith("inter_")]
    assert len(inter) == 6

    def refused(name: str, array: Ints | None, names: str) -> None:
        arrays = {k: v for k, v in sound.items() if k != name}
        if array is not None:
            arrays[name] = array
        with pytest.raises(ModelMismatch, match=names):
            EntropyModel.from_arrays(arrays)

    for name in inter:
        array = sound[name]
        if name != "inter_order":  # without it the others are arrays that nobody knows
            refused(name, None, name)
        for bad in (array.astype(np.int64), array[None]):
            refused(name, bad, "inter_")
        refused(name, np.full_like(array, 200 if name == "inter_profiles" else 0), name)
    refused("inter_order", None, "not exactly")
    for name in ("inter_counts", "inter_values"):
        off_by_one = sound[name].copy()
        off_by_one.flat[0] += 1
        refused(name, off_by_one, name)


def test_inter_tables_of_another_number_of_channels_are_refused() -> None:
    arrays = drawn(5).to_arrays()
    other = {k: v for k, v in drawn(6).to_arrays().items() if k.startswith("inter_")}
    with pytest.raises(ModelMismatch, match="another number of channels"):
        EntropyModel.from_arrays(arrays | other)


def test_tables_survive_their_arrays() -> None:
    rng = np.random.default_rng(6)
    chain = any_chain(rng, 5, 3)
    again = EntropyModel.from_arrays(drawn(5).to_arrays())
    for at in range(3):
        one, other = (
            tables.encode(chain[at], profile=0, quality=9, past=past_of(chain, at))
            for tables in (again, drawn(5))
        )
        assert one == other


def test_tables_are_small() -> None:
    arrays = drawn_tables(np.random.default_rng(0), 64).to_arrays()
    assert sum(array.nbytes for array in arrays.values()) < 2_500_000


def test_a_profile_without_tables_reads_those_of_the_first() -> None:
    rng = np.random.default_rng(7)
    past = any_latent(rng, 5)
    y = any_next(rng, past)
    coded = [
        drawn(5).encode(y, profile=profile, quality=77, past=Past(past, past))
        for profile in (0, 1, 9)
    ]
    assert coded[2] == coded[0] != coded[1]


def test_damaged_bodies_end_in_integers_or_an_error() -> None:
    rng = np.random.default_rng(8)
    tables = scene_model(16)
    before, last, y = scene(rng, 16, 8, 8, 3, 0.1)
    body = tables.encode(y, profile=0, quality=50, past=Past(last, before))
    caught = 0
    for _ in range(300):
        bad = bytearray(body)
        bad[rng.integers(len(bad))] ^= int(rng.integers(1, 256))
        del bad[rng.integers(len(bad)) + 1 :]
        try:
            got = tables.decode(bytes(bad), (8, 8), profile=0, quality=50, past=Past(last, before))
            assert got.shape == (16, 8, 8)
        except CorruptStream:
            caught += 1
    assert caught > 150


def test_a_change_beyond_the_largest_integer_is_corrupt() -> None:
    rng = np.random.default_rng(9)
    reasons = set()
    for sign in (1, -1):
        edge = np.full((16, 4, 4), sign * MOST, dtype=np.int16)
        for _ in range(40):
            try:
                got = drawn(16).decode(
                    rng.bytes(400), (4, 4), profile=0, quality=0, past=Past(edge, edge)
                )
                assert np.abs(got.astype(np.int64)).max() <= MOST
            except CorruptStream as error:
                reasons.add(str(error))
    assert "an integer is out of range" in reasons
