"""The bench of one model for all rates, on four drawn pictures, with the weights that ship."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.__main__ import app
from bench.accuracy.bdrate import Front
from bench.accuracy.single_rate import _against, single_rate
from edge.coding.weights import DEFAULT_WEIGHTS
from tests.bench.accuracy.test_scale import data

__all__ = ["data"]  # the fixture


def test_a_model_loses_nothing_against_itself(data: Path, tmp_path: Path) -> None:
    found = single_rate(
        data / "val.json", data / "val", tmp_path, DEFAULT_WEIGHTS, {0.5: DEFAULT_WEIGHTS},
        draw_count=3, qualities=(0.0, 0.5, 1.0),
    )  # fmt: skip
    assert json.loads((tmp_path / "single_rate.json").read_text()).items() >= found.items()
    (row,) = found["single"]
    assert row["mean_bytes"] == found["variable"][1]["mean_bytes"]
    assert row["map"] == found["variable"][1]["map"]
    for figure in (row["bytes_percent"], row["map_difference"]):
        assert figure["value"] in (None, 0)  # None where four pictures make no curve


def test_a_curve_against_a_point() -> None:
    front = Front.of([100.0, 200.0, 400.0], [0.2, 0.3, 0.4])
    percent, difference = _against(front, 160.0, 0.3)
    assert percent == pytest.approx(25.0)
    assert difference == pytest.approx(-0.0322, abs=0.01)
    assert math.isnan(_against(front, 50.0, 0.3)[1])  # nothing is extrapolated
    assert math.isnan(_against(front, 160.0, 0.5)[0])


@pytest.mark.parametrize("text", ["0.5", "x=weights", "0.5=", "2=weights"])
def test_what_is_no_model_is_refused(text: str, data: Path, tmp_path: Path) -> None:
    options = ["--dataset", data / "val.json", "--images", data / "val", "--out", tmp_path]
    done = CliRunner().invoke(app, ["single-rate", *map(str, options), "--single", text])
    assert done.exit_code == 2
    assert "QUALITY=FOLDER" in done.output
