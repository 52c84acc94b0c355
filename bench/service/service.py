"""The service under load: from capture to boxes, by stage; what it adds to the bare detector.

    glimpse-edge run (one process a camera) ──TLS──> glimpse-cloud serve          `service`
    real sessions, layers coded before      ──TLS──> glimpse-cloud serve          `find_most`

The bare detector is the same one, in this process, on the layers that the server stored.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import structlog
from prometheus_client.parser import text_string_to_metric_families

from bench.report import write_report
from bench.service.processes import ROOT, authority, camera_command, free_port, make_token, serving
from bench.service.sessions import Got, send
from cloud.access.identity import Identities
from cloud.detector import LayerDetector
from cloud.folder import data_files
from cloud.settings import read_settings
from cloud.store.sqlite import SqliteFrameStore
from cloud.weights import load_weights
from common.bitstream import is_inter
from common.codec import Coded
from edge.capture.sources import camera_frames
from edge.coding.chain import Chain
from edge.coding.encoder import Encoder
from edge.coding.weights import load_weights as load_edge_weights
from edge.rate import Plan
from edge.settings import read_settings as read_edge_settings

_QUALITY = 0.4
_MOST_BARE = 300  # layers that the bare detector is measured on
_CHAIN = 50
_SPREAD = 3.0  # p99 over p50 that still counts as holding
_SHARE = 0.98  # of the frames that are to arrive
_LOAD = 0.8


def service(
    source: str,
    out: Path,
    weights: Path,
    *,
    cameras: int,
    fps: float,
    seconds: float,
    find_most: bool,
) -> dict[str, Any]:
    """Writes service.json and service.png into `out`."""
    weights = weights.resolve()
    with tempfile.TemporaryDirectory(prefix="glimpse-service-") as folder:
        report = _processes(Path(folder), source, weights, cameras, fps, seconds)
    if find_most:
        with tempfile.TemporaryDirectory(prefix="glimpse-service-") as folder:
            report |= _find_most(Path(folder), source, weights, fps, seconds)
        bare = report["bare_detector"]["frames_per_second"]
        report["bare_streams_at_80"] = math.floor(_LOAD * bare / fps)
    report = {"source": Path(source).name, "cameras": cameras, "fps": fps, "seconds": seconds,
              **report}  # fmt: skip
    write_report(out / "service.json", report)
    _plot(out / "service.png", report)
    return report


# -- real camera processes


def _processes(
    data: Path, source: str, weights: Path, cameras: int, fps: float, seconds: float
) -> dict[str, Any]:
    names = [f"camera-{n}" for n in range(cameras)]
    homes = [_home(data, name) for name in names]
    page = f"127.0.0.1:{free_port()}"
    with serving(data, {"GLIMPSE_CLOUD_WEIGHTS": str(weights)}, metrics=page) as server:
        before = _metrics(page)
        began = time.monotonic()
        commands = [
            [
                *camera_command(home, name, source, server), "--fps", str(fps),
                "--quality", str(_QUALITY), "--weights", str(weights), "--seconds", str(seconds),
            ]
            for name, home in zip(names, homes, strict=True)
        ]  # fmt: skip
        running = [
            subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) for command in commands
        ]
        codes = [process.wait() for process in running]
        took = time.monotonic() - began
        after = _metrics(page)
    if any(codes):
        raise SystemExit(f"cameras ended with {codes}")
    summaries = [_summary(home) for home in homes]
    frames = sum(summary["acked"] for summary in summaries)
    cpu = (after["process_cpu_seconds_total"] - before["process_cpu_seconds_total"]) / frames
    bare = _bare(data, names, weights)
    return {
        "cameras_are": "real glimpse-edge processes on the same machine",
        "latency_ms": _worst([summary["capture_to_boxes_ms"] for summary in summaries]),
        "stages_ms": _stages(summaries, before, after),
        "frames": frames,
        "captured": sum(summary["captured"] for summary in summaries),
        "frames_per_second": round(frames / took, 2),
        "adds_up": all(summary["adds_up"] for summary in summaries),
        "server_cpu_ms_a_frame": round(cpu * 1000, 2),
        "bare_detector": bare,
        "server_cpu_overhead": round(cpu * 1000 / bare["cpu_ms_a_frame"] - 1, 3),
        "rss_mb": round(after["process_resident_memory_bytes"] / 1e6, 1),
    }


def _home(data: Path, name: str) -> Path:
    """A folder for one camera's files, that trusts this server."""
    home = data / "homes" / name
    home.mkdir(parents=True)
    token = make_token(data, "camera", name)
    (home / "camera.token").write_text(token.read_text())
    (home / "tls").symlink_to(data / "tls")
    return home


