"""docs/sizing.md, made from the measurements in docs/results.

python -m tests.docs.sizing             says whether the page is up to date
python -m tests.docs.sizing --rewrite   makes it so
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from tests.docs.pages import ROOT, command, table

PAGE = ROOT / "docs" / "sizing.md"
RESULTS = ROOT / "docs" / "results"

FPS = 5
DAY_S = 86_400
BUSY = 0.8  # of a core: the rest is for capture, the network and the system
SPOOL_ROW = 90  # bytes beside each layer, on the edge's disk
STORE_ROW = 320  # and on the server's, with three boxes a frame

HEAD = f"""# Sizing

Made from docs/results by `python -m tests.docs.sizing --rewrite`; a test fails when it is out of
date. Each table names the command behind it: run that on your machine before you buy anything.
Frames are counted at {FPS} a second.
"""


def result(name: str) -> Any:
    """A file of docs/results; None if it was not run."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def page() -> str:
    return "\n".join((HEAD, _edge(), _wire(), _room(), _server())).rstrip("\n") + "\n"


def _edge() -> str:
    edge = result("edge")
    machine = edge["machine"]
    rows = []
    for precision, seen in edge["precisions"].items():
        ms = seen["encode_ms"]
        cameras = BUSY * 1000 / ms["cpu"]["p50"] / FPS
        rows.append(
            (precision, f"{ms['total']['p50']:.0f} / {ms['total']['p95']:.0f}",
             f"{ms['cpu']['p50']:.0f}", f"{cameras:.1f}", f"{seen['peak_rss_mb']:.0f}")
        )  # fmt: skip
    heads = (
        "precision", "ms a frame, p50 / p95", "ms of processor time", "cameras a core",
        "MB of a process",
    )  # fmt: skip
    return f"""## On the edge

{edge["size"]}, {edge["threads"]} threads on {machine["cores"]} cores ({machine["cpu"]}), by
`{edge["command"]}`.
Cameras a core: so many frames fit into {BUSY:.0%} of one, each camera a process of its own. MB: of
encoding alone; a live source has a second process of some 60 MB. Arm boards: not run.

{table(heads, rows)}"""


def _wire() -> str:
    demo = result("demo")
    wire = demo["wire"]
    up, down = wire["sent_bits_per_second"], wire["received_bits_per_second"]
    fixed = demo["mean_bytes"]
    rows: list[tuple[str, ...]] = [
        ("a camera that stands still, inter layers", f"{demo['quality']:g}", f"{fixed:.0f}",
         _per_day(fixed * FPS)),
        ("the same on the wire, up", f"{demo['quality']:g}", "", _per_day(up / 8)),
        ("and down: acks and boxes", f"{demo['quality']:g}", "", _per_day(down / 8)),
    ]  # fmt: skip
    rows += _alone("each layer alone, boxes", result("rate_accuracy"), ("0", "0.4", "1"))
    rows += _alone("each layer alone, classes in view", result("recognise"), ("0.0", "1.0"))
    heads = ("what", "quality", "bytes a frame", "MB a day and camera")
    return f"""## On the wire

The first three by `make demo` ({demo["seconds"]:.0f} seconds of people walking, each frame sent at
once, which costs a message each: see `coalesce_s`; on the wire with TLS, HTTP/2, TCP and IP), the
rest by `python -m bench rate-accuracy` and `python -m bench recognise`, layers only. `budget`
bounds what is on the wire, both ways.

{table(heads, rows)}"""


def _alone(what: str, measured: Any, qualities: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for point in measured["points"]:
        named = str(point.get("quality", point.get("setting", ""))).removeprefix("quality ")
        ours = point.get("codec", "glimpse") == "glimpse" and point.get("profile") != "detect"
        if named in qualities and ours:
            size = point["mean_bytes"]
            yield what, f"{float(named):g}", f"{size:.0f}", _per_day(size * FPS)


def _per_day(bytes_per_second: float) -> str:
    return f"{bytes_per_second * DAY_S / 1e6:.0f}"


def _room() -> str:
    heads = ("bytes a layer", "hours of spool a GB", "GB of store a camera and 30 days")
    sizes = (result("demo")["mean_bytes"], result("edge")["precisions"]["int8"]["layer_bytes"])
    rows = [
        (f"{size:.0f}", f"{1e9 / ((size + SPOOL_ROW) * FPS * 3600):.0f}",
         f"{(size + STORE_ROW) * FPS * 30 * DAY_S / 1e9:.1f}")
        for size in sizes
    ]  # fmt: skip
    return f"""## On disk

A layer takes some {SPOOL_ROW} bytes beside itself in the spool, and {STORE_ROW} in the store: its
row, its index, three boxes (from the size of files with some thousand layers). The first line is
the camera of `make demo`, the second one where each layer stands alone. `max_spool_bytes` and
`keep_days`, `keep_bytes` bound them; `doctor` says on either side how long it lasts.

{table(heads, rows)}"""


def _server() -> str:
    rows = [
        ("cameras on a server", _cameras()),
        ("cameras a GPU", "not run"),
        ("pictures of 640x480 an hour", _pictures()),
        ("pictures a GPU-hour", "not run"),
        ("viewers beside cameras", _viewers()),
        ("from a click on a frame to the first progress of its picture", _clicks()),
    ]
    return f"""## In the cloud

{table(("what", "measured"), rows)}"""


def _cameras() -> str:
    found = result("service")
    if found is None:
        return "not run: `python -m bench service --find-most`"
    return (
        f"{found['max_streams']} at {found['fps']:g} frames a second on"
        f" {found['machine']['cores']} cores; {found['server_cpu_ms_a_frame']:.0f} ms of processor"
        f" time a frame, {found['rss_mb']:.0f} MB (`python -m bench service --find-most`)"
    )


def _pictures() -> str:
    found = result("decode")
    by_steps = {p["steps"]: p["seconds"] for p in found["points"] if p["size"] == [640, 480]}
    said = [f"{3600 / by_steps[steps]:,.0f} with {steps} steps" for steps in (0, 4)]
    cores = found["machine"]["cores"]
    return f"{', '.join(said)} on {cores} cores (`python -m bench decode`)"


def _viewers() -> str:
    found = result("viewer")
    if found is None:
        return "not run: `python -m bench viewers`"
    change, pages = found["change"], max(run["pages"] for run in found["runs"])
    return (
        f"{pages} pages: capture to boxes p50 {change['p50']:+.1%}, p95 {change['p95']:+.1%}"
        " (`python -m bench viewers`)"
    )


def _clicks() -> str:
    found = result("clicks")
    if found is None:
        return "not run: `python -m bench clicks`"
    said = [
        f"{name} decoder p50 {ms['p50']:.0f} ms, p95 {ms['p95']:.0f} ms"
        for name in ("cold", "warm")
        if (ms := found[name].get("first_ms"))
    ]
    return f"{'; '.join(said)} (`python -m bench clicks`)"


if __name__ == "__main__":
    sys.exit(command(PAGE, page(), sys.argv[1:]))
