"""The whole bench on a short made film, with random networks: it measures, whatever they see."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from bench.__main__ import app
from bench.video import clips, points
from bench.video import video as bench_video
from bench.video.codecs import NEVER
from bench.video.video import counted_on, settings
from common.coding.counting import INTER
from common.manifest import Manifest
from tests.bench.films import make_film, make_run
from tests.weights import tiny_weights


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """A film, weights and a pixel detector."""
    folder = tmp_path_factory.mktemp("studio")
    make_film(folder / "yard.mkv", 16)
    tiny_weights(folder / "weights", detector=True)
    make_run(folder / "pixel")
    return folder


def measure(studio, out, *more, clip="yard.mkv"):
    options = ["--clip", str(studio / clip), "--out", str(out), "--jobs", "1"]
    folders = ["--weights", str(studio / "weights"), "--pixel-run", str(studio / "pixel")]
    kept = ["--kept", str(out / "kept")]
    return CliRunner().invoke(app, ["video", *options, *folders, *kept, *more])


@pytest.fixture
def few(monkeypatch):
    """One small grid, and a truth that random networks can have."""
    grids = {
        "x265": bench_video._Grid(("medium",), (), {128: (45, 25)}),
        "svt-av1": bench_video._Grid(("8",), (), {128: (55, 35)}),
    }
    monkeypatch.setattr(bench_video, "_GRIDS", grids)
    monkeypatch.setattr(bench_video, "_ONE_SIDE", 128)
    monkeypatch.setattr(bench_video, "QUALITIES", (0.2, 1.0))
    monkeypatch.setattr(bench_video, "SIDES", (160, 96))
    monkeypatch.setattr(clips, "TRUE_SCORE", 0.006)


def test_all_curves_are_measured(studio, few, tmp_path):
    done = measure(studio, tmp_path)
    assert done.exit_code == 0, done.output
    figures = json.loads((tmp_path / "video.json").read_text())
    (clip,) = figures["clips"]
    assert (clip["clip"], clip["size"], clip["start_s"]) == ("yard.mkv", "192x144", 0)
    assert clip["pictures"] == 8
    assert clip["round_trip_mismatches"] == 0
    assert set(clip["truth_boxes"]) == {"pixel", "own"}
    points = clip["points"]
    counts = {
        name: sum(p["codec"] == name for p in points) for name in {p["codec"] for p in points}
    }
    assert counts == {
        "uncompressed": 1, "glimpse intra": 4, "glimpse inter": 4, "x265": 3, "svt-av1": 3
    }  # fmt: skip
    for point in points:
        assert point["kbit_s"] == pytest.approx(point["bytes"] * 8 * 5 / 1000, abs=0.01)
        for truth in ("pixel", "own"):
            assert 0 <= point[truth]["map"] <= point[truth]["map50"] <= 1
        assert ("mp4_bytes" in point) == (point["codec"] in ("x265", "svt-av1"))
    by_codec = {p["codec"]: p for p in points}
    assert by_codec["uncompressed"]["pixel"]["map"] == pytest.approx(1, abs=1e-3)
    assert by_codec["x265"]["mp4_bytes"] > by_codec["x265"]["bytes"]
    assert (tmp_path / "video.png").stat().st_size > 10_000
    assert str(studio) not in json.dumps(figures)  # no path of this machine
    assert str(tmp_path) not in json.dumps(figures)
    assert "x265" in done.output


def test_inter_layers_save_bytes_and_are_compared_with_every_video(studio, few, tmp_path):
    assert measure(studio, tmp_path, "--codec", "x265").exit_code == 0
    (clip,) = json.loads((tmp_path / "video.json").read_text())["clips"]
    intra = {(p["side"], p["setting"]): p for p in clip["points"] if p["codec"] == "glimpse intra"}
    inter = {(p["side"], p["setting"]): p for p in clip["points"] if p["codec"] == "glimpse inter"}
    assert set(intra) == set(inter)
    assert {side for side, _ in intra} == {160, 96}
    for saved in clip["inter_over_intra"]:
        key = saved["side"], f"quality {saved['quality']:g}"
        assert saved["intra_bytes"] == intra[key]["bytes"]
        assert saved["inter_bytes"] == inter[key]["bytes"]
        rounding = 0.1 / intra[key]["bytes"] + 0.001
        ratio = inter[key]["bytes"] / intra[key]["bytes"]
        assert saved["ratio"] == pytest.approx(ratio, abs=rounding)
        assert saved["inter_layers_over_the_same_alone"] < saved["ratio"] < 1
    for truth in ("pixel", "own"):
        compared = clip["equal_detection"][truth]
        assert set(compared["glimpse inter"]) == {"x265", "best video"}
        assert set(compared["glimpse intra"]) == {"best video"}
        for found in compared["glimpse inter"].values():
            assert found["map"] == compared["glimpse inter"]["x265"]["map"]  # there is no other
            assert set(found) == {"map", "map50", "map_mp4"}
    assert len(clip["our_points"]) == 4
    assert all(set(p["times_best_video"]) == {"pixel", "own"} for p in clip["our_points"])


def test_what_the_videos_gave_is_kept_for_other_weights_of_ours(studio, few, tmp_path, monkeypatch):
    assert measure(studio, tmp_path, "--codec", "x265").exit_code == 0
    first = json.loads((tmp_path / "video.json").read_text())["clips"]
    assert len(list((tmp_path / "kept").iterdir())) == 3

    def never(*_):
        raise AssertionError("coded again")

    with monkeypatch.context() as patch:
        patch.setattr(points, "encode", never)
        assert measure(studio, tmp_path, "--codec", "x265").exit_code == 0
    assert json.loads((tmp_path / "video.json").read_text())["clips"] == first
    assert measure(studio, tmp_path, "--codec", "x265", "--fps", "2").exit_code == 0
    assert len(list((tmp_path / "kept").iterdir())) == 6  # other pictures


def test_a_clip_that_tables_were_counted_on_is_measured_on_its_other_half(studio, few, tmp_path):
    folder = tmp_path / "weights"
    note = "first half of road.mkv, first half of yard.mkv"
    counted = rebuilt(folder, {"clips": note}, lambda arrays: arrays)
    assert counted_on(counted, studio / "road.mkv")
    assert not counted_on(counted, studio / "ard.mkv")
    assert measure(studio, tmp_path, "--codec", "x265", "--weights", str(folder)).exit_code == 0
    (clip,) = json.loads((tmp_path / "video.json").read_text())["clips"]
    assert clip["start_s"] == pytest.approx(0.8)
    assert clip["pictures"] == 4


@pytest.mark.slow
def test_worker_processes_measure_the_same(studio, few, tmp_path):
    assert measure(studio, tmp_path / "1", "--codec", "svt-av1").exit_code == 0
    done = measure(studio, tmp_path / "2", "--codec", "svt-av1", "--jobs", "2")
    assert done.exit_code == 0, done.output
    one, two = (json.loads((tmp_path / n / "video.json").read_text()) for n in "12")
    assert one["clips"] == two["clips"]


@pytest.mark.parametrize("codec", bench_video._GRIDS)
def test_the_grid_has_every_preset_side_and_key_distance(codec):
    grid, asked = bench_video._GRIDS[codec], list(settings(codec))
    assert len(set(asked)) == len(asked)
    assert {s.preset for s in asked} == {*grid.best, *grid.others}
    assert {s.side for s in asked if s.preset in grid.best and s.keyint == NEVER} == {*grid.sides}
    assert {s.keyint for s in asked} == {NEVER, 50}


def rebuilt(folder, trained, tables) -> Manifest:
    """Tiny weights with more said of their training, and with tables changed."""
    manifest = tiny_weights(folder, detector=True)
    with np.load(folder / "tables.npz") as arrays:
        kept = tables(dict(arrays))
    np.savez_compressed(folder / "tables.npz", **kept)
    new = Manifest.build(
        {name: (folder / name).read_bytes() for name in manifest.files},
        name=manifest.name,
        codec=manifest.codec,
        labels=manifest.labels,
        profiles=manifest.profiles,
        trained={**manifest.trained, **trained},
    )
    (folder / "manifest.json").write_bytes(new.to_json())
    return new


def test_what_cannot_be_measured_is_said_at_once(studio, tmp_path):
    def refused(*more, clip="yard.mkv"):
        done = measure(studio, tmp_path / "none", *more, clip=clip)
        assert done.exit_code == 2
        assert not (tmp_path / "none").exists()
        return " ".join(done.output.replace("│", " ").split())

    assert "no such file" in refused(clip="gone.mkv")
    assert "no such video codec: h266" in refused("--codec", "h266")
    assert "train pixel" in refused("--pixel-run", str(tmp_path))
    assert "knows 3 classes" in refused("--pixel-run", str(make_run(tmp_path / "few", 3)))
    assert "manifest.json" in refused("--weights", str(tmp_path))

    def without_inter(arrays):
        return {name: array for name, array in arrays.items() if not name.startswith(INTER)}

    rebuilt(tmp_path / "intra", {}, without_inter)
    assert "code no inter layers" in refused("--weights", str(tmp_path / "intra"))
