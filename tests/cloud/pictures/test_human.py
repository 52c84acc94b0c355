from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cloud.models.prior import Prior
from cloud.pictures.human import HumanDecoder, Pixels
from cloud.pictures.tiles import Tiles
from cloud.pictures.values import Reference
from common.codec import Coded
from common.errors import CorruptStream, DecoderUnavailable, ModelMismatch, WrongBase
from edge.capture.picture import Picture
from edge.coding.encoder import Encoder
from edge.coding.weights import load_weights
from edge.pictures.auxiliary import AuxiliaryEncoder
from edge.rate import Plan
from tests.human import made, tiny_human
from tests.weights import tiny_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    tiny_weights(folder)
    tiny_human(folder)
    return folder


@pytest.fixture(scope="module")
def decoder(weights: Path) -> HumanDecoder:
    return HumanDecoder.load(weights / "human", "cpu")


def picture(seed: int, height: int = 96, width: int = 128) -> Pixels:
    return made(np.random.default_rng(seed), height, width)


def coded(weights: Path, pixels: Pixels, side: int = 640) -> Coded:
    encoder = Encoder(load_weights(weights), threads=1, side=side)
    return encoder.coded(encoder.analyse(Picture.whole(pixels)), Plan(128, 128, None))


def auxiliary(weights: Path, pixels: Pixels, base: Coded, quality: int = 200) -> bytes:
    encoder = AuxiliaryEncoder.load(weights)
    assert encoder is not None
    return encoder.encode(pixels, base, quality)


def error(a: Pixels, b: Pixels) -> float:
    return float(np.sqrt(((a.astype(float) - b) ** 2).mean()))


def test_a_machine_layer_alone_makes_a_picture_of_its_source(
    weights: Path, decoder: HumanDecoder
) -> None:
    base = coded(weights, picture(0, 90, 127))
    restored = decoder.restore(base)
    assert restored.pixels.shape == (90, 127, 3)
    assert restored.pixels.dtype == np.uint8
    assert restored.seen is None
    assert restored.notes == ()


def test_an_auxiliary_layer_brings_the_picture_near(weights: Path, decoder: HumanDecoder) -> None:
    for size in ((96, 128), (90, 127)):
        pixels = picture(1, *size)
        base = coded(weights, pixels)
        errors = [
            error(decoder.restore(base, auxiliary(weights, pixels, base, q)).pixels, pixels)
            for q in (0, 120, 250)
        ]
        assert errors == sorted(errors, reverse=True)
        assert errors[-1] < 8  # what half the colour's sharpness is, about


def test_a_picture_scaled_down_for_the_way_comes_back_as_large(
    weights: Path, decoder: HumanDecoder
) -> None:
    pixels = picture(2, 192, 256)
    base = coded(weights, pixels, side=128)
    encoder = AuxiliaryEncoder.load(weights, side=160)
    assert encoder is not None
    restored = decoder.restore(base, encoder.encode(pixels, base, 220))
    assert restored.pixels.shape == pixels.shape


def test_steps_are_told_of_and_the_seed_decides(weights: Path, decoder: HumanDecoder) -> None:
    pixels = picture(3)
    base = coded(weights, pixels)
    told: list[tuple[int, int]] = []
    seen: list[Pixels] = []

    def on_step(done: int, of: int, now: Pixels) -> None:
        told.append((done, of))
        seen.append(now)

    first = decoder.restore(base, steps=3, fidelity=0.0, seed=5, on_step=on_step)
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
    np.testing.assert_array_equal(seen[0], decoder.restore(base).pixels)
    np.testing.assert_array_equal(seen[-1], first.pixels)
    again = decoder.restore(base, steps=3, fidelity=0.0, seed=5)
    np.testing.assert_array_equal(first.pixels, again.pixels)
    other = decoder.restore(base, steps=3, fidelity=0.0, seed=6)
    assert (first.pixels != other.pixels).any()
    faithful = decoder.restore(base, steps=3, fidelity=1.0, seed=5)
    np.testing.assert_array_equal(faithful.pixels, seen[0])  # a fresh prior moves nothing


def test_a_reference_says_where_it_was_used(weights: Path, decoder: HumanDecoder) -> None:
    now, before = picture(4), picture(5)
    base = coded(weights, now)
    restored = decoder.restore(base, reference=Reference(before, coded(weights, before)))
    assert restored.seen is not None
    assert restored.seen.shape == (12, 16)
    assert 0 <= restored.seen.min() <= restored.seen.max() <= 1


def test_who_is_told_can_stop_it(weights: Path, decoder: HumanDecoder) -> None:
    class Enough(Exception):
        pass

    calls = []

    def on_step(done: int, of: int, now: Pixels) -> None:
        calls.append(done)
        if done == 1:
            raise Enough

    with pytest.raises(Enough):
        decoder.restore(coded(weights, picture(6)), steps=8, on_step=on_step)
    assert calls == [0, 1]


