"""What a frame costs on the edge, beside what would be used instead, all in one run.

Ours by stage, in each precision that the weights have: from pixels of 640 x 480 to a layer's
bytes. Beside it JPEG, WebP and AVIF as Pillow codes them by default, and the whole pixel detector
on our own runtime with as many threads. All take each frame in turn, and each is the first as often
as any other: a busy machine is busy for all. `ratios` are medians over pairs of the same frame.
"""

from __future__ import annotations

import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import PIL
from PIL import Image

from bench.edge.macs import macs
from bench.report import write_report
from edge.capture.file import open_source
from edge.capture.picture import Picture
from edge.coding.chain import Chain
from edge.coding.encoder import Encoder, prepared
from edge.coding.network import choose
from edge.coding.providers import Precision
from edge.coding.weights import EdgeWeights, load_weights
from edge.rate import Plan

QUALITY = 0.4
_WIDTH, _HEIGHT = 640, 480
_SIDE = 640
_PLAN = Plan(best=round(QUALITY * 255), least=0)
_CODECS = ("jpeg", "webp", "avif")

Stages = dict[str, float]
"""Seconds by stage; `total` is the time that passed, `cpu` that of all threads together."""

Contender = Callable[[Picture], Stages]


def edge(
    source: str, out: Path, weights: Path, pixel_run: Path | None, frames: int, threads: int
) -> dict[str, Any]:
    """Measures on `frames` frames at 5 a second; writes edge.json into `out`.

    pixel_run  folder of `train pixel`; None: without the detector on the edge
    """
    ours = load_weights(weights)
    pictures = _frames(source, frames)
    precisions: list[Precision] = ["fp32"] if ours.encoder_int8 is None else ["fp32", "int8"]
    chosen = "fp32" if choose(ours, "cpu", "auto") is ours.encoder else "int8"
    encoders: dict[str, _Ours] = {p: _Ours(ours, p, threads) for p in precisions}
    contenders: dict[str, Contender] = {name: _codec(name) for name in _CODECS}
    contenders |= dict[str, Contender](encoders)
    detectors = {} if pixel_run is None else _networks(pixel_run, pictures, precisions)
    contenders |= {f"detector {p}": _detector(n, threads) for p, n in detectors.items()}
    times = _in_turn(contenders, pictures)
    rivals = [name for name in contenders if name not in precisions]
    memory: dict[str, float | None] = {p: _peak_mb(pictures[0], weights, p) for p in precisions}
    figures = {
        "size": f"{_WIDTH}x{_HEIGHT}",
        "frames": len(pictures),
        "threads": threads,
        "quality": QUALITY,
        "precision": chosen,
        "macs_per_pixel": _per_pixel(ours.encoder),
        "encode_ms": _milliseconds(times[chosen]),
        **{f"{name}_encode_ms": _milliseconds(times[name])["total"] for name in _CODECS},
        "cpu_ms": {name: _milliseconds(runs)["cpu"] for name, runs in times.items()},
        **_detector_figures(detectors, times, chosen),
        "precisions": {
            p: {
                "encode_ms": _milliseconds(times[p]),
                "layer_bytes": round(statistics.mean(encoder.sizes), 1),
                "peak_rss_mb": memory[p],
            }
            for p, encoder in encoders.items()
        },
        "ratios": {p: {r: _ratio(times[p], times[r], "total") for r in rivals} for p in encoders},
        "cpu_ratios": {p: {r: _ratio(times[p], times[r], "cpu") for r in rivals} for p in encoders},
        "peak_rss_mb": memory[chosen],
        "versions": {"pillow": PIL.__version__, "onnxruntime": ort.__version__},
    }
    write_report(out / "edge.json", figures)
    return figures


class _Ours:
    """An intra layer of each frame; beside it the time to code an inter layer instead."""

    def __init__(self, weights: EdgeWeights, precision: Precision, threads: int) -> None:
        self.sizes: list[int] = []
        self._encoder = Encoder(weights, threads=threads, side=_SIDE, precision=precision)
        self._chain = Chain(self._encoder)

    def __call__(self, picture: Picture) -> Stages:
        watch = _Watch()
        ready = Picture.whole(prepared(picture, _SIDE))
        watch.lap("preprocess")
        analysis = self._encoder.analyse(ready)
        watch.lap("network")
        layer = self._encoder.layer(analysis, QUALITY)
        watch.lap("entropy")
        stages = watch.stop()
        self.sizes.append(len(layer))
        if self._encoder.codes_inter:
            watch = _Watch()
            self._chain.code(analysis, _PLAN)
            stages["entropy_inter"] = watch.stop()["total"]
        return stages