def _summary(home: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((home / "summary.json").read_text())
    return summary


def _worst(all_of_them: Sequence[dict[str, float]]) -> dict[str, float]:
    """Of the camera that fared worst, each figure for itself: with one camera, its own."""
    return {name: max(one[name] for one in all_of_them) for name in ("p50", "p95", "p99")}


def _stages(
    summaries: Sequence[dict[str, Any]], before: dict[str, float], after: dict[str, float]
) -> dict[str, Any]:
    """On the camera: percentiles; on the server: means of what it did in that time."""
    stages: dict[str, Any] = {
        name: _worst([summary["stages_ms"][name] for summary in summaries])
        for name in summaries[0]["stages_ms"]
    }
    for name, metric in (("commit", "store_commit"), ("detect", "detect")):
        total, count = (
            after[f"glimpse_{metric}_seconds_{part}"] - before[f"glimpse_{metric}_seconds_{part}"]
            for part in ("sum", "count")
        )
        stages[name] = {"mean": round(total / max(count, 1) * 1000, 2)}
    return stages


def _metrics(page: str) -> dict[str, float]:
    """Those without labels, by name."""
    with urllib.request.urlopen(f"http://{page}/metrics") as response:
        families = list(text_string_to_metric_families(response.read().decode()))
    return {s.name: s.value for family in families for s in family.samples if not s.labels}


# -- the bare detector


def _bare(data: Path, names: Sequence[str], weights: Path) -> dict[str, Any]:
    """Decoding and detection alone, on stored layers: one by one, and in batches as they come."""
    settings = read_settings()
    detector = LayerDetector(
        load_weights(weights), threads=settings.threads, min_score=settings.min_score
    )
    with closing(SqliteFrameStore(data_files(data)[0], read_only=True)) as store:
        frames = [f for name in names for f in store.frames(camera=name, limit=1_000_000)]
    frames.sort(key=lambda f: (f.frame.camera, f.frame.boot, f.frame.seq))
    layers = [frame.data for frame in frames[:_MOST_BARE]]
    _run(detector, layers[:_CHAIN], 1)  # the first ones are slower
    cpu, wall = _run(detector, layers, 1)
    _, batched = _run(detector, layers, settings.batch)
    return {
        "layers": len(layers),
        "cpu_ms_a_frame": round(cpu / len(layers) * 1000, 2),
        "wall_ms_a_frame": round(wall / len(layers) * 1000, 2),
        "wall_ms_a_frame_in_batches": round(batched / len(layers) * 1000, 2),
        "frames_per_second": round(len(layers) / min(wall, batched), 1),
    }


def _run(detector: LayerDetector, layers: Sequence[bytes], batch: int) -> tuple[float, float]:
    """Seconds of processor and of wall time."""
    cpu, wall = time.process_time(), time.perf_counter()
    last: Coded | None = None
    waiting: list[Coded] = []
    for data in layers:
        last = detector.read(data, last if is_inter(data) else None)
        waiting.append(last)
        if len(waiting) == batch:
            detector.detect_read(waiting)
            waiting = []
    detector.detect_read(waiting)
    return time.process_time() - cpu, time.perf_counter() - wall


# -- the most streams


def _find_most(
    data: Path, source: str, weights: Path, fps: float, seconds: float
) -> dict[str, Any]:
    warnings = structlog.make_filtering_bound_logger(30)
    structlog.configure(wrapper_class=warnings)  # not each session's connecting
    layers, model_id = _coded(source, weights, fps)
    identities = Identities(data_files(data)[1])
    data.mkdir(exist_ok=True)
    tokens: dict[str, str] = {}

    def first(count: int) -> dict[str, str]:
        for n in range(len(tokens), count):
            tokens[f"stream-{n}"] = identities.add("camera", f"stream-{n}")
        return dict(list(tokens.items())[:count])

    with serving(data, {"GLIMPSE_CLOUD_WEIGHTS": str(weights)}) as server:
        trusted = authority(data).read_bytes()

        def measure(count: int) -> dict[str, Any]:
            got = asyncio.run(
                send(server, trusted, first(count), layers, model_id,
                     fps=fps, seconds=seconds)
            )  # fmt: skip
            return step(count, got, fps)

        most, steps = search(measure)
    return {
        "max_streams": most,
        "max_streams_are": "real sessions over TLS from one process on the same machine",
        "steps": steps,
    }


def search(measure: Callable[[int], dict[str, Any]]) -> tuple[int, list[dict[str, Any]]]:
    """The most streams that hold, by doubling and halving; each step that was measured."""
    steps: dict[int, dict[str, Any]] = {}

    def holds(count: int) -> bool:
        steps[count] = steps.get(count) or measure(count)
        return bool(steps[count]["holds"])

    good, bad = 0, 1
    while holds(bad):
        good, bad = bad, 2 * bad
    while bad - good > max(1, good // 16):
        middle = (good + bad) // 2
        good, bad = (middle, bad) if holds(middle) else (good, middle)
    return good, [steps[count] for count in sorted(steps)]


def step(count: int, got: Got, fps: float) -> dict[str, Any]:
    """What so many streams gave, and whether that holds.

    It does if nearly all boxes came, half of them within a frame's interval, and p99 is under three
    times p50. A queue that grows without end would pass the last alone: all are late then.
    """
    times = {f"p{q}": _percentile(got.latency, q) for q in (50, 95, 99)}
    share = len(got.latency) / got.sent
    in_time = times["p50"] <= 1000 / fps and times["p99"] < _SPREAD * times["p50"]
    return {
        "streams": count,
        "frames": got.sent,
        "acked": got.acked,
        "with_boxes": round(share, 4),
        "latency_ms": times,
        "holds": share >= _SHARE and in_time,
    }


def _percentile(ordered: Sequence[float], percent: float) -> float:
    """Milliseconds, nearest rank; 0 if nothing came."""
    if not ordered:
        return 0.0
    rank = max(math.ceil(percent / 100 * len(ordered)), 1)
    return round(ordered[rank - 1] * 1000, 1)


def _coded(source: str, weights: Path, fps: float) -> tuple[list[bytes], int]:
    """A chain of layers of the source's first frames, and the model that they are of."""
    loaded = load_edge_weights(weights)
    encoder = Encoder(loaded, threads=os.cpu_count() or 1)
    chain = Chain(encoder)
    settings = read_edge_settings(fps=fps, loop=True)
    quality = round(_QUALITY * 255)
    layers = []
    frames = camera_frames(settings, source, threading.Event())
    with closing(frames):
        for frame in frames:
            analysis = encoder.analyse(frame.read())
            layers.append(chain.code(analysis, Plan(quality, quality)).data)
            if len(layers) == _CHAIN:
                break
    return layers, loaded.manifest.model_id


def _plot(path: Path, report: dict[str, Any]) -> None:
    """Latency over streams, if they were looked for; else the stages of a frame."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 3.5))
    if steps := report.get("steps"):
        for name in ("p50", "p95", "p99"):
            times = [step["latency_ms"][name] for step in steps]
            axis.plot([step["streams"] for step in steps], times, "o-", label=name)
        axis.axvline(report["bare_streams_at_80"], color="0.6", ls="--",
                     label="bare detector, 80 %")  # fmt: skip
        axis.set(xlabel=f"streams of {report['fps']:g} frames a second", yscale="log")
        axis.set_ylabel("ms, sent to boxes")
        axis.legend()
    else:
        stages = report["stages_ms"]
        middle = [stage.get("p50", stage.get("mean")) for stage in stages.values()]
        axis.barh(list(stages), middle)
        axis.set_xlabel(f"ms, median or mean; capture to boxes {report['latency_ms']['p50']} ms")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
