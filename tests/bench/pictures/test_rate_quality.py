from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.pictures import ablation
from bench.pictures import rate_quality as bench
from bench.pictures.contact_sheet import contact_sheet
from bench.pictures.decode import decode
from bench.pictures.plot import plot
from bench.pictures.realism import distance, patches
from common.coding.blocks import analyse
from tests.human import made, tiny_human
from tests.weights import tiny_weights
from train.auxiliary import Sight


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    tiny_weights(folder)
    tiny_human(folder)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for i in range(2):
        Image.fromarray(made(rng, 192, 208)).save(folder / f"{i}.png")
    return folder


def test_the_figures_are_of_the_files(
    weights: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this very process, so that fewer settings can be asked for."""
    monkeypatch.setattr(bench, "QUALITIES", (0, 120, 240))
    monkeypatch.setattr(bench, "STEPS", (1,))
    monkeypatch.setattr(bench, "PEERS", {"jpeg": (5, 50, 90), "webp": (0, 50), "avif": (20, 60)})
    monkeypatch.setattr(bench, "ProcessPoolExecutor", Here)
    figures = bench.rate_quality(pictures, tmp_path, weights, draw_count=3)
    written = json.loads((tmp_path / f"rate_quality_{pictures.name}.json").read_text())
    assert written["points"] == figures["points"]
    points = {(p["codec"], p["setting"], p["steps"]): p for p in figures["points"]}
    assert len(points) == len(figures["points"])
    original = points["original", "", 0]
    assert original["psnr"] == 99
    assert original["swd"] == 0
    ours = [points[bench.OURS, f"q{q}", 0] for q in (0, 120, 240)]
    assert [p["psnr"] for p in ours] == sorted(p["psnr"] for p in ours)
    assert [p["mean_bytes"] for p in ours] == sorted(p["mean_bytes"] for p in ours)
    alone = points[bench.MACHINE, "", 0]
    assert alone["mean_bytes"] < ours[0]["mean_bytes"]
    assert alone["bpp"] == pytest.approx(8 * alone["mean_bytes"] / (192 * 208), abs=1e-4)
    assert figures["bd_rate"]["psnr"]["jpeg"]["percent"] is not None
    plot(figures, tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as drawn:
        assert drawn.width > 500


class Here:
    """What a pool does, without one."""

    def __init__(
        self, jobs: int, context: object, begin: object, arguments: tuple[object, ...]
    ) -> None:
        bench._ours.clear()
        begin(*arguments)  # type: ignore[operator]

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *error: object) -> None:
        bench._ours.clear()

    def map(self, work: object, each: object) -> list[object]:
        return [work(one) for one in each]  # type: ignore[operator, attr-defined]


def test_a_peer_is_taken_at_the_best_that_fits() -> None:
    pixels = made(np.random.default_rng(1), 192, 208)
    sizes = []
    for budget in (100_000, 2000, 700):
        size, shown = bench.matched(pixels, "webp", budget)
        assert size <= budget
        assert shown.shape == pixels.shape
        sizes.append(size)
    assert sizes == sorted(sizes, reverse=True)
    size, _ = bench.matched(pixels, "jpeg", 10)
    assert size > 10  # no JPEG is as small; its smallest stands there


def test_realism_sees_blur_and_noise_and_not_place() -> None:
    rng = np.random.default_rng(2)
    pixels = made(rng, 160, 160)
    small = Image.fromarray(pixels).resize((40, 40))
    blurred = np.asarray(small.resize((160, 160), Image.Resampling.BILINEAR))
    noisy = (pixels + rng.normal(0, 12, pixels.shape)).clip(0, 255).astype(np.uint8)
    real = [patches(pixels, 0)]
    assert distance(real, real) == 0
    mirrored = distance(real, [patches(pixels[:, ::-1].copy(), 0)])
    for worse in (blurred, noisy):
        assert distance(real, [patches(worse, 0)]) > mirrored


def test_weights_without_a_human_decoder(pictures: Path, tmp_path: Path) -> None:
    tiny_weights(tmp_path)
    with pytest.raises(FileNotFoundError, match="no human decoder"):
        bench.rate_quality(pictures, tmp_path, tmp_path)


def test_a_folder_without_pictures(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no pictures"):
        bench.rate_quality(tmp_path, tmp_path, weights)


def test_a_contact_sheet_is_a_picture(weights: Path, pictures: Path, tmp_path: Path) -> None:
    contact_sheet(sorted(pictures.iterdir()), weights, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 1500
        assert sheet.height > 400


@pytest.mark.slow
def test_decoding_is_timed(weights: Path, pictures: Path, tmp_path: Path) -> None:
    figures = decode(next(pictures.iterdir()), tmp_path, weights, repeats=1)
    assert {p["steps"] for p in figures["points"]} == {0, 1, 4, 8}
    assert all(p["seconds"] > 0 and p["peak_mb"] > 50 for p in figures["points"])


def test_the_base_is_measured_with_and_without(
    weights: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablation, "QUALITIES", (40, 160))
    monkeypatch.setattr(ablation, "sights", lambda *_: drawn_sights())
    figures = ablation.ablation(pictures, [pictures], tmp_path, tmp_path, weights, most=1)
    for point in figures["points"]:
        assert point["together"]["bytes"] > 0
        assert point["apart"]["psnr"] > 5
    assert json.loads((tmp_path / "ablation.json").read_text())["images"] == 1


def drawn_sights() -> list[Sight]:
    """Of made pictures: what a machine run, which takes minutes, would have been asked for."""
    rng = np.random.default_rng(4)
    base = np.ones((6, 8, 2), np.int32)
    return [Sight(analyse(made(rng)), base, int(q)) for q in rng.integers(0, 256, 4)]
