"""rate_accuracy.json as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from bench.accuracy.points import OURS, UNCOMPRESSED


def tables(figures: dict[str, Any]) -> Iterator[Table]:
    """Our points, then each opponent against us, then the bytes that an accuracy takes."""
    yield _points(figures)
    if figures["bd_rate_map"]:
        yield _against(figures)
        yield _bytes(figures)


def _points(figures: dict[str, Any]) -> Table:
    table = Table("", "detector", "bytes", "bpp", "mAP %", "mAP50 %", title="What we reach")
    for p in figures["points"]:
        if p["codec"] in (OURS, UNCOMPRESSED):
            name = p["setting"] if p["codec"] == OURS else UNCOMPRESSED
            figures_ = (f"{p['mean_bytes']:.1f}", f"{p['bpp']:.4f}")
            table.add_row(name, p["detector"], *figures_, _percent(p["map"]), _percent(p["map50"]))
    return table


def _against(figures: dict[str, Any]) -> Table:
    columns = ("detector", "opponent", "by mAP", "mAP shared", "by mAP50", "by mAP, bare")
    title = "Our bytes against theirs at equal accuracy (BD-rate, %; bare: without file containers)"
    table = Table(*columns, title=title)
    bare = figures["without_containers"]["bd_rate_map"]
    for detector, curves in figures["bd_rate_map"].items():
        for codec, by_map in curves.items():
            by_map50 = figures["bd_rate_map50"][detector][codec]
            shared = " to ".join(_percent(v) for v in by_map.get("overlap", ()))
            rates = (_bd(by_map), shared, _bd(by_map50), _bd(bare[detector][codec]))
            table.add_row(detector, codec, *rates)
    return table


def _bytes(figures: dict[str, Any]) -> Table:
    shares = figures["bytes_at"]
    names = [f"{share} % ({_percent(at['map50'])})" for share, at in shares.items()]
    title = "Bytes a picture at shares of the uncompressed mAP50"
    table = Table("detector", "codec", *names, title=title)
    table.add_row("", OURS, *(_count(at[OURS]) for at in shares.values()))
    for detector, curves in figures["bd_rate_map"].items():
        for codec in curves:
            counts = (_count(at[detector][codec]) for at in shares.values())
            table.add_row(detector, codec, *counts)
    return table


def _bd(found: dict[str, Any]) -> str:
    if found["percent"] is None:
        return str(found["note"]).removeprefix("no overlap: ")
    interval = found["interval"]
    spread = f" [{interval[0]:+.1f}, {interval[1]:+.1f}]" if interval else ""
    return f"{found['percent']:+.1f}{spread}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _count(value: float | None) -> str:
    return "never" if value is None else f"{value:.0f}"
