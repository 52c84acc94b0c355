"""What open viewer pages cost the cameras, and how soon a page with many stored frames is usable.

    glimpse-edge run ──TLS──> glimpse-cloud serve ──TLS──> watchers.py: no page, or `viewers`

One server, whose store has `frames` frames from before. The camera runs several times, without
pages and with them in turn (none, all, all, none), so that a machine that grows slower or faster
favours neither. Then a browser opens the page, if there is one.
"""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.report import write_report
from bench.service.browser import logged_in
from bench.service.processes import (
    ROOT,
    authority,
    camera_command,
    free_port,
    make_token,
    read_summary,
)
from bench.service.processes import serving as serving_process
from cloud.folder import data_files
from cloud.store import Found
from cloud.store.sqlite import SqliteFrameStore
from common.errors import BadSettings
from common.types import Box, FrameId, Layer
from edge.capture.picture import Picture
from edge.coding.encoder import Encoder
from edge.coding.weights import load_weights

_SETTLE_S = 3.0  # for pages to connect
_LOADS = 5
_USABLE = "performance.getEntriesByName('glimpse-usable')[0]?.startTime ?? null"


def viewers(
    source: str, out: Path, weights: Path, *, count: int, frames: int, seconds: float, rounds: int
) -> dict[str, Any]:
    """Runs the camera 2 x `rounds` times for `seconds`. Writes viewer.json into `out`."""
    with tempfile.TemporaryDirectory(prefix="glimpse-viewers-") as folder:
        data = Path(folder)
        make_token(data, "camera", "camera")
        token = make_token(data, "viewer", "viewer").read_text().strip()
        _fill(data, frames, weights)
        web = f"127.0.0.1:{free_port()}"
        env = {"GLIMPSE_CLOUD_WEIGHTS": str(weights.resolve())}
        with serving_process(data, env, web) as server:
            page = _page_times(f"https://{web}", token)
            runs = []
            for pages in _order(count, rounds):
                with _watching(data, web, token, pages) as got:
                    summary = _camera(data, server, source, weights, seconds)
                runs.append(_run(pages, summary, got, seconds))
    latency = {
        str(pages): _together([run for run in runs if run["pages"] == pages])
        for pages in (0, count)
    }
    report = {
        "source": Path(source).name,
        "seconds": seconds,
        "frames_stored": frames,
        "usable_ms": page,
        "runs": runs,
        "latency_ms": latency,
        "change": _change(latency, count),
    }
    write_report(out / "viewer.json", report)
    return report


def _order(count: int, rounds: int) -> list[int]:
    """none, all, all, none, none, all, ..."""
    return [count * ((n + 1) // 2 % 2) for n in range(2 * rounds)]


def _fill(data: Path, frames: int, weights: Path) -> None:
    """Frames of an hour ago, five a second, each the layer of one picture, with some boxes."""
    rng = np.random.default_rng(1)
    pixels = Image.fromarray(rng.integers(0, 256, (60, 80, 3), np.uint8)).resize((640, 480))
    encoder = Encoder(load_weights(weights), threads=1)
    layer = encoder.layer(encoder.analyse(Picture.whole(np.asarray(pixels))), 0.4)
    start = time.time() - 3600 - frames / 5
    names = [FrameId("before", "b1", seq) for seq in range(frames)]
    with closing(SqliteFrameStore(data_files(data)[0])) as store:
        store.write(
            [Layer(name, start + name.seq / 5, layer) for name in names],
            [Found(name, _boxes(name.seq), "bench") for name in names],
        )


def _boxes(seq: int) -> tuple[Box, ...]:
    return tuple(
        Box("person" if n % 2 else "car", 0.5, x, 200.0, x + 30, 260.0)
        for n in range(seq % 6)
        for x in [float((seq * 3 + n * 97) % 600)]
    )


@contextmanager
def _watching(data: Path, web: str, token: str, pages: int) -> Iterator[dict[str, int]]:
    """Open pages while the body runs; afterwards what they got is in the dictionary."""
    got: dict[str, int] = {}
    if not pages:
        yield got
        return
    watchers = [sys.executable, "-m", "bench.service.watchers"]
    command = [*watchers, web, str(authority(data)), str(pages)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("no pipe")
        process.stdin.write(token)
        process.stdin.close()
        time.sleep(_SETTLE_S)
        try:
            yield got
        finally:
            process.send_signal(signal.SIGTERM)
            got |= json.loads(process.stdout.read() or "{}")


def _camera(data: Path, server: str, source: str, weights: Path, seconds: float) -> dict[str, Any]:
    command = [
        *camera_command(data, "camera", source, server),
        "--weights", str(weights.resolve()), "--seconds", str(seconds),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
    return read_summary(data, done.returncode)


def _run(
    pages: int, summary: dict[str, Any], got: dict[str, int], seconds: float
) -> dict[str, Any]:
    latency = summary["capture_to_boxes_ms"]
    run = {
        "pages": pages,
        "frames": latency["frames"],
        "p50": latency["p50"],
        "p95": latency["p95"],
    }
    if pages:
        run["pages_open"] = got.get("pages", 0)
        run["events_a_page"] = round(got.get("events", 0) / pages, 1)
        run["bytes_a_second_a_page"] = round(got.get("bytes", 0) / pages / seconds)
    return run


def _together(runs: list[dict[str, Any]]) -> dict[str, float]:
    return {name: round(statistics.mean(run[name] for run in runs), 1) for name in ("p50", "p95")}


def _change(latency: dict[str, dict[str, float]], count: int) -> dict[str, float]:
    """By which part the latency is longer with the pages open."""
    without, beside = latency["0"], latency[str(count)]
    return {name: round(beside[name] / without[name] - 1, 3) for name in without}


def _page_times(url: str, token: str) -> dict[str, Any] | None:
    """Milliseconds from the start of loading /frames to its being usable; None: no browser."""
    try:
        with logged_in(url, token, "/frames") as page:
            page.locator(".tile").first.wait_for()
            taken = []
            for _ in range(_LOADS):
                page.goto(f"{url}/frames")
                while (usable := page.evaluate(_USABLE)) is None:
                    page.wait_for_timeout(20)
                taken.append(round(usable, 1))
    except BadSettings:
        return None
    return {"loads": taken, "median": statistics.median(taken), "best": min(taken)}
