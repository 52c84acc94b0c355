"""Time and memory of the human decoder, by size of the picture and number of steps."""

from __future__ import annotations

import resource
import statistics
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from bench.report import write_report
from cloud.pictures.human import HUMAN, HumanDecoder
from edge.capture.picture import Pixels, read_picture
from train.codecs import resized

SIZES = ((320, 240), (640, 480), (1280, 720))
STEPS = (0, 1, 4, 8)
QUALITY = 70


def decode(
    picture: Path, out: Path, weights: Path, *, device: str = "cpu", repeats: int = 3
) -> dict[str, Any]:
    """Writes out/decode.json: each size in a process of its own, so that memory is its own."""
    pixels = read_picture(picture).pixels
    context = get_context("spawn")
    rows: list[dict[str, Any]] = []
    for width, height in SIZES:
        with context.Pool(1) as pool:
            task = (resized(pixels, width, height), weights, device, repeats)
            rows += pool.apply(_measure, task)
    figures = {"device": device, "threads": _threads(), "repeats": repeats, "points": rows}
    write_report(out / "decode.json", figures)
    return figures


def _threads() -> int:
    return torch.get_num_threads()


def _measure(pixels: Pixels, weights: Path, device: str, repeats: int) -> list[dict[str, Any]]:
    from bench.pictures.rate_quality import Ours

    begun = time.perf_counter()
    ours = Ours(weights)
    decoder = HumanDecoder.load(weights / HUMAN, device)
    load_s = time.perf_counter() - begun
    base = ours.machine(pixels)
    layer = ours.auxiliary(pixels, base, QUALITY)
    del ours
    rows = []
    for steps in STEPS if decoder.refines else (0,):
        decoder.restore(base, layer, steps=steps)  # the first one of a size prepares
        times = []
        for _ in range(repeats):
            begun = time.perf_counter()
            decoder.restore(base, layer, steps=steps)
            times.append(time.perf_counter() - begun)
        rows.append(
            {
                "size": [pixels.shape[1], pixels.shape[0]],
                "steps": steps,
                "seconds": round(statistics.median(times), 3),
                "peak_mb": _peak_mb(device),
                "load_s": round(load_s, 2),
                "auxiliary_bytes": len(layer),
            }
        )
    return rows


def _peak_mb(device: str) -> int:
    if device != "cpu":
        return round(torch.cuda.max_memory_allocated() / 2**20)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
