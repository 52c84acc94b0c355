from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from common.bitstream import unpack
from common.codec import MachineCodec
from common.errors import BadPicture, BadSettings, ModelMismatch
from common.geometry import latent_size, working_size
from edge.capture.picture import Picture
from edge.coding.encoder import Encoder, quantise
from edge.coding.weights import EdgeWeights, load_weights
from edge.rate import Plan
from tests.weights import photograph, tiny_weights


@pytest.fixture(scope="module")
def encoder(weights: EdgeWeights) -> Encoder:
    return Encoder(weights, threads=1, side=256)


def picture(height: int, width: int, seed: int = 1) -> Picture:
    return Picture.whole(photograph(np.random.default_rng(seed), height, width))


def test_what_was_coded_is_what_is_decoded(encoder: Encoder, weights: EdgeWeights) -> None:
    analysis = encoder.analyse(picture(180, 320))
    codec = MachineCodec(weights.entropy, weights.manifest.model_id)
    for quality in (0.0, 0.3, 0.7, 1.0):
        coded = codec.decode(encoder.layer(analysis, quality))
        header = coded.header
        expected = quantise(analysis.y, weights.log_gain[0], round(quality * 255))
        np.testing.assert_array_equal(coded.y, expected)
        assert (header.width, header.height, header.side) == (320, 180, 256)


@pytest.mark.parametrize("size", [(1, 1), (1, 4096), (15, 17), (16, 16), (480, 640), (257, 31)])
def test_any_size(encoder: Encoder, size: tuple[int, int]) -> None:
    height, width = size
    header, _ = unpack(encoder.layer(encoder.analyse(picture(height, width)), 0.5), None)
    assert (header.width, header.height) == (width, height)
    analysis = encoder.analyse(picture(height, width))
    assert analysis.y.shape[1:] == latent_size(*working_size(width, height, 256))


def test_more_quality_is_more_bytes(encoder: Encoder) -> None:
    analysis = encoder.analyse(picture(240, 320))
    sizes = [len(encoder.layer(analysis, quality)) for quality in np.linspace(0, 1, 9)]
    assert sizes == sorted(sizes)
    assert sizes[-1] > 5 * sizes[0]


@pytest.mark.parametrize("most", [60, 100, 300, 500])
def test_the_best_layer_within_so_many_bytes(encoder: Encoder, most: int) -> None:
    analysis = encoder.analyse(picture(240, 320))
    layer = encoder.layer_within(analysis, most)
    assert len(layer) <= most
    quality = unpack(layer, None)[0].quality
    if quality < 255:
        assert len(encoder.layer(analysis, (quality + 1) / 255)) > most


def test_a_size_within_range_is_met_within_a_twentieth() -> None:
    shipped = Encoder(load_weights(), threads=1, side=256)
    for seed in (1, 2):
        analysis = shipped.analyse(picture(240, 320, seed))
        least, largest = (len(shipped.layer(analysis, quality)) for quality in (0, 1))
        assert largest > 5 * least
        for most in np.geomspace(least, largest, 8).astype(int).tolist():
            assert 0.95 * most <= len(shipped.layer_within(analysis, most)) <= most


@pytest.mark.parametrize("most", [60, 200, 450])
def test_a_layer_within_lies_between_two_steps_of_quality(
    encoder: Encoder, weights: EdgeWeights, most: int
) -> None:
    analysis = encoder.analyse(picture(240, 320))
    coded = MachineCodec(weights.entropy, weights.manifest.model_id).decode(
        encoder.layer_within(analysis, most)
    )
    step = coded.header.quality
    coarse, finer = (encoder.integers(analysis, at / 255) for at in (step, step + 1))
    assert np.all((coded.y == coarse) | (coded.y == finer))


def test_the_smallest_layer_where_none_is_small_enough(encoder: Encoder) -> None:
    analysis = encoder.analyse(picture(240, 320))
    assert encoder.layer_within(analysis, 1) == encoder.layer(analysis, 0)


