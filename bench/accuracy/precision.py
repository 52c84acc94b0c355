"""int8 beside float: every picture through both encoders, to bytes and to boxes.

Whoever ships int8 weights should know what they cost: how many integers come out otherwise, how the
bytes change, and the detection accuracy, with a bootstrap interval of the difference on the same
pictures. On clips, layers are coded as chains, as a camera sends them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from bench.accuracy.matching import Draw, Found, Matches, Truth, draws
from bench.accuracy.pixel import MIN_SCORE
from bench.accuracy.rate_accuracy import as_found
from bench.report import write_report
from bench.video.clips import read_clip
from cloud.detector import LayerDetector
from cloud.weights import load_weights as load_for_cloud
from common.errors import BadSettings
from edge.capture.picture import Picture, read_picture
from edge.coding.chain import Chain
from edge.coding.encoder import Encoder
from edge.coding.providers import Precision
from edge.coding.weights import load_weights as load_for_edge
from edge.rate import Plan

QUALITIES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")
_FPS = 5.0
_SECONDS = 60.0  # of each clip


@dataclass
class _Side:
    """What one precision gave at one quality, picture by picture."""

    sizes: list[int] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)


def precision(
    dataset: Path,
    images: Path,
    out: Path,
    weights: Path,
    *,
    clips: Sequence[Path] = (),
    most: int | None = None,
    qualities: Sequence[float] = QUALITIES,
    draw_count: int = 200,
) -> dict[str, Any]:
    """Measures, writes precision.json into `out`, returns the figures.

    Raises BadSettings for weights without int8.
    """
    ours = load_for_edge(weights)
    if ours.encoder_int8 is None:
        raise BadSettings(f"{weights} has no encoder.int8.onnx")
    encoders = {p: Encoder(ours, precision=p) for p in _PRECISIONS}
    truth = Truth(dataset, most)
    figures = {
        "dataset": dataset.name,
        "images": len(truth.images),
        "points": _points(truth, images, weights, encoders, qualities, draw_count),
        "chains": [_chains(clip, encoders, qualities) for clip in clips],
    }
    write_report(out / "precision.json", figures)
    return figures


def _points(
    truth: Truth,
    images: Path,
    weights: Path,
    encoders: dict[Precision, Encoder],
    qualities: Sequence[float],
    draw_count: int,
) -> list[dict[str, Any]]:
    detector = LayerDetector(load_for_cloud(weights), min_score=MIN_SCORE)
    sides = {(p, q): _Side() for p in _PRECISIONS for q in qualities}
    changed, nonzero, whole = np.zeros((3, len(qualities)), np.int64)
    for image in track(truth.images, "pictures"):
        picture = read_picture(images / image["file_name"])
        read = {}
        for p, encoder in encoders.items():
            analysis = encoder.analyse(picture)
            layers = [encoder.layer(analysis, q) for q in qualities]
            read[p] = [detector.read(layer) for layer in layers]
            seen = detector.detect_read(read[p])
            for q, layer, detection in zip(qualities, layers, seen, strict=True):
                sides[p, q].sizes.append(len(layer))
                sides[p, q].found.append(as_found(detection, truth.labels))
        for i, (fp32, int8) in enumerate(zip(read["fp32"], read["int8"], strict=True)):
            changed[i] += np.count_nonzero(fp32.y != int8.y)
            nonzero[i] += np.count_nonzero(fp32.y)
            whole[i] += fp32.y.size
    drawn = draws(len(truth.images), draw_count)
    return [
        {
            "quality": q,
            "changed_of_all": round(changed[i] / whole[i], 6),
            "changed_of_nonzero": round(changed[i] / max(nonzero[i], 1), 4),
            **_bytes({p: sides[p, q].sizes for p in _PRECISIONS}),
            **_accuracy(truth, {p: sides[p, q].found for p in _PRECISIONS}, drawn),
        }
        for i, q in enumerate(track(qualities, "scoring"))
    ]


def _bytes(sizes: dict[Precision, list[int]]) -> dict[str, Any]:
    mean = {p: float(np.mean(s)) for p, s in sizes.items()}
    ratio = round(mean["int8"] / mean["fp32"], 4)
    return {"bytes": {p: round(m, 1) for p, m in mean.items()}, "bytes_ratio": ratio}


def _accuracy(
    truth: Truth, found: dict[Precision, list[Found]], drawn: Sequence[Draw]
) -> dict[str, Any]:
    """Both scores, and int8's less float's with the middle 95 % of the draws."""
    matches = {p: Matches(truth, f) for p, f in found.items()}
    whole = {p: m.score() for p, m in matches.items()}
    lost = [matches["int8"].score(d).map - matches["fp32"].score(d).map for d in drawn]
    figures: dict[str, Any] = {
        "map": {p: round(s.map, 4) for p, s in whole.items()},
        "map50": {p: round(s.map50, 4) for p, s in whole.items()},
        "map_difference": round(whole["int8"].map - whole["fp32"].map, 4),
    }
    if lost:
        figures["map_difference_95"] = np.quantile(lost, (0.025, 0.975)).round(4).tolist()
    return figures


def _chains(
    path: Path, encoders: dict[Precision, Encoder], qualities: Sequence[float]
) -> dict[str, Any]:
    """Mean bytes of a clip's layers, each leaning on the one before where the weights can."""
    sizes: dict[tuple[Precision, float], list[int]] = {}
    chains = {(p, q): Chain(encoder) for p, encoder in encoders.items() for q in qualities}
    clip = read_clip(path, _FPS, _SECONDS)
    for pixels in track(clip.pictures, clip.name):
        picture = Picture.whole(pixels)
        for p, encoder in encoders.items():
            analysis = encoder.analyse(picture)
            for q in qualities:
                coded = chains[p, q].code(analysis, Plan(round(q * 255), 0))
                sizes.setdefault((p, q), []).append(len(coded.data))
    points = [{"quality": q, **_bytes({p: sizes[p, q] for p in _PRECISIONS})} for q in qualities]
    return {"clip": clip.name, "fps": _FPS, "layers": len(clip.pictures), "points": points}
