"""`glimpse-cloud view`: files in, a picture out, with the real decoder and random weights."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cloud.main import main
from edge.capture.picture import Picture
from edge.coding.encoder import Encoder
from edge.coding.weights import load_weights
from edge.pictures.auxiliary import AuxiliaryEncoder
from edge.pictures.still import make_still
from edge.rate import Plan
from tests.human import made, tiny_human
from tests.weights import tiny_weights

Run = Callable[..., tuple[int, str, str]]


@dataclass(frozen=True)
class Kit:
    """weights; photo and still with their layers, and the photo's auxiliary layer, as files."""

    weights: Path
    photo: Path
    layer: Path
    auxiliary: Path
    still: Path
    sizes: tuple[int, int]


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    folder = tmp_path_factory.mktemp("view")
    weights = folder / "weights"
    tiny_weights(weights, detector=True)
    tiny_human(weights)
    encoder = Encoder(load_weights(weights), threads=1)
    more = AuxiliaryEncoder.load(weights)
    assert more is not None
    for seed, name in enumerate(("photo", "still")):
        pixels = made(np.random.default_rng(seed), 168, 192)
        Image.fromarray(pixels).save(folder / f"{name}.png")
        base = encoder.coded(encoder.analyse(Picture.whole(pixels)), Plan(128, 128, None))
        (folder / f"{name}.glimpse").write_bytes(base.data)
        (folder / f"{name}.aux").write_bytes(more.encode(pixels, base, 200))
    names = ("photo.png", "photo.glimpse", "photo.aux", "still.png")
    photo, layer, auxiliary, still = (folder / name for name in names)
    sizes = layer.stat().st_size, auxiliary.stat().st_size
    return Kit(weights, photo, layer, auxiliary, still, sizes)


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kit: Kit, tmp_path: Path
) -> Run:
    """The command in this process: (exit code, out, err). It writes out.png."""
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)

    def run(*arguments: object) -> tuple[int, str, str]:
        common = ["--weights", kit.weights, "--device", "cpu", "-o", tmp_path / "out.png"]
        words = ["glimpse-cloud", "view", *arguments, *common]
        monkeypatch.setattr("sys.argv", list(map(str, words)))
        with pytest.raises(SystemExit) as ended:
            main()
        return (int(ended.value.code or 0), *capsys.readouterr())

    return run


def said(path: Path) -> dict[str, object]:
    with Image.open(path) as picture:
        assert picture.size == (192, 168)
        found: dict[str, object] = json.loads(picture.info["glimpse"])
    return found


def test_the_machine_layer_alone(run: Run, kit: Kit, tmp_path: Path) -> None:
    code, out, _ = run(kit.layer)
    assert code == 0
    bpp = kit.sizes[0] * 8 / (192 * 168)
    assert f"192x168  {kit.sizes[0]} B machine  {bpp:.4f} bpp  tiny-human-0-" in out
    about = said(tmp_path / "out.png")
    assert (about["generated"], about["steps"], about["fidelity"]) == (False, 0, 1.0)


def test_with_all_there_is_and_compared(run: Run, kit: Kit, tmp_path: Path) -> None:
    code, out, _ = run(
        kit.layer, "--auxiliary", kit.auxiliary, "--reference", kit.still, "--steps", 2,
        "--seed", 7, "--fidelity", 0.5, "--like", kit.photo,
    )  # fmt: skip
    assert code == 0
    assert f"{kit.sizes[0]} B machine + {kit.sizes[1]} B auxiliary" in out
    assert f"{sum(kit.sizes) * 8 / (192 * 168):.4f} bpp" in out
    assert re.search(r"seen in the reference: \d+%", out)
    [figures] = re.findall(r"PSNR ([\d.]+) dB  MS-SSIM ([\d.]+)  SSIMULACRA2 (-?[\d.]+)", out)
    assert float(figures[0]) > 10
    about = said(tmp_path / "out.png")
    assert (about["steps"], about["seed"], about["generated"]) == (2, 7, True)
    layers = about["layers"]
    assert isinstance(layers, dict)
    assert layers["auxiliary"]["bytes"] == kit.sizes[1]
    assert layers["reference"]["bytes"] == kit.still.stat().st_size
    assert about["seen"] is not None


def test_a_still_of_a_camera_brings_its_layer_along(run: Run, kit: Kit, tmp_path: Path) -> None:
    with Image.open(kit.still) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    layer = kit.still.with_suffix(".glimpse").read_bytes()
    still = tmp_path / "still.avif"
    still.write_bytes(make_still(pixels, 95, layer))
    assert run(kit.layer, "--reference", kit.still)[0] == 0
    with Image.open(tmp_path / "out.png") as picture:
        wanted = np.asarray(picture).astype(int)
    code, out, _ = run(kit.layer, "--reference", still)
    assert code == 0
    assert re.search(r"seen in the reference: \d+%", out)
    with Image.open(tmp_path / "out.png") as picture:
        assert np.abs(np.asarray(picture) - wanted).mean() < 6  # what AVIF loses
    still.write_bytes(make_still(pixels, 95, b"rot"))
    code, _, err = run(kit.layer, "--reference", still)
    assert code == 3
    assert "Traceback" not in err


def test_what_is_wrong_is_said_in_a_line(run: Run, kit: Kit, tmp_path: Path) -> None:
    other = kit.layer.with_name("still.aux")
    damaged = tmp_path / "damaged.aux"
    damaged.write_bytes(kit.auxiliary.read_bytes()[:-2])
    small = tmp_path / "small.png"
    Image.new("RGB", (20, 20)).save(small)
    for arguments, code, reason in (
        ([tmp_path / "none"], 3, "No such file"),
        ([kit.photo], 3, ""),
        ([kit.layer, "--auxiliary", other], 3, "another machine layer"),
        ([kit.layer, "--auxiliary", damaged], 3, ""),
        ([kit.layer, "--reference", small], 3, "small.glimpse"),
        ([kit.layer, "--like", small], 3, "cannot be compared"),
        ([kit.layer, "--human", tmp_path], 3, "no human decoder"),
        ([kit.layer, "--steps", 9], 2, "steps"),
        ([kit.layer, "--fidelity", 2], 2, "fidelity"),
    ):
        found, _, err = run(*arguments)
        assert found == code, (arguments, err)
        assert reason in err
        assert "Traceback" not in err
    assert not (tmp_path / "out.png").exists()


def test_weights_without_a_prior_have_no_steps(run: Run, kit: Kit, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    tiny_weights(plain, detector=True)
    human = tiny_human(plain, prior=False)
    code, _, err = run(kit.layer, "--human", human, "--steps", 1)
    assert (code, "no diffusion prior" in err) == (3, True)
    assert run(kit.layer, "--human", human)[0] == 0
