"""Bytes on disk against detection accuracy: ours, and every opponent at its best.

Ours goes the whole way: file -> edge encoder -> layer bytes -> cloud detector -> boxes, and each
layer's integers are compared, bit for bit, with those that the encoder put in.

The opponents send a picture, coded at many scales and qualities, to the pixel detector: the same
networks without a bottleneck, as they are and fine-tuned on coded pictures. Coded pictures are
scaled back to the size at which that detector is best on uncompressed ones. One opponent sends no
picture: the whole detector runs on the edge and its boxes are sent.

bpp is a file's bytes (header and checksum included) times 8 over source pixels, averaged over the
pictures. BD-rates and bytes are of mean bytes a picture; `payload` leaves the file's container out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from bench.accuracy import boxes_sent
from bench.accuracy.comparisons import EDGE, comparisons
from bench.accuracy.matching import Found, Matches, Truth, draws
from bench.accuracy.measured import Bench, Measured, workers
from bench.accuracy.opponents import Opponent, Uncompressed, image_codecs, versions
from bench.accuracy.peer import LearnedPeer
from bench.accuracy.pixel import MIN_SCORE, PixelDetector
from bench.accuracy.points import OURS, Point, Scored
from bench.accuracy.rate_plot import plot
from bench.accuracy.scores import all_scores
from bench.report import write_report
from cloud.detector import Detection, LayerDetector
from cloud.weights import load_weights as load_for_cloud
from common.errors import BadSettings
from edge.capture.picture import read_picture
from edge.coding.encoder import Encoder
from edge.coding.weights import load_weights as load_for_edge

QUALITIES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)
_SIDES = (640, 512, 448, 384)  # where the pixel detector may be at its best
_BOXES_FROM = (0.05, 0.1, 0.2, 0.3, 0.5)  # least scores of the boxes that are sent


@dataclass(frozen=True)
class Runs:
    """Folders of training runs; without `pixel` there are no opponents."""

    pixel: Path | None = None
    tuned: Path | None = None
    peer: Path | None = None

    def detectors(self) -> dict[str, Path]:
        """The folders that hold a pixel detector, the one that is not fine-tuned first."""
        named = {"pixel": self.pixel, "pixel-tuned": self.tuned}
        return {name: run for name, run in named.items() if run is not None}


def rate_accuracy(
    dataset: Path,
    images: Path,
    out: Path,
    weights: Path,
    runs: Runs,
    *,
    most: int | None = None,
    qualities: Sequence[float] = QUALITIES,
    draw_count: int = 200,
    jobs: int = 2,
    kept: Path = Path("cache/rate-accuracy"),
) -> dict[str, Any]:
    """Measures, writes rate_accuracy.json and .png into `out`, returns the figures.

    draw_count  bootstrap draws for the intervals
    jobs        worker processes, of one thread each
    kept        folder where the opponents' results are kept for the next time
    """
    truth = Truth(dataset, most)
    paths = [images / image["file_name"] for image in truth.images]
    detectors = {name: PixelDetector(run) for name, run in runs.detectors().items()}
    for name, pixel in detectors.items():
        if pixel.classes != len(truth.labels):
            raise BadSettings(f"{name} knows {pixel.classes} classes, not {len(truth.labels)}")
    opponents: list[Opponent] = [*image_codecs()]
    if runs.peer is not None:
        opponents.append(LearnedPeer(runs.peer))
    encoder = Encoder(load_for_edge(weights), threads=2)
    detector = LayerDetector(load_for_cloud(weights), min_score=MIN_SCORE)
    points, mismatches = layer_points(truth, paths, encoder, detector, qualities)
    sides: dict[str, int] = {}
    with workers(jobs, runs.detectors()) as pool:
        if detectors:
            bench = Bench(paths, detectors, pool, kept)
            theirs, sides = _theirs(bench, truth, list(detectors), opponents)
            points += theirs
        drawn = draws(len(paths), draw_count)
        found = [point.found for point in points]
        rows = track(all_scores(pool, dataset, most, found, drawn), "scoring", total=len(points))
        scored = [
            Scored(point, scores[0], scores[1:]) for point, scores in zip(points, rows, strict=True)
        ]
    figures = {
        "dataset": dataset.name,
        "images": len(paths),
        "round_trip_mismatches": mismatches,
        "bootstrap_draws": draw_count,
        "versions": versions(),
        "detectors": {
            name: {**pixel.about, "side": sides[name]} for name, pixel in detectors.items()
        },
        "points": [_row(one, truth) for one in scored],
        **comparisons(scored, drawn),
    }
    write_report(out / "rate_accuracy.json", figures)
    plot(figures, out / "rate_accuracy.png")
    return figures


def layer_points(
    truth: Truth,
    paths: Sequence[Path],
    encoder: Encoder,
    detector: LayerDetector,
    qualities: Sequence[float],
    codec: str = OURS,
) -> tuple[list[Point], int]:
    """A point for each quality, and how many layers did not come out as they went in.

    Raises BadSettings for a data set without one of the detector's classes.
    """
    if unknown := set(detector.labels) - set(truth.labels):
        raise BadSettings(f"the data set has no class {', '.join(sorted(unknown))}")
    sizes = np.zeros((len(qualities), len(paths)), np.int64)
    found: list[list[Found]] = [[] for _ in qualities]
    mismatches = 0
    for i, path in enumerate(track(paths, codec)):
        analysis = encoder.analyse(read_picture(path))
        layers = [encoder.layer(analysis, quality) for quality in qualities]
        read = [detector.read(layer) for layer in layers]
        seen = detector.detect_read(read)  # one batch: the layers of one picture are of one size
        for j, (quality, layer) in enumerate(zip(qualities, layers, strict=True)):
            mismatches += not np.array_equal(read[j].y, encoder.integers(analysis, quality))
            sizes[j, i] = len(layer)
            found[j].append(as_found(seen[j], truth.labels))
    resolution = f"longer side at most {encoder.side}"
    return [
        Point(codec, f"quality {q:g}", resolution, detector.model, sizes[j], sizes[j], found[j])
        for j, q in enumerate(qualities)
    ], mismatches


def as_found(detection: Detection, labels: Sequence[str]) -> Found:
    """A detection's boxes, labels by their index in `labels`."""
    rows = [[b.score, labels.index(b.label), b.x1, b.y1, b.x2, b.y2] for b in detection.boxes]
    return np.array(rows, np.float32).reshape(-1, 6)