def _detector(network: bytes, threads: int) -> Contender:
    from bench.edge.detector import EdgeDetector

    detector = EdgeDetector(network, threads)

    def detect(picture: Picture) -> Stages:
        watch = _Watch()
        x = prepared(picture, _SIDE)
        watch.lap("preprocess")
        logits, boxes = detector.infer(x)
        watch.lap("network")
        detector.boxes(logits, boxes)
        watch.lap("boxes")
        return watch.stop()

    return detect


def _codec(name: str) -> Contender:
    def code(picture: Picture) -> Stages:
        image = Image.fromarray(picture.pixels)
        watch = _Watch()
        image.save(io.BytesIO(), name)
        return watch.stop()

    return code


class _Watch:
    """Seconds by stage; in all; and of all threads' computing, which waiting is no part of."""

    def __init__(self) -> None:
        self._stages: Stages = {}
        self._cpu = time.process_time()
        self._started = self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self._stages[stage], self._last = now - self._last, now

    def stop(self) -> Stages:
        total = time.perf_counter() - self._started
        return self._stages | {"total": total, "cpu": time.process_time() - self._cpu}


def _in_turn(
    contenders: Mapping[str, Contender], pictures: Sequence[Picture]
) -> dict[str, list[Stages]]:
    """Every contender on every picture; who begins moves on from picture to picture."""
    names = list(contenders)
    times: dict[str, list[Stages]] = {name: [] for name in names}
    for name in 2 * names:  # the first runs plan memory and fill caches
        contenders[name](pictures[0])
    for i, picture in enumerate(pictures):
        first = i % len(names)
        for name in names[first:] + names[:first]:
            times[name].append(contenders[name](picture))
    return times


def _networks(
    run: Path, pictures: Sequence[Picture], precisions: Sequence[Precision]
) -> dict[Precision, bytes]:
    """The detector in the precisions that ours has; int8 takes its ranges from these very frames:
    good enough for its time, its accuracy is not looked at."""
    from bench.edge.detector import detector_onnx
    from train.int8 import int8

    network = detector_onnx(run, _HEIGHT, _WIDTH)
    made: dict[Precision, bytes] = {"fp32": network}
    if "int8" in precisions:
        made["int8"] = int8(network, [picture.pixels for picture in pictures[::4]])
    return made


def _detector_figures(
    networks: Mapping[Precision, bytes], times: Mapping[str, list[Stages]], chosen: str
) -> dict[str, Any]:
    """`pixel_detector_ms` is in the precision that ours is chosen to run in."""
    if not networks:
        return {}
    found = {p: _milliseconds(times[f"detector {p}"]) for p in networks}
    return {
        "pixel_detector_ms": next(ms["total"] for p, ms in found.items() if p == chosen),
        "pixel_detector": {"macs_per_pixel": _per_pixel(networks["fp32"]), **found},
    }


def _per_pixel(network: bytes) -> int:
    return round(macs(network, (1, _HEIGHT, _WIDTH, 3)) / (_HEIGHT * _WIDTH))


_PROCESS = """
import sys
from edge.main import app
app(sys.argv[1:], standalone_mode=False)
(peak,) = (line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(peak.split()[1])
"""


def _peak_mb(picture: Picture, weights: Path, precision: Precision) -> float | None:
    """Peak memory of a `glimpse-edge encode` process of one frame; None where /proc is not."""
    if sys.platform != "linux":
        return None
    environment = os.environ | {"GLIMPSE_EDGE_PRECISION": precision}
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "photo.png"
        Image.fromarray(picture.pixels).save(photo)
        command = [sys.executable, "-c", _PROCESS, "encode", str(photo), "-o", folder]
        command += ["--weights", str(weights)]
        done = subprocess.check_output(command, text=True, env=environment)
    return round(int(done.splitlines()[-1]) / 1024, 1)


def _frames(source: str, count: int) -> list[Picture]:
    found = []
    for frame in open_source(source, 5.0):
        image = Image.fromarray(frame.read().pixels).resize((_WIDTH, _HEIGHT))
        found.append(Picture.whole(np.asarray(image)))
        if len(found) == count:
            break
    return found


def _milliseconds(runs: Sequence[Stages]) -> dict[str, dict[str, float]]:
    """p50 and p95 of every stage."""
    return {s: _spread([1000 * run[s] for run in runs]) for s in runs[0]}


def _spread(values: Sequence[float]) -> dict[str, float]:
    p50, p95 = np.quantile(values, (0.5, 0.95))
    return {"p50": round(float(p50), 2), "p95": round(float(p95), 2)}


def _ratio(ours: Sequence[Stages], theirs: Sequence[Stages], of: str) -> float:
    """Median over the frames of our time by theirs."""
    pairs = zip(ours, theirs, strict=True)
    return float(f"{statistics.median(a[of] / b[of] for a, b in pairs):.3g}")
