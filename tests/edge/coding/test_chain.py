from __future__ import annotations

import numpy as np
import pytest

from common.bitstream import Kind, is_inter
from common.codec import Coded, MachineCodec
from common.coding.temporal import usual_hold
from common.errors import BadSettings
from edge.capture.picture import Picture
from edge.coding.chain import Chain
from edge.coding.encoder import Analysis, Encoder
from edge.coding.weights import EdgeWeights
from edge.rate import Plan
from tests.weights import photograph

FREE = Plan(120, 120)


@pytest.fixture(scope="module")
def encoder(weights: EdgeWeights) -> Encoder:
    return Encoder(weights, threads=1, side=256)


@pytest.fixture(scope="module")
def frames(encoder: Encoder) -> list[Analysis]:
    """A still scene in which something walks, with noise."""
    rng = np.random.default_rng(4)
    scene = photograph(rng, 192, 256)
    made = []
    for t in range(12):
        picture = scene + rng.normal(0, 1, scene.shape)
        picture[60:120, 8 * t : 8 * t + 30] = (200, 40, 40)
        pixels = picture.clip(0, 255).astype(np.uint8)
        made.append(encoder.analyse(Picture.whole(pixels)))
    return made


def read(weights: EdgeWeights, layers: list[Coded]) -> list[Coded]:
    codec = MachineCodec(weights.entropy, weights.manifest.model_id)
    last: Coded | None = None
    out = []
    for layer in layers:
        last = codec.decode(layer.data, last)
        out.append(last)
    return out


def test_a_chain_is_read_as_it_was_coded(
    encoder: Encoder, weights: EdgeWeights, frames: list[Analysis]
) -> None:
    chain = Chain(encoder, hold=0.5)
    coded = [chain.code(frame, FREE) for frame in frames]
    assert [c.place for c in coded] == list(range(1, 13))
    for made, back, frame in zip(coded, read(weights, coded), frames, strict=True):
        np.testing.assert_array_equal(made.y, back.y)
        np.testing.assert_array_equal(back.y, encoder.integers(frame, 120 / 255))
        assert back.header.kind is (Kind.MACHINE_INTRA if back.place == 1 else Kind.MACHINE_INTER)
    intra = [len(encoder.layer(frame, 120 / 255)) for frame in frames]
    assert sum(len(c.data) for c in coded[1:]) < 0.7 * sum(intra[1:])


def test_holding_makes_it_shorter(encoder: Encoder, frames: list[Analysis]) -> None:
    sizes = []
    for hold in (0.5, 0.7, 0.9):
        chain = Chain(encoder, hold=hold)
        sizes.append(sum(len(chain.code(frame, FREE).data) for frame in frames))
    assert sizes[0] > sizes[1] > sizes[2]


def test_the_usual_hold_grows_with_quality(encoder: Encoder, frames: list[Analysis]) -> None:
    holds = [usual_hold(quality) for quality in range(256)]
    assert holds == sorted(holds)
    assert [holds[0], holds[-1]] == pytest.approx([0.6, 0.9])
    usual, same = Chain(encoder), Chain(encoder, hold=usual_hold(FREE.best))
    for frame in frames:
        assert usual.code(frame, FREE).data == same.code(frame, FREE).data


@pytest.mark.parametrize("every", [1, 2, 5])
def test_an_intra_layer_comes_as_often_as_asked(
    encoder: Encoder, frames: list[Analysis], every: int
) -> None:
    chain = Chain(encoder, key_every=every)
    inter = [is_inter(chain.code(frame, FREE).data) for frame in frames]
    assert inter == [i % every != 0 for i in range(len(frames))]


def test_a_broken_chain_begins_anew_once(encoder: Encoder, frames: list[Analysis]) -> None:
    chain = Chain(encoder)
    kinds = []
    for i, frame in enumerate(frames[:6]):
        if i == 3:
            chain.break_off()
        kinds.append(is_inter(chain.code(frame, FREE).data))
    assert kinds == [False, True, True, False, True, True]


def test_another_size_another_profile_or_another_scene_begins_anew(
    encoder: Encoder, frames: list[Analysis]
) -> None:
    chain = Chain(encoder)
    rng = np.random.default_rng(9)
    other = encoder.analyse(Picture.whole(photograph(rng, 192, 256)[::-1, ::-1]))
    small = encoder.analyse(Picture.whole(photograph(rng, 96, 128)))
    assert not is_inter(chain.code(frames[0], FREE).data)
    assert not is_inter(chain.code(small, FREE).data)
    assert not is_inter(chain.code(frames[0], FREE).data)
    coded = chain.code(other, FREE)
    alone = encoder.coded(other, FREE)
    assert len(coded.data) <= len(alone.data)  # a cut never costs more than an intra layer


def test_weights_without_inter_tables(weights: EdgeWeights, frames: list[Analysis]) -> None:
    arrays = {k: v for k, v in weights.entropy.to_arrays().items() if not k.startswith("inter_")}
    entropy = type(weights.entropy).from_arrays(arrays)
    bare = EdgeWeights(weights.manifest, weights.encoder, entropy, weights.log_gain)
    chain = Chain(Encoder(bare, threads=1, side=256))
    assert not any(is_inter(chain.code(frame, FREE).data) for frame in frames[:3])


@pytest.mark.parametrize("every", [0, 51])
def test_bad_settings(encoder: Encoder, every: int) -> None:
    with pytest.raises(BadSettings, match="key_every"):
        Chain(encoder, key_every=every)