def _best_sides(clean: Measured, truth: Truth, detectors: Sequence[str]) -> dict[str, int]:
    """For each detector the side at which it is best (mAP) on uncompressed pictures."""

    def accuracy(name: str, side: int) -> float:
        return Matches(truth, clean.found[name, side][0]).score().map

    return {name: max(_SIDES, key=lambda side: accuracy(name, side)) for name in detectors}


def _theirs(
    bench: Bench, truth: Truth, names: Sequence[str], opponents: Sequence[Opponent]
) -> tuple[list[Point], dict[str, int]]:
    """The opponents' points, and the side at which each detector looks."""
    uncompressed = Uncompressed()
    clean = bench.measure(uncompressed, [(name, side) for name in names for side in _SIDES])
    sides = _best_sides(clean, truth, names)
    points = _points(uncompressed, clean, sides)
    points += _boxes_points(truth, clean.found[names[0], sides[names[0]]][0])
    for opponent in opponents:
        points += _points(opponent, bench.measure(opponent, list(sides.items())), sides)
    return points, sides


def _points(opponent: Opponent, measured: Measured, sides: Mapping[str, int]) -> list[Point]:
    return [
        Point(
            opponent.name,
            setting,
            resolution,
            detector,
            measured.sizes[i],
            measured.payloads[i],
            measured.found[detector, side][i],
        )
        for detector, side in sides.items()
        for i, (setting, resolution) in enumerate(opponent.settings)
    ]


def _boxes_points(truth: Truth, found: Sequence[Found]) -> list[Point]:
    """The whole detector on the edge: its boxes from some score on, written down and read again."""
    points = []
    for name, write, read in (
        ("boxes, packed", boxes_sent.pack, boxes_sent.unpack),
        ("boxes, protobuf", boxes_sent.wire, boxes_sent.unwire),
    ):
        for least in _BOXES_FROM:
            sent = [
                write(boxes[boxes[:, 0] >= least], truth.labels, image["width"], image["height"])
                for image, boxes in zip(truth.images, found, strict=True)
            ]
            sizes = np.array([len(message) for message in sent])
            known = [read(message, truth.labels) for message in sent]
            points.append(Point(name, f"score {least:g} and up", "none", EDGE, sizes, sizes, known))
    return points


def _row(scored: Scored, truth: Truth) -> dict[str, Any]:
    point = scored.point
    pixels = np.array([image["width"] * image["height"] for image in truth.images])
    return {
        "codec": point.codec,
        "setting": point.setting,
        "resolution": point.resolution,
        "detector": point.detector,
        "bpp": _mean(point.sizes * 8 / pixels, 5),
        "mean_bytes": _mean(point.sizes, 1),
        "mean_payload_bytes": _mean(point.payloads, 1),
        "map": round(scored.whole.map, 4),
        "map50": round(scored.whole.map50, 4),
    }


def _mean(values: NDArray[Any], digits: int) -> float:
    return round(float(values.mean()), digits)
