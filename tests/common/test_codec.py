from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.bitstream import MAX_CHAIN, Kind, crc32c, pack, pack_inter, unpack, unpack_inter
from common.codec import Coded, MachineCodec
from common.coding.contexts import Ints
from common.errors import BrokenChain, CorruptStream, ModelMismatch
from tests.common.latents import any_chain, clustered, drawn, model, scene, scene_model
from tests.fuzz.bitstream import codec, fuzz

SIZE = {"width": 640, "height": 480, "side": 320}
BLANK = np.zeros((8, 15, 20), dtype=np.int16)


def coded_chain(made: MachineCodec, frames: list[Ints], qualities: list[int]) -> list[Coded]:
    """Frames of any size, each a layer after the one before."""
    (_, h, w), (first, *others) = frames[0].shape, qualities
    chain = [made.encode(frames[0], width=16 * w, height=16 * h, side=4096, quality=first)]
    for y, quality in zip(frames[1:], others, strict=True):
        chain.append(made.encode_inter(y, chain[-1], quality=quality))
    return chain


def short_chain(seed: int = 0, length: int = 4) -> list[Coded]:
    frames = scene(np.random.default_rng(seed), 8, 4, 5, length, 0.1)
    return coded_chain(codec(), frames, [60 + 20 * i for i in range(length)])


def test_round_trip() -> None:
    y = clustered(np.random.default_rng(1), 16, 15, 20, 0.02)
    made = MachineCodec(model(16), 0x1234)
    coded = made.encode(y, **SIZE, quality=77, profile=1, ivn=5)
    back = made.decode(coded.data)
    np.testing.assert_array_equal(back.y, y)
    np.testing.assert_array_equal(back.before, y)
    header = back.header
    assert (header.quality, header.profile, header.ivn, header.model) == (77, 1, 5, 0x1234)
    assert (header.width, header.height, header.side) == (640, 480, 320)
    assert header.kind is Kind.MACHINE_INTRA
    assert (back.data, back.place) == (coded.data, 1)
    assert (back.link, back.header) == (coded.link, coded.header)
    assert made.inspect(coded.data) is Kind.MACHINE_INTRA


def test_a_profile_that_codes_a_summary_has_fewer_integers() -> None:
    made = MachineCodec(scene_model(8), 1, factors=(1, 4))
    rng = np.random.default_rng(2)
    for profile, (h, w) in ((0, (15, 20)), (1, (4, 5)), (2, (15, 20))):
        first, then = (clustered(rng, 8, h, w, 0.1) for _ in range(2))
        coded = made.encode(first, **SIZE, quality=99, profile=profile)
        assert made.size(coded.header) == (h, w)
        back = made.decode(coded.data)
        np.testing.assert_array_equal(back.y, first)
        inter = made.encode_inter(then, coded, quality=99)
        np.testing.assert_array_equal(made.decode(inter.data, back).y, then)
        with pytest.raises(ValueError, match="positions"):
            made.encode(first[:, 1:], **SIZE, quality=99, profile=profile)


def test_a_latent_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="positions"):
        codec().encode(np.zeros((8, 20, 15), dtype=np.int16), **SIZE, quality=0)


def test_another_model_is_refused() -> None:
    data = codec().encode(BLANK, **SIZE, quality=0).data
    for read in (codec().decode, codec().inspect):
        read(data)
    other = dataclasses.replace(codec(), model_id=1)
    for read in (other.decode, other.inspect):
        with pytest.raises(ModelMismatch):
            read(data)


def test_another_kind_is_refused() -> None:
    header, body = unpack(codec().encode(BLANK, **SIZE, quality=0).data, None)
    other = pack(dataclasses.replace(header, kind=Kind.AUXILIARY_INTRA), body)
    for read in (codec().decode, codec().inspect):
        with pytest.raises(CorruptStream, match="AUXILIARY_INTRA"):
            read(other)
    for read in (codec().decode, codec().inspect):
        with pytest.raises(CorruptStream):
            read(pack_inter(Kind.AUXILIARY_INTER, 0, 0, body))


def test_a_picture_over_the_limit_is_refused() -> None:
    data = codec().encode(BLANK, **SIZE, quality=0).data
    dataclasses.replace(codec(), max_side=320).decode(data)
    for read in (MachineCodec.decode, MachineCodec.inspect):
        with pytest.raises(CorruptStream, match="more than 319"):
            read(dataclasses.replace(codec(), max_side=319), data)


@settings(max_examples=25, deadline=None)
@given(
    m=st.sampled_from([1, 3, 16, 64]),
    seed=st.integers(0, 2**32 - 1),
    qualities=st.lists(st.integers(0, 255), min_size=1, max_size=MAX_CHAIN),
)
def test_any_chain_comes_back(m: int, seed: int, qualities: list[int]) -> None:
    made = MachineCodec(drawn(m), 7)
    frames = any_chain(np.random.default_rng(seed), m, len(qualities), 2 if m == 64 else 4)
    last: Coded | None = None
    for place, sent in enumerate(coded_chain(made, frames, qualities), 1):
        got = made.decode(sent.data, last)
        kind = Kind.MACHINE_INTRA if last is None else Kind.MACHINE_INTER
        assert made.inspect(sent.data) is got.header.kind is kind
        np.testing.assert_array_equal(got.y, frames[place - 1])
        np.testing.assert_array_equal(got.before, frames[max(place - 2, 0)])
        assert (got.header, got.link, got.place) == (sent.header, sent.link, place)
        assert got.header.quality == qualities[place - 1]
        alone = made.decode(made.alone(got))
        np.testing.assert_array_equal(alone.y, got.y)
        assert alone.header == dataclasses.replace(got.header, kind=Kind.MACHINE_INTRA)
        last = got