def test_a_planned_layer(encoder: Encoder) -> None:
    analysis = encoder.analyse(picture(240, 320))
    free = encoder.coded(analysis, Plan(200, 10))
    assert (free.data, free.header.quality) == (encoder.layer(analysis, 200 / 255), 200)
    fitting = encoder.coded(analysis, Plan(200, 10, len(free.data) // 8))  # times 4 for a key
    assert len(fitting.data) <= len(free.data) // 2
    assert 10 <= fitting.header.quality == unpack(fitting.data, None)[0].quality < 200
    assert encoder.coded(analysis, Plan(200, 10, 1)).header.quality == 10
    after = encoder.coded(analysis, Plan(200, 10, 100), last=fitting)
    assert len(after.data) <= 100
    assert after.header.quality > fitting.header.quality  # what has changed is soon told


def test_a_picture_scaled_beforehand_gives_the_same_layer(encoder: Encoder) -> None:
    from PIL import Image

    from edge.capture.picture import scale

    whole = picture(300, 400)
    small = np.asarray(scale(Image.fromarray(whole.pixels), (256, 192)))
    early = encoder.layer(encoder.analyse(Picture(small, 400, 300)), 0.5)
    assert early == encoder.layer(encoder.analyse(whole), 0.5)


@pytest.mark.parametrize("shape", [(10, 10), (10, 10, 4), (0, 10, 3), (10, 4097, 3)])
def test_bad_pixels(encoder: Encoder, shape: tuple[int, ...]) -> None:
    with pytest.raises(BadPicture):
        encoder.analyse(Picture.whole(np.zeros(shape, dtype=np.uint8)))


def test_bad_settings(encoder: Encoder, weights: EdgeWeights) -> None:
    with pytest.raises(BadSettings, match="quality"):
        encoder.layer(encoder.analyse(picture(16, 16)), 1.5)
    with pytest.raises(BadSettings, match="side"):
        Encoder(weights, side=100)


def test_gain_between_levels_is_interpolated_exponentially() -> None:
    log_gain = np.log(np.array([[1.0], [4.0]], dtype=np.float32))
    y = np.full((1, 1, 1), 100.0, dtype=np.float32)
    assert quantise(y, log_gain, 0).item() == 100
    assert quantise(y, log_gain, 255).item() == 400
    assert quantise(y, log_gain, 128).item() == pytest.approx(200, abs=1)
    assert quantise(y * 1e6, log_gain, 0).item() == 32767


# ---------------------------------------------------------------- weights


@pytest.mark.parametrize("name", ["encoder.onnx", "tables.npz", "gains.npy"])
def test_a_file_that_is_not_the_manifests_is_named(tmp_path: Path, name: str) -> None:
    tiny_weights(tmp_path)
    data = bytearray((tmp_path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ModelMismatch, match=name):
        load_weights(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ModelMismatch, match=name):
        load_weights(tmp_path)


def test_no_weights(tmp_path: Path) -> None:
    with pytest.raises(ModelMismatch, match=r"manifest\.json: No such file"):
        load_weights(tmp_path)


def test_another_seed_is_another_model(tmp_path: Path) -> None:
    assert tiny_weights(tmp_path / "a", 0).model_id != tiny_weights(tmp_path / "b", 1).model_id


def test_what_drifts_is_held() -> None:
    log_gain = np.zeros((2, 4), dtype=np.float32)
    y = np.array([2.6, 2.9, -0.6, 0.2], dtype=np.float32).reshape(4, 1, 1)
    last = np.array([2, 2, 0, 0], dtype=np.int16).reshape(4, 1, 1)
    assert quantise(y, log_gain, 9, last, 0.5).ravel().tolist() == [3, 3, -1, 0]
    assert quantise(y, log_gain, 9, last, 0.8).ravel().tolist() == [2, 3, 0, 0]
