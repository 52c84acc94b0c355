"""The dashboards that are shipped, as pictures: what Grafana would show of a house that runs.

Real processes are observed for a while; then every panel's query is asked of the Prometheus that
looked on, and drawn by bench/service/dashboard_plot.py. Grafana itself takes no part.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.service.dashboard_plot import Board, Panel, plot
from bench.service.observed import NAMES, observed
from bench.service.processes import ROOT, demo_clip
from bench.service.prometheus import Prometheus, Series, hurried

FOLDER = ROOT / "deploy" / "grafana" / "dashboards"

_STEP_S = 1.0
_RATES_S = 20  # what Grafana would take for $__rate_interval of such a short time
_OPTIONS = ["--budget", "40 kbit/s", "--reference-s", "30"]


def dashboards(sources: Sequence[str], out: Path, *, seconds: float, fps: float) -> list[Path]:
    """Writes dashboard_fleet.png, dashboard_camera.png and dashboard_decoder.png into `out`.

    sources  a camera each; none: one, of the demo's clip
    Raises BadSettings where there is no prometheus.
    """
    sources = list(sources) or [demo_clip()]
    options = [*_OPTIONS, "--fps", str(fps)]
    with (
        tempfile.TemporaryDirectory(prefix="glimpse-dashboards-") as folder,
        observed(Path(folder), sources, options=options, hurry=True) as asked,
    ):
        start = time.time()
        time.sleep(seconds)
        boards = [
            board(file, asked, start, time.time(), camera=NAMES[0])
            for file in sorted(FOLDER.glob("*.json"))
        ]
    out.mkdir(parents=True, exist_ok=True)
    files = []
    for drawn in boards:
        files.append(out / f"dashboard_{drawn.uid.removeprefix('glimpse-')}.png")
        plot(drawn, files[-1])
    return files


def board(file: Path, asked: Prometheus, start: float, end: float, *, camera: str) -> Board:
    """A dashboard's file with what `asked` knows of this time."""
    model = json.loads(file.read_text())
    panels = [_panel(panel, asked, start, end, camera) for panel in model["panels"]]
    return Board(model["uid"], model["title"], start, end, tuple(panels))


def filled_in(expr: str, *, camera: str, interval_s: int, range_s: int) -> str:
    """A query with Grafana's variables replaced."""
    values = {"$__rate_interval": f"{interval_s}s", "$__range": f"{range_s}s", "$camera": camera}
    for name, value in values.items():
        expr = expr.replace(name, value)
    return expr


def _panel(
    model: dict[str, Any], asked: Prometheus, start: float, end: float, camera: str
) -> Panel:
    place = tuple(model["gridPos"][side] for side in "xywh")
    if model["type"] == "row":
        return Panel(model["title"], "row", "", place)
    curves: list[tuple[str, Series]] = []
    for target in model["targets"]:
        expr = filled_in(
            hurried(target["expr"]), camera=camera, interval_s=_RATES_S, range_s=round(end - start)
        )
        if target["instant"]:
            found = asked.now(expr)
        else:
            found = asked.during(expr, start, end, _STEP_S)
        curves += _named(found, target["legendFormat"])
    unit = model["fieldConfig"]["defaults"]["unit"]
    return Panel(model["title"], model["type"], unit, place, tuple(curves))


def _named(found: list[Series], legend: str) -> Iterator[tuple[str, Series]]:
    for series in sorted(found, key=lambda one: sorted(one.labels.items())):
        name = legend
        for label in re.findall(r"\{\{(\w+)\}\}", legend):
            name = name.replace(f"{{{{{label}}}}}", series.labels.get(label, ""))
        yield name, series