def test_layers_that_do_not_fit_are_named(
    weights: Path, decoder: HumanDecoder, tmp_path: Path
) -> None:
    pixels = picture(7)
    base = coded(weights, pixels)
    layer = auxiliary(weights, pixels, base)
    with pytest.raises(WrongBase):
        decoder.restore(coded(weights, picture(8)), layer)
    with pytest.raises(CorruptStream):
        decoder.restore(base, layer[:-3])
    tiny_weights(tmp_path, 1)
    with pytest.raises(ModelMismatch, match="this decoder reads"):
        decoder.restore(coded(tmp_path, pixels))
    tiny_human(tmp_path)
    with pytest.raises(ModelMismatch):
        decoder.restore(base, auxiliary(tmp_path, pixels, coded(tmp_path, pixels)))


@pytest.mark.parametrize("steps", [-1, 9])
def test_impossible_steps(weights: Path, decoder: HumanDecoder, steps: int) -> None:
    with pytest.raises(ValueError, match=r"outside 0\.\.8"):
        decoder.restore(coded(weights, picture(9)), steps=steps)


@pytest.mark.parametrize("fidelity", [-0.1, 1.1, float("nan")])
def test_impossible_fidelity(weights: Path, decoder: HumanDecoder, fidelity: float) -> None:
    with pytest.raises(ValueError, match=r"outside 0\.\.1"):
        decoder.restore(coded(weights, picture(9)), fidelity=fidelity)


def test_a_folder_without_a_prior_makes_previews_only(tmp_path: Path) -> None:
    tiny_weights(tmp_path)
    tiny_human(tmp_path, prior=False)
    decoder = HumanDecoder.load(tmp_path / "human", "cpu")
    base = coded(tmp_path, picture(10))
    decoder.restore(base)
    with pytest.raises(DecoderUnavailable, match="no diffusion prior"):
        decoder.restore(base, steps=1)


def test_a_folder_that_is_none_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no human decoder"):
        HumanDecoder.load(tmp_path)
    tiny_weights(tmp_path)
    folder = tiny_human(tmp_path)
    whole = (folder / "fusion.safetensors").read_bytes()
    (folder / "fusion.safetensors").write_bytes(whole[:-1])
    with pytest.raises(ModelMismatch, match=r"fusion\.safetensors"):
        HumanDecoder.load(folder)
    (folder / "fusion.safetensors").unlink()
    with pytest.raises(ModelMismatch, match="No such file"):
        HumanDecoder.load(folder)


def test_a_prior_that_is_damaged_exchanged_or_not_whole_is_refused(tmp_path: Path) -> None:
    tiny_weights(tmp_path)
    folder = tiny_human(tmp_path)
    HumanDecoder.load(folder, "cpu")
    weights = folder / "prior" / "unet" / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ModelMismatch, match=r"prior/unet/diffusion.*its hash differs"):
        HumanDecoder.load(folder, "cpu")
    weights.unlink()
    with pytest.raises(ModelMismatch, match=r"prior/unet/diffusion.*is missing"):
        HumanDecoder.load(folder, "cpu")
    weights.write_bytes(whole)
    (folder / "prior" / "unet" / "more.bin").write_bytes(b"")
    with pytest.raises(ModelMismatch, match=r"prior/unet/more\.bin is not a file of model"):
        HumanDecoder.load(folder, "cpu")


def test_a_prior_that_the_manifest_does_not_know_is_refused(tmp_path: Path) -> None:
    tiny_weights(tmp_path)
    folder = tiny_human(tmp_path, prior=False)
    Prior.fresh((32, 32, 32)).save(folder / "prior")
    with pytest.raises(ModelMismatch, match=r"prior/.* is not a file of model tiny-human-0"):
        HumanDecoder.load(folder, "cpu")


def test_tiles_are_blended_without_a_seam() -> None:
    torch.manual_seed(0)
    network = torch.nn.Conv2d(4, 2, 5, padding=2)

    def run(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        grown = torch.nn.functional.interpolate(y, scale_factor=16)
        out: torch.Tensor = network(torch.cat([x, grown], 1))
        return out

    x, y = torch.rand(1, 3, 1056, 1088), torch.rand(1, 1, 66, 68)
    with torch.inference_mode():
        notes: list[str] = []
        tiled = Tiles(notes).run(run, x, y)
        whole = run(x, y)
    inside = (slice(None), slice(None), slice(4, -4), slice(4, -4))
    assert torch.allclose(tiled[inside], whole[inside], atol=0.02)
    assert notes == []


def test_a_gpu_that_is_short_of_memory_is_given_tiles() -> None:
    sizes: list[int] = []

    def run(x: torch.Tensor) -> torch.Tensor:
        sizes.append(x.shape[2] * x.shape[3])
        if len(sizes) == 1:
            raise torch.cuda.OutOfMemoryError("short")
        return x * 2

    notes: list[str] = []
    tiles = Tiles(notes)
    x = torch.rand(1, 3, 800, 1000)
    assert torch.allclose(tiles.run(run, x), x * 2)
    assert len(notes) == 1
    assert "tiles" in notes[0]
    tiles.run(run, x)
    assert len(notes) == 1
    assert sizes.count(800 * 1000) == 1
