"""A dashboard drawn as Grafana lays it out: rows, panels, units, legends, in its dark theme."""

from __future__ import annotations

import datetime
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator
from PIL import Image

from bench.service.prometheus import Series

_WIDTH = 1400  # pixels
_UNIT, _ROW = 30, 30  # pixels of a step down Grafana's grid, of a row's heading
_GAP, _HEAD = 8, 56
_DPI = 100
_COLUMNS = 24
_GROUND, _PANEL, _EDGE = "#111217", "#181b1f", "#2c3235"
_INK, _DIM, _GRID = "#d8d9da", "#9fa7b3", "#2a2d33"
_COLOURS = ("#73bf69", "#f2cc0c", "#5794f2", "#ff780a", "#f2495c", "#b877d9", "#8ab8ff", "#ffb357")
_COLOURS_KEPT = 256  # in the file
_LETTER, _SIGN, _LEGEND = 6.2, 30, 17  # pixels of a legend: a letter, what is before it, a line


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel with its data. kind, unit, place (x, y, w, h in Grafana's grid): as its JSON says.

    curves  (legend, series); none for a row, which is but a heading
    """

    title: str
    kind: Literal["row", "stat", "timeseries"]
    unit: str
    place: tuple[int, int, int, int]
    curves: tuple[tuple[str, Series], ...] = ()


@dataclass(frozen=True, slots=True)
class Board:
    """start, end: unix seconds."""

    uid: str
    title: str
    start: float
    end: float
    panels: tuple[Panel, ...]


def plot(board: Board, path: Path) -> None:
    """Writes a PNG."""
    tops, height = _tops(board)
    figure = plt.figure(figsize=(_WIDTH / _DPI, height / _DPI), dpi=_DPI, facecolor=_GROUND)
    _text(figure, height, 12, 36, f"glimpse / {board.title}", size=15, color=_INK, weight="bold")
    for panel, top in zip(board.panels, tops, strict=True):
        x, _, w, h = panel.place
        left = 12 + x * (_WIDTH - 24 + _GAP) / _COLUMNS
        box = left, top, w * (_WIDTH - 24 + _GAP) / _COLUMNS - _GAP, h * _UNIT - _GAP
        if panel.kind == "row":
            _text(figure, height, left, top + 20, panel.title, size=11, color=_INK, weight="bold")
        else:
            _frame(figure, height, box, panel)
            draw = _stat if panel.kind == "stat" else _curves
            draw(figure, height, box, panel, board)
    file = io.BytesIO()
    figure.savefig(file, facecolor=_GROUND)
    plt.close(figure)
    with Image.open(file) as picture:
        few = picture.convert("RGB").quantize(_COLOURS_KEPT, kmeans=2, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


def as_text(value: float, unit: str) -> str:
    """A value with its unit, about as Grafana writes it."""
    if not math.isfinite(value):
        return "no value"
    if unit == "percentunit":
        return f"{_short(value * 100)}%"
    if unit == "s":
        return _seconds(value)
    if unit == "bytes":
        return _scaled(value, 1024, ("B", "KiB", "MiB", "GiB", "TiB"))
    if unit == "bps":
        return _scaled(value, 1000, ("b/s", "kb/s", "Mb/s", "Gb/s"))
    return _scaled(value, 1000, ("", "K", "Mil", "Bil")).strip()


def _seconds(value: float) -> str:
    if value == 0:
        return "0 s"
    if abs(value) < 1e-3:
        return f"{_short(value * 1e6)} µs"
    if abs(value) < 1:
        return f"{_short(value * 1e3)} ms"
    spans = (
        (31_536_000, "years"),
        (604_800, "weeks"),
        (86_400, "days"),
        (3600, "hours"),
        (60, "min"),
    )
    for length, name in spans:
        if abs(value) >= length:
            return f"{_short(value / length)} {name}"
    return f"{_short(value)} s"


def _scaled(value: float, base: int, names: tuple[str, ...]) -> str:
    step = 0
    while abs(value) >= base and step < len(names) - 1:
        value, step = value / base, step + 1
    return f"{_short(value)} {names[step]}"


def _short(value: float) -> str:
    """Three figures, and no zeros behind the point."""
    digits = 0 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{min(digits, 6)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _tops(board: Board) -> tuple[list[float], int]:
    """Pixels from the top of each panel, and of the whole."""
    tops: list[float] = []
    shift = float(_HEAD)
    for panel in board.panels:
        if panel.kind == "row":
            shift += _ROW - _UNIT + (_GAP if panel.place[1] else 0)
        tops.append(shift + panel.place[1] * _UNIT)
    bottom = max(
        top + panel.place[3] * _UNIT for top, panel in zip(tops, board.panels, strict=True)
    )
    return tops, round(bottom + 4)


Box = tuple[float, float, float, float]  # left, top, width, height in pixels


def _frame(figure: Figure, height: int, box: Box, panel: Panel) -> None:
    left, top, w, h = box
    figure.add_artist(
        Rectangle(
            (left / _WIDTH, 1 - (top + h) / height), w / _WIDTH, h / height,
            facecolor=_PANEL, edgecolor=_EDGE, lw=0.8, zorder=-1,
        )
    )  # fmt: skip
    _text(figure, height, left + 10, top + 20, panel.title, size=9.5, color=_INK)


def _text(figure: Figure, height: int, x: float, y: float, text: str, **style: Any) -> None:
    """x, y: of the line's begin, in pixels from the top left."""
    figure.text(x / _WIDTH, 1 - y / height, text, va="baseline", **style)


def _stat(figure: Figure, height: int, box: Box, panel: Panel, _: Board) -> None:
    left, top, w, h = box
    values = [series.points[-1][1] for _, series in panel.curves]
    text = as_text(values[-1], panel.unit) if values else "No data"
    figure.text(
        (left + w / 2) / _WIDTH, 1 - (top + h / 2 + 10) / height, text, ha="center", va="center",
        size=24 if values else 12, color=_COLOURS[0] if values else _DIM,
    )  # fmt: skip


def _curves(figure: Figure, height: int, box: Box, panel: Panel, board: Board) -> None:
    left, top, w, h = box
    curves = _coloured(panel)
    long = sum(_SIGN + _LETTER * len(name) for _, name, _ in curves)
    lines = max(1, math.ceil(long / (w - 24)))
    below = 35 + _LEGEND * lines
    axes = figure.add_axes(
        (
            (left + 62) / _WIDTH, 1 - (top + h - below) / height,
            (w - 78) / _WIDTH, (h - below - 32) / height,
        )
    )  # fmt: skip
    axes.set_facecolor(_PANEL)
    axes.grid(color=_GRID, lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    axes.tick_params(colors=_DIM, labelsize=8, length=0)
    axes.set_xlim(board.start, board.end)
    locator = MaxNLocator(max(2, round(w / 110)), steps=[1, 2, 3, 6, 10])
    rim = 0.04 * (board.end - board.start)  # a label there would reach over the panel's edge
    moments = locator.tick_values(board.start, board.end)
    axes.set_xticks([at for at in moments if board.start + rim < at < board.end - rim])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: _clock(at)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: as_text(value, panel.unit)))
    drawn = [_line(axes, *named) for named in curves]
    highest = max((value for value in drawn if math.isfinite(value)), default=math.nan)
    top_value = 1.12 * highest if highest > 0 else 1.0
    if panel.unit == "percentunit":
        top_value = max(top_value, 0.01)
    axes.set_ylim(0, top_value)
    step = 1024 ** int(math.log(top_value, 1024)) if panel.unit == "bytes" else 1
    ticks = MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(0, top_value / step)
    axes.set_yticks([step * tick for tick in ticks if step * tick <= top_value])
    if math.isnan(highest):
        axes.text(0.5, 0.5, "No data", transform=axes.transAxes, ha="center", color=_DIM, size=12)
        return
    figure.legend(
        *axes.get_legend_handles_labels(), loc="lower left", ncols=math.ceil(len(curves) / lines),
        frameon=False, fontsize=8, labelcolor=_INK, handlelength=1.1, columnspacing=1.2,
        borderpad=0, borderaxespad=0,
        bbox_to_anchor=((left + 12) / _WIDTH, 1 - (top + h - 10) / height),
    )  # fmt: skip


def _coloured(panel: Panel) -> list[tuple[str, str, list[tuple[float, float]]]]:
    return [
        (_COLOURS[n % len(_COLOURS)], name, series.points)
        for n, (name, series) in enumerate(panel.curves)
    ]


def _line(axes: Axes, colour: str, name: str, points: list[tuple[float, float]]) -> float:
    """Its highest value; NaN: it has none."""
    times, values = zip(*points, strict=True)
    axes.plot(times, values, color=colour, lw=1.4, label=name, clip_on=False)
    axes.fill_between(times, values, color=colour, alpha=0.08, lw=0)
    return max((value for value in values if math.isfinite(value)), default=math.nan)


def _clock(at: float) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%H:%M:%S")
