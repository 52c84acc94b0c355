"""What a frame costs on the edge, beside the picture codecs that would be used instead.

All codecs code the same frames in the same run, in turn, so that a busy machine is busy for all.
"""

from __future__ import annotations

import io
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.report import write_report
from edge.capture import open_source
from edge.encoder import Encoder
from edge.pictures import Picture
from edge.weights import load_weights


def edge(source: str, out: Path, weights: Path, frames: int, threads: int) -> dict[str, Any]:
    """Measures on `frames` frames at 640 x 480; writes edge.json into `out`."""
    encoder = Encoder(load_weights(weights), threads=threads)
    pictures = _frames(source, frames)
    codecs: dict[str, Callable[[Image.Image], int]] = {
        "jpeg": lambda p: _saved(p, "JPEG", quality=75),
        "webp": lambda p: _saved(p, "WEBP"),
        "avif": lambda p: _saved(p, "AVIF"),
    }
    analyse: list[float] = []
    entropy: list[float] = []
    sizes: list[int] = []
    peers: dict[str, list[float]] = {name: [] for name in codecs}
    encoder.layer(encoder.analyse(pictures[0]), 0.4)  # the first run plans its memory
    for picture in pictures:
        started = time.perf_counter()
        analysis = encoder.analyse(picture)
        between = time.perf_counter()
        sizes.append(len(encoder.layer(analysis, 0.4)))
        analyse.append(between - started)
        entropy.append(time.perf_counter() - between)
        image = Image.fromarray(picture.pixels)
        for name, code in codecs.items():
            started = time.perf_counter()
            code(image)
            peers[name].append(time.perf_counter() - started)
    figures = {
        "size": "640x480",
        "frames": len(pictures),
        "threads": threads,
        "encode_ms": {
            "network": _ms(analyse),
            "entropy": _ms(entropy),
            "total": _ms([a + e for a, e in zip(analyse, entropy, strict=True)]),
        },
        "layer_bytes": round(statistics.mean(sizes), 1),
        **{f"{name}_encode_ms": _ms(times) for name, times in peers.items()},
        "peak_rss_mb": _peak_mb(pictures[0], weights),
    }
    write_report(out / "edge.json", figures)
    return figures


_PROCESS = """
import sys
from edge.main import app
app(sys.argv[1:], standalone_mode=False)
(peak,) = (line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(peak.split()[1])
"""


def _peak_mb(picture: Picture, weights: Path) -> float | None:
    """Peak memory of a `glimpse-edge encode` process of one frame; None where /proc is not."""
    if sys.platform != "linux":
        return None
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "photo.png"
        Image.fromarray(picture.pixels).save(photo)
        command = [sys.executable, "-c", _PROCESS, "encode", str(photo), "-o", folder]
        done = subprocess.check_output([*command, "--weights", str(weights)], text=True)
    return round(int(done.splitlines()[-1]) / 1024, 1)


def _frames(source: str, count: int) -> list[Picture]:
    found = []
    for frame in open_source(source, 5.0):
        image = Image.fromarray(frame.read().pixels).resize((640, 480))
        found.append(Picture.whole(np.asarray(image)))
        if len(found) == count:
            break
    return found


def _saved(picture: Image.Image, codec: str, **options: Any) -> int:
    buffer = io.BytesIO()
    picture.save(buffer, codec, **options)
    return buffer.tell()


def _ms(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "p50": round(1000 * statistics.median(ordered), 2),
        "p95": round(1000 * ordered[int(0.95 * (len(ordered) - 1))], 2),
    }
