"""The bench of the two rate knobs on four drawn pictures, with the weights that ship."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from bench.__main__ import app
from bench.accuracy.scale import gains_off, scale
from cloud.weights import load_weights as load_for_cloud
from edge.coding.weights import DEFAULT_WEIGHTS
from edge.coding.weights import load_weights as load_for_edge
from tests.train.scenes import make_folder

CLASSES = ("person", "car", "motorcycle", "bus", "truck")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = make_folder(tmp_path_factory.mktemp("scenes"), pictures=4)
    index = json.loads((folder / "val.json").read_text())
    index["categories"] = [{"id": i + 1, "name": name} for i, name in enumerate(CLASSES)]
    (folder / "val.json").write_text(json.dumps(index))
    return folder


def test_both_knobs_are_measured(data: Path, tmp_path: Path) -> None:
    found = scale(
        data / "val.json",
        data / "val",
        tmp_path,
        DEFAULT_WEIGHTS,
        qualities=(0.0, 1.0),
        draw_count=3,
    )
    assert json.loads((tmp_path / "scale.json").read_text()).items() >= found.items()
    assert found["images"] == 4
    assert found["round_trip_mismatches"] == 0
    points = found["points"]
    assert [(p["rate"], p["quality"]) for p in points] == [
        ("gains", 0.0), ("gains", 1.0), ("scale", 0.0), ("scale", 1.0)
    ]  # fmt: skip
    for few, more in (points[:2], points[2:]):
        assert 11 <= few["mean_bytes"] < more["mean_bytes"]  # header and checksum are 11
    assert points[1]["mean_bytes"] != points[3]["mean_bytes"]
    for p in points:
        assert 0 <= p["map"] <= p["map50"] <= 1


def test_gains_off_is_one_number_for_all_channels_and_its_inverse() -> None:
    edge, cloud = load_for_edge(DEFAULT_WEIGHTS), load_for_cloud(DEFAULT_WEIGHTS)
    flat, inverse = gains_off(edge, cloud)
    assert np.ptp(flat.log_gain, axis=2).max() == 0
    np.testing.assert_array_equal(inverse.log_inverse.numpy(), -flat.log_gain)
    trained, one = (np.exp(2 * w.log_gain).mean(2) for w in (edge, flat))
    np.testing.assert_allclose(one, trained, rtol=1e-4)
    assert np.diff(flat.log_gain[0, :, 0]).min() > 0  # more quality, a finer step


def test_a_data_set_of_other_classes_is_refused(data: Path, tmp_path: Path) -> None:
    index = json.loads((data / "val.json").read_text())
    index["categories"] = index["categories"][:2]
    (tmp_path / "two.json").write_text(json.dumps(index))
    options = ["--dataset", tmp_path / "two.json", "--images", data / "val", "--out", tmp_path]
    done = CliRunner().invoke(app, ["scale", *map(str, options)])
    assert done.exit_code == 2
    assert "bus, motorcycle, truck" in done.output