def test_an_intra_layer_stands_alone_already() -> None:
    first = short_chain()[0]
    assert codec().alone(first) is first.data


def test_every_wrong_predecessor_is_a_broken_chain() -> None:
    chain, other = short_chain(0), short_chain(1)
    layer = chain[2]
    again = codec().encode_inter(chain[1].y, chain[0], quality=chain[1].header.quality + 1)
    wrong = {
        "none": None,
        "the one before that": chain[0],
        "itself": layer,
        "the next": chain[3],
        "another chain's": other[1],
        "the same integers at another quality": again,
        "the same integers alone": codec().decode(codec().alone(chain[1])),
    }
    for name, last in wrong.items():
        with pytest.raises(BrokenChain):
            assert not codec().decode(layer.data, last), name
    np.testing.assert_array_equal(codec().decode(layer.data, chain[1]).y, layer.y)


def test_the_next_intra_layer_heals_a_broken_chain() -> None:
    chain, other = short_chain(0), short_chain(1)
    with pytest.raises(BrokenChain):
        codec().decode(chain[1].data, other[0])
    healed = codec().decode(chain[0].data, other[0])
    assert healed.place == 1
    np.testing.assert_array_equal(codec().decode(chain[1].data, healed).y, chain[1].y)


def test_a_chain_ends_with_its_fiftieth_layer() -> None:
    rng = np.random.default_rng(2)
    chain = coded_chain(codec(), any_chain(rng, 8, MAX_CHAIN, 2), [9] * MAX_CHAIN)
    full = chain[-1]
    assert full.place == MAX_CHAIN
    with pytest.raises(ValueError, match="more than 50"):
        codec().encode_inter(full.y, full, quality=9)
    longer = codec().encode_inter(full.y, dataclasses.replace(full, place=1), quality=9)
    with pytest.raises(CorruptStream, match="more than 50"):
        codec().decode(longer.data, full)


def test_a_model_without_inter_tables_says_so() -> None:
    plain = MachineCodec(model(8), 0xA55A)
    intra = plain.encode(BLANK, **SIZE, quality=0)
    with pytest.raises(ValueError, match="codes no inter layers"):
        plain.encode_inter(BLANK, intra, quality=0)
    inter = short_chain()[1]
    with pytest.raises(ModelMismatch, match="codes no inter layers"):
        plain.inspect(inter.data)
    with pytest.raises(ModelMismatch, match="codes no inter layers"):
        plain.decode(inter.data, short_chain()[0])


def test_an_inter_layer_that_cannot_be_written() -> None:
    last = codec().encode(BLANK, **SIZE, quality=0)
    with pytest.raises(ValueError, match="another shape"):
        codec().encode_inter(BLANK[:, :-1], last, quality=0)
    for quality in (-1, 256):
        with pytest.raises(ValueError, match="quality"):
            codec().encode_inter(BLANK, last, quality=quality)


def test_damage_to_an_inter_layer_is_seen_before_its_link() -> None:
    chain = short_chain()
    for i in range(8 * len(chain[1].data)):
        bad = bytearray(chain[1].data)
        bad[i // 8] ^= 1 << i % 8
        with pytest.raises((CorruptStream, ModelMismatch)) as caught:
            codec().decode(bytes(bad), chain[0])
        assert caught.type is not BrokenChain
        with pytest.raises((CorruptStream, ModelMismatch)):
            codec().inspect(bytes(bad))


def test_a_link_covers_the_whole_chain() -> None:
    """Two chains that part in their first layer never meet again, though the rest is alike."""
    one = short_chain(0, 3)
    first = codec().encode(one[0].y, width=80, height=64, side=4096, quality=99)
    other = [first]
    for layer in one[1:]:
        quality = layer.header.quality
        other.append(codec().encode_inter(layer.y, other[-1], quality=quality))
    for a, b in zip(one[1:], other[1:], strict=True):
        assert unpack_inter(a.data)[::2] == unpack_inter(b.data)[::2]  # quality and body
        assert a.link != b.link
    assert crc32c(one[1].data[:-2]) & 0xFFFF == one[1].link


def test_mutated_layers_end_in_a_typed_error_or_a_layer() -> None:
    outcomes = fuzz(seconds=1.5, seed=1)
    assert outcomes.counts["CorruptStream"] > 30
    assert outcomes.counts["BrokenChain"] > 0
    assert outcomes.counts["decoded"] > 30  # checksums and links are often made right again
    assert 0 < outcomes.time_share <= 1
    assert 0 < outcomes.memory_share <= 1
