"""Dashboards as pictures, without the processes; with them: tests/deploy/test_scraped.py."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from bench.__main__ import app
from bench.service.dashboard_plot import Board, Panel, as_text, plot
from bench.service.dashboards import FOLDER, board, filled_in
from bench.service.prometheus import Prometheus, Series, prometheus
from common.errors import BadSettings

START = 1_700_000_000.0


class Waves(Prometheus):
    """One that answers every query with two cameras' waves."""

    def __init__(self) -> None:
        super().__init__("nowhere")
        self.asked: list[str] = []

    def now(self, expr: str) -> list[Series]:
        self.asked.append(expr)
        return [Series({"camera": "gate"}, [(START, 0.125)])]

    def during(self, expr: str, start: float, end: float, step: float) -> list[Series]:
        self.asked.append(expr)
        times = [start + n * step for n in range(round((end - start) / step) + 1)]
        return [
            Series({"camera": name}, [(at, high + math.sin(at / 9)) for at in times])
            for name, high in (("yard", 2.0), ("gate", 5.0))
        ]


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.json")), ids=lambda file: file.stem)
def test_a_board_has_each_panel_of_its_file(file: Path, tmp_path: Path) -> None:
    asked = Waves()
    made = board(file, asked, START, START + 60, camera="gate")
    model = json.loads(file.read_text())
    assert [p.title for p in made.panels] == [p["title"] for p in model["panels"]]
    assert not any("$" in expr for expr in asked.asked)
    legends = [name for p in made.panels for name, _ in p.curves]
    assert not any("{{" in name for name in legends)
    plot(made, tmp_path / "board.png")
    assert (tmp_path / "board.png").stat().st_size < 200_000


def test_curves_are_named_by_their_labels(tmp_path: Path) -> None:
    made = board(FOLDER / "glimpse-fleet.json", Waves(), START, START + 60, camera="gate")
    [silent] = [p for p in made.panels if p.title == "Silent for"]
    assert [name for name, _ in silent.curves] == ["gate", "yard"]


def test_what_has_no_data_says_so_and_changes_nothing_else(tmp_path: Path) -> None:
    place = (0, 0, 12, 8)
    full = Panel("Layers", "timeseries", "none", place, (("gate", Series({}, [(START, 1.0)])),))
    bare = Panel("Layers", "timeseries", "none", place)
    nan = Panel("Layers", "timeseries", "none", place, (("p50", Series({}, [(START, math.nan)])),))
    files = []
    for n, panel in enumerate((full, bare, nan)):
        files.append(tmp_path / f"{n}.png")
        plot(Board("glimpse-x", "X", START, START + 60, (panel,)), files[-1])
    [pixels_of_full, pixels_of_bare, pixels_of_nan] = map(pixels, files)
    assert pixels_of_bare == pixels_of_nan != pixels_of_full


def pixels(file: Path) -> tuple[tuple[int, int], bytes]:
    with Image.open(file) as picture:
        return picture.size, picture.convert("RGB").tobytes()


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "none", "0"),
        (2.5, "none", "2.5"),
        (12_345, "none", "12.3 K"),
        (0.004567, "none", "0.00457"),
        (0.0123, "s", "12.3 ms"),
        (0.0000123, "s", "12.3 µs"),
        (0, "s", "0 s"),
        (90, "s", "1.5 min"),
        (34_300_800, "s", "1.09 years"),
        (397 * 86_400 - 35 * 86_400, "s", "51.7 weeks"),
        (1536, "bytes", "1.5 KiB"),
        (20_269, "bps", "20.3 kb/s"),
        (0.43, "percentunit", "43%"),
        (math.nan, "s", "no value"),
    ],
)
def test_values_with_units(value: float, unit: str, text: str) -> None:
    assert as_text(value, unit) == text


def test_grafanas_variables_are_filled_in() -> None:
    expr = 'rate(x{camera="$camera"}[$__rate_interval]) + increase(y[$__range])'
    assert filled_in(expr, camera="gate", interval_s=20, range_s=90) == (
        'rate(x{camera="gate"}[20s]) + increase(y[90s])'
    )


def test_no_prometheus_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadSettings, match="apt-get install prometheus"), prometheus(tmp_path, ""):
        pass


def test_more_cameras_than_names_are_told() -> None:
    done = CliRunner().invoke(app, ["dashboards", *["--source", "x"] * 5])
    assert done.exit_code == 2
    assert "at most 4 sources" in done.output
