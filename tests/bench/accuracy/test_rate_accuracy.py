"""The whole bench on four pictures, with the weights that ship and an untrained opponent."""

from __future__ import annotations

import json

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from bench.__main__ import app
from bench.accuracy import opponents
from bench.accuracy.opponents import GRID
from bench.accuracy.rate_table import tables
from tests.train.scenes import make_folder
from train.machine import Recipe, train

CLASSES = ("person", "car", "motorcycle", "bus", "truck")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Four drawn scenes with the classes of the weights that ship."""
    folder = make_folder(tmp_path_factory.mktemp("scenes"), pictures=4)
    for split in ("train", "val"):
        path = folder / f"{split}.json"
        index = json.loads(path.read_text())
        index["categories"] = [{"id": i + 1, "name": name} for i, name in enumerate(CLASSES)]
        path.write_text(json.dumps(index))
    return folder


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    recipe = Recipe(bottleneck=False, minutes=0.0, batch=2, size=64, evaluate_images=1)
    train(recipe, data, folder / "pixel", None, torch.device("cpu"))
    return folder


def measure(data, out, *more):
    options = ["--dataset", str(data / "val.json"), "--images", str(data / "val")]
    return CliRunner().invoke(
        app, ["rate-accuracy", *options, "--out", str(out), "--draws", "3", "--jobs", "1", *more]
    )


def test_opponents_are_measured_beside_us_and_kept(data, runs, tmp_path, monkeypatch):
    few = {codec: {1: scales[1][:1], 0.5: scales[0.5][:1]} for codec, scales in GRID.items()}
    monkeypatch.setattr(opponents, "GRID", few)
    more = ["--pixel-run", str(runs / "pixel"), "--kept", str(tmp_path / "kept")]
    done = measure(data, tmp_path, *more)
    assert done.exit_code == 0, done.output
    figures = json.loads((tmp_path / "rate_accuracy.json").read_text())
    assert figures["dataset"] == "val.json"
    assert figures["images"] == 4
    assert figures["round_trip_mismatches"] == 0
    codecs = {(p["codec"], p["detector"]) for p in figures["points"]}
    assert {(codec, "pixel") for codec in (*GRID, "uncompressed")} < codecs
    assert ("boxes, packed", "on the edge") in codecs
    for p in figures["points"]:
        assert 0 <= p["map"] <= p["map50"] <= 1
        assert 0 < p["mean_payload_bytes"] <= p["mean_bytes"]
        assert p["bpp"] == pytest.approx(p["mean_bytes"] * 8 / (96 * 64), rel=0.01)
    assert set(figures["bd_rate_map"]["pixel"]) == {*GRID, "best"}
    assert set(figures["bytes_at"]) == {"99", "98", "95"}
    assert (tmp_path / "rate_accuracy.png").stat().st_size > 10_000
    assert str(tmp_path) not in json.dumps(figures)  # no path of this machine
    console = Console(width=200, record=True)
    for table in tables(figures):
        console.print(table)
    assert "BD-rate" in console.export_text()

    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()}
    assert len(kept) == len(GRID) + 1
    assert measure(data, tmp_path / "again", *more).exit_code == 0
    again = json.loads((tmp_path / "again" / "rate_accuracy.json").read_text())
    assert again["points"] == figures["points"]
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()} == kept


def test_without_opponents_there_is_our_curve_alone(data, tmp_path):
    assert measure(data, tmp_path, "--most", "2").exit_code == 0
    figures = json.loads((tmp_path / "rate_accuracy.json").read_text())
    assert figures["images"] == 2
    assert {p["codec"] for p in figures["points"]} == {"glimpse"}
    assert figures["bd_rate_map"] == {}


def test_what_is_missing_is_said(data, runs, tmp_path):
    lone = measure(data, tmp_path, "--tuned-run", str(tmp_path))
    assert lone.exit_code == 2
    assert "need --pixel-run" in lone.output
    empty = measure(data, tmp_path, "--pixel-run", str(tmp_path))
    assert empty.exit_code == 2
    assert "train pixel" in empty.output
    pixel = ["--pixel-run", str(runs / "pixel")]
    no_peer = measure(data, tmp_path, *pixel, "--peer-run", str(tmp_path))
    assert no_peer.exit_code == 2
    assert "train peer" in no_peer.output
