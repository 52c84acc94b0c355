from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.auxiliary import AuxiliaryCodec
from common.codec import Coded
from common.errors import BadPicture, BadSettings, ModelMismatch
from common.manifest import Manifest
from edge.capture.picture import Picture, Pixels
from edge.coding.encoder import Encoder
from edge.coding.weights import load_weights
from edge.pictures.auxiliary import AuxiliaryEncoder
from edge.rate import Plan
from tests.human import made, tiny_human, tiny_tables
from tests.weights import tiny_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    tiny_weights(folder)
    tiny_human(folder, prior=False)
    return folder


def opened(weights: Path, side: int = 640) -> AuxiliaryEncoder:
    encoder = AuxiliaryEncoder.load(weights, side=side)
    assert encoder is not None
    return encoder


def coded(weights: Path, pixels: Pixels) -> Coded:
    encoder = Encoder(load_weights(weights), threads=1)
    return encoder.coded(encoder.analyse(Picture.whole(pixels)), Plan(128, 128, None))


def test_more_quality_is_more_bytes(weights: Path) -> None:
    pixels = made(np.random.default_rng(0))
    base = coded(weights, pixels)
    sizes = [len(opened(weights).encode(pixels, base, q)) for q in (0, 60, 120, 180, 255)]
    assert sizes == sorted(set(sizes))
    model = Manifest.parse((weights / "human" / "manifest.json").read_bytes()).model_id
    header, q = AuxiliaryCodec(tiny_tables(), model).decode(
        opened(weights).encode(pixels, base, 120), base
    )
    assert header.quality == 120
    assert q.any()


def test_a_larger_picture_is_scaled_to_the_side(weights: Path) -> None:
    pixels = made(np.random.default_rng(1), 192, 256)
    base = coded(weights, pixels)
    data = opened(weights, 128).encode(pixels, base, 100)
    model = Manifest.parse((weights / "human" / "manifest.json").read_bytes()).model_id
    header, _ = AuxiliaryCodec(tiny_tables(), model).decode(data, base)
    assert header.working_size == (128, 96)
    assert (header.width, header.height) == (256, 192)


def test_weights_without_a_human_decoder_have_no_encoder(tmp_path: Path) -> None:
    tiny_weights(tmp_path)
    assert AuxiliaryEncoder.load(tmp_path) is None


def test_what_cannot_be_coded_is_refused(weights: Path, tmp_path: Path) -> None:
    pixels = made(np.random.default_rng(2))
    base = coded(weights, pixels)
    with pytest.raises(BadPicture, match="bytes"):
        opened(weights).encode(pixels[..., 0], base, 100)
    with pytest.raises(BadSettings, match="quality"):
        opened(weights).encode(pixels, base, 256)
    with pytest.raises(BadSettings, match="side"):
        opened(weights, 100)
    tiny_weights(tmp_path, 1)
    with pytest.raises(ModelMismatch, match="builds on"):
        opened(weights).encode(pixels, coded(tmp_path, pixels), 100)


def test_tables_that_are_not_the_manifests_are_refused(tmp_path: Path) -> None:
    tiny_weights(tmp_path)
    folder = tiny_human(tmp_path, prior=False)
    (folder / "auxiliary.npz").write_bytes(b"x")
    with pytest.raises(ModelMismatch, match=r"auxiliary\.npz"):
        AuxiliaryEncoder.load(tmp_path)
    (folder / "auxiliary.npz").unlink()
    with pytest.raises(ModelMismatch, match="No such file"):
        AuxiliaryEncoder.load(tmp_path)


def test_both_layers_of_a_photograph(weights: Path, tmp_path: Path) -> None:
    photo = tmp_path / "a.png"
    Image.fromarray(made(np.random.default_rng(5))).save(photo)
    command = [sys.executable, "-m", "edge.main", "encode", str(photo), "-o", str(tmp_path)]
    both = [*command, "--layers", "both", "--auxiliary-quality", "0.8", "--weights", str(weights)]
    done = subprocess.run(both, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    layer, auxiliary = tmp_path / "a.glimpse", tmp_path / "a.auxiliary"
    assert first.startswith(f"{layer}  128 x 96  {layer.stat().st_size} bytes")
    assert second.startswith(f"{auxiliary}  {auxiliary.stat().st_size} bytes")
    base = Encoder(load_weights(weights), threads=1).codec.decode(layer.read_bytes())
    model = Manifest.parse((weights / "human" / "manifest.json").read_bytes()).model_id
    header, _ = AuxiliaryCodec(tiny_tables(), model).decode(auxiliary.read_bytes(), base)
    assert header.quality == 204


def test_weights_that_make_none_say_so(tmp_path: Path) -> None:
    tiny_weights(tmp_path / "weights")
    photo = tmp_path / "a.png"
    Image.fromarray(made(np.random.default_rng(5))).save(photo)
    command = [sys.executable, "-m", "edge.main", "encode", str(photo), "-o", str(tmp_path)]
    both = [*command, "--layers", "both", "--weights", str(tmp_path / "weights")]
    done = subprocess.run(both, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "no auxiliary layers" in done.stderr
    assert not (tmp_path / "a.glimpse").exists()
