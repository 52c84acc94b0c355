"""The bench of presence on four pictures, with a recogniser that knows nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.__main__ import app
from bench.accuracy.recognise import class_scores, recognise
from cloud.detector import Detection
from common.bitstream import DETECT, RECOGNISE, Header, Kind
from common.errors import BadSettings
from common.types import Box, Presence
from tests.recogniser import add_recogniser
from tests.train.scenes import make_folder
from tests.weights import LABELS, tiny_weights

QUALITIES = {RECOGNISE: (0.0, 0.5, 1.0), DETECT: (0.0, 1.0)}
HEADER = Header(Kind.MACHINE_INTRA, 0, 0, 0, 0, 64, 64, 64)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = make_folder(tmp_path_factory.mktemp("scenes"), pictures=4)
    index = json.loads((folder / "val.json").read_text())
    index["categories"] = [{"id": i + 1, "name": name} for i, name in enumerate(LABELS)]
    (folder / "val.json").write_text(json.dumps(index))
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    tiny_weights(folder / "plain", detector=True)
    add_recogniser(folder / "plain", folder / "both")
    return folder


def test_both_profiles_are_measured(data: Path, weights: Path, tmp_path: Path) -> None:
    figures = recognise(
        data / "val.json",
        data / "val",
        tmp_path,
        weights / "both",
        qualities=QUALITIES,
        draw_count=5,
    )
    assert json.loads((tmp_path / "recognise.json").read_text()).items() >= figures.items()
    assert (tmp_path / "recognise.png").stat().st_size > 1000
    assert figures["round_trip_mismatches"] == 0
    points = figures["points"]
    assert [(p["profile"], p["quality"]) for p in points] == [
        ("recognise", 0.0), ("recognise", 0.5), ("recognise", 1.0), ("detect", 0.0), ("detect", 1.0)
    ]  # fmt: skip
    few, more, most, detect, _ = (p["mean_bytes"] for p in points)
    assert 11 <= few <= more < most  # header and checksum are 11 bytes at this size
    assert few < detect
    assert all(p["largest_bytes"] >= p["mean_bytes"] for p in points)
    for p in points:
        assert 0 <= p["map_interval"][0] <= p["map_interval"][1] <= 1
        assert set(p["ap"]) == {"car"}  # nothing else is labelled there
        assert p["map"] == p["ap"]["car"] == 1.0  # every picture has one
    assert figures["chance_map"] == 1.0


def test_a_class_scores_as_its_surest_sign() -> None:
    box = Box("car", 0.4, 0, 0, 9, 9)
    boxes = (Box("car", 0.8, 1, 1, 5, 5), box, Box("bus", 0.1, 0, 0, 1, 1))
    assert class_scores(Detection(HEADER, boxes), ("bus", "car", "dog")) == [0.1, 0.8, 0.0]
    seen = Detection(HEADER, (), (Presence("dog", 0.7), Presence("car", 0.2)))
    assert class_scores(seen, ("bus", "car", "dog")) == [0.0, 0.2, 0.7]


def test_weights_without_the_profile_are_refused(data: Path, weights: Path, tmp_path: Path) -> None:
    options = ["--dataset", data / "val.json", "--images", data / "val", "--out", tmp_path]
    command = ["recognise", *map(str, options), "--weights", str(weights / "plain")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 2
    assert "these weights have detect" in done.output


def test_a_data_set_of_other_classes_is_refused(data: Path, weights: Path, tmp_path: Path) -> None:
    index = json.loads((data / "val.json").read_text())
    index["categories"] = index["categories"][:2]
    (tmp_path / "two.json").write_text(json.dumps(index))
    with pytest.raises(BadSettings, match="bus, motorcycle, truck"):
        recognise(tmp_path / "two.json", data / "val", tmp_path, weights / "both")
