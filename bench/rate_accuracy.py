"""Bytes on disk against detection accuracy, over a COCO data set.

Every picture goes the whole way: file -> edge encoder -> layer bytes -> cloud detector -> boxes.
bpp is layer bytes (header and checksum included) times 8 over source pixels. On the way each
layer's integers are compared, bit for bit, with those that the encoder put in.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from rich.progress import track

from bench.report import write_report
from cloud.detector import LayerDetector
from cloud.weights import load_weights as load_for_cloud
from edge.encoder import Encoder
from edge.pictures import read_picture
from edge.weights import load_weights as load_for_edge
from train.evaluate import score

QUALITIES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def rate_accuracy(
    dataset: Path,
    images: Path,
    out: Path,
    weights: Path,
    most: int | None,
    qualities: Sequence[float],
) -> dict[str, Any]:
    """Measures, writes rate_accuracy.json and .png into `out`, returns the figures."""
    index = json.loads(dataset.read_text())
    chosen = index["images"][:most]
    encoder = Encoder(load_for_edge(weights), threads=2)
    detector = LayerDetector(load_for_cloud(weights), min_score=0.005)
    rows: dict[float, list[dict[str, Any]]] = {q: [] for q in qualities}
    sizes: dict[float, list[tuple[int, float]]] = {q: [] for q in qualities}
    mismatches = 0
    for image in track(chosen, "pictures"):
        picture = read_picture(images / image["file_name"])
        analysis = encoder.analyse(picture)
        layers = [encoder.layer(analysis, q) for q in qualities]
        read = [detector.read(layer) for layer in layers]
        found = detector.detect_read(read)  # one batch: the layers of one picture are of one size
        for q, layer, (_, integers), detection in zip(qualities, layers, read, found, strict=True):
            mismatches += not np.array_equal(integers, encoder.integers(analysis, q))
            sizes[q].append((len(layer), len(layer) * 8 / (picture.width * picture.height)))
            for b in detection.boxes:
                box = [b.x1, b.y1, b.x2 - b.x1, b.y2 - b.y1]
                label = detector.labels.index(b.label)
                row = {"image_id": image["id"], "category_id": label, "bbox": box}
                rows[q].append(row | {"score": b.score})
    ids = [image["id"] for image in chosen]
    categories = [c["id"] for c in index["categories"]]
    points = [
        {
            "codec": "glimpse",
            "setting": f"quality {q}",
            "resolution": "source, longer side at most 640",
            "detector": detector.model,
            "mean_bytes": round(float(np.mean([size for size, _ in sizes[q]])), 1),
            "bpp": round(float(np.mean([bpp for _, bpp in sizes[q]])), 5),
            **{k: round(v, 4) for k, v in score(dataset, ids, rows[q], categories).items()},
        }
        for q in qualities
    ]
    figures = {
        "dataset": dataset.name,
        "images": len(chosen),
        "round_trip_mismatches": mismatches,
        "points": points,
    }
    write_report(out / "rate_accuracy.json", figures)
    _plot(points, out / "rate_accuracy.png")
    return figures


def _plot(points: list[dict[str, Any]], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    bpp = [p["bpp"] for p in points]
    axes.plot(bpp, [100 * p["map50"] for p in points], "o-", color="#1f77b4", label="mAP50")
    axes.plot(bpp, [100 * p["map"] for p in points], "s--", color="#ff7f0e", label="mAP")
    axes.set_xscale("log")
    axes.set_xlabel("bits per source pixel, header included")
    axes.set_ylabel("%")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    axes.set_title("glimpse: detection accuracy by rate, one model")
    figure.savefig(path, dpi=110)
    plt.close(figure)
