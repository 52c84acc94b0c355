"""Bytes against the likeness of the picture that a person sees: ours and the image codecs'.

    ours     machine layer alone, and with auxiliary layers; 0 steps (the preview) or more
    theirs   JPEG, WebP, AVIF, JPEG XL, HEVC intra at several qualities, at the picture's own size
    matched  at the machine layer's own bytes: theirs at the largest scale that fits, or none

Files as they lie on the disk; ours are both layers with their headers.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.progress import track

from bench.accuracy.bdrate import Front, best_of, compare
from bench.accuracy.matching import Found, Matches, Truth, draws
from bench.accuracy.pixel import PixelDetector
from bench.pictures.realism import Patches, distance, patches
from bench.report import write_report
from cloud.pictures.human import HUMAN, HumanDecoder
from cloud.pictures.likeness import likeness
from common.bitstream import SIDE_STEP_PX
from common.codec import Coded
from common.errors import BadPicture, ModelMismatch
from edge.capture.picture import PICTURE_SUFFIXES, Picture, Pixels, read_picture
from edge.coding.encoder import Encoder
from edge.coding.weights import load_weights
from edge.pictures.auxiliary import AuxiliaryEncoder
from edge.rate import Plan
from train.codecs import Setting, decode, encode, resized

OURS, MACHINE = "glimpse", "glimpse, machine layer"
MACHINE_QUALITY = 102  # of 255
QUALITIES = (0, 35, 70, 105, 140, 175)
STEPS = (1, 4)
REFINED = (0, 70)  # qualities at which the steps are taken too
PEERS = {
    "jpeg": (5, 10, 20, 35, 55, 75),
    "webp": (0, 10, 25, 45, 65, 80),
    "avif": (12, 20, 30, 40, 52, 65),
    "jxl": (5, 15, 30, 50, 68, 80),
    "hevc": (46, 42, 38, 34, 30, 26),
}
SCALES = (1.0, 0.75, 0.5, 0.35, 0.25, 0.18, 0.125, 0.09, 0.0625)
METRICS = ("psnr", "ms_ssim", "ssimulacra2")
_DETECTOR_SIDE = 448
_BEST = 95  # quality of JPEG, WebP, AVIF that `matched` goes up to


@dataclass(frozen=True)
class Shown:
    """One picture at one setting."""

    codec: str
    setting: str
    steps: int
    size: int
    psnr: float
    ms_ssim: float
    ssimulacra2: float
    patches: Patches
    found: Found | None


def rate_quality(
    images: Path,
    out: Path,
    weights: Path,
    *,
    most: int | None = None,
    jobs: int = 2,
    draw_count: int = 200,
    dataset: Path | None = None,
    pixel_run: Path | None = None,
) -> dict[str, Any]:
    """Writes out/rate_quality.json and returns its figures.

    dataset, pixel_run  with both, what a detector finds on each picture is scored as well

    Raises FileNotFoundError for weights without a human decoder or a folder without pictures.
    """
    if not (weights / HUMAN / "manifest.json").exists():
        raise FileNotFoundError(f"{weights / HUMAN}: there is no human decoder")
    truth = None if dataset is None or pixel_run is None else Truth(dataset, most)
    files = _files(images, most) if truth is None else _named(images, truth)
    looking = None if truth is None else pixel_run
    context = get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _begin, (weights, looking)) as pool:
        rows = list(track(pool.map(_one, enumerate(files)), "pictures", total=len(files)))
    pixels = sum(_area(path) for path in files)
    points = [
        _point([row[i] for row in rows], [row[0] for row in rows], pixels, truth)
        for i in range(len(rows[0]))
    ]
    figures: dict[str, Any] = {
        "dataset": images.name,
        "images": len(files),
        "machine_quality": MACHINE_QUALITY,
        "points": points,
        "bd_rate": {metric: _against(points, rows, metric, draw_count) for metric in METRICS},
    }
    write_report(out / f"rate_quality_{images.name}.json", figures)
    return figures


def _files(folder: Path, most: int | None) -> list[Path]:
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES)[:most]
    if not files:
        raise FileNotFoundError(f"{folder}: no pictures")
    return files


def _named(folder: Path, truth: Truth) -> list[Path]:
    return [folder / image["file_name"] for image in truth.images]


def _area(path: Path) -> int:
    picture = read_picture(path)
    return picture.width * picture.height


class Ours:
    """Both sides of ours in one process, of one thread."""

    def __init__(self, weights: Path) -> None:
        self._weights, self._edge = weights, load_weights(weights)
        self.decoder = HumanDecoder.load(weights / HUMAN, "cpu")

    def machine(self, pixels: Pixels, quality: int = MACHINE_QUALITY) -> Coded:
        encoder = Encoder(self._edge, threads=1, side=own_side(pixels))
        analysis = encoder.analyse(Picture.whole(pixels))
        return encoder.coded(analysis, Plan(quality, quality, None))

    def auxiliary(self, pixels: Pixels, base: Coded, quality: int) -> bytes:
        encoder = AuxiliaryEncoder.load(self._weights, side=own_side(pixels))
        if encoder is None:
            raise ModelMismatch(f"{self._weights}: no auxiliary tables")
        return encoder.encode(pixels, base, quality)


def own_side(pixels: Pixels) -> int:
    """The picture's own size."""
    return -(-max(pixels.shape[:2]) // SIDE_STEP_PX) * SIDE_STEP_PX


_ours: list[Ours] = []  # a worker process's own
_detector: list[PixelDetector] = []


def _begin(weights: Path, pixel_run: Path | None) -> None:
    torch.set_num_threads(1)
    _ours.append(Ours(weights))
    if pixel_run is not None:
        _detector.append(PixelDetector(pixel_run))


def _one(numbered: tuple[int, Path]) -> list[Shown]:
    """The original first, then every setting, in the same order for each picture."""
    number, path = numbered
    pixels = read_picture(path).pixels
    if min(pixels.shape[:2]) < 176:
        pixels = _grown(pixels)
    shown = partial(_shown, pixels, number)
    rows = [shown("original", "", 0, path.stat().st_size, pixels)]
    rows += [shown(*each) for each in _of_ours(pixels)]
    budget = rows[1].size
    for codec, qualities in PEERS.items():
        for quality in qualities:
            setting = Setting(codec, 1.0, quality)
            rows.append(shown(codec, f"q{quality}", 0, *_coded(pixels, setting)))
    for codec in ("jpeg", "webp", "avif"):
        size, made = matched(pixels, codec, budget)
        rows.append(shown(f"{codec}, matched", "", 0, size, made))
    return rows


def _grown(pixels: Pixels) -> Pixels:
    """Five scales of MS-SSIM want 161 pixels a side."""
    scale = 176 / min(pixels.shape[:2])
    return resized(pixels, round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))


def _of_ours(pixels: Pixels) -> Iterator[tuple[str, str, int, int, Pixels]]:
    ours = _ours[0]
    base = ours.machine(pixels)
    refined = STEPS if ours.decoder.refines else ()
    for steps in (0, *refined):
        made = ours.decoder.restore(base, steps=steps, seed=1).pixels
        yield MACHINE, "", steps, len(base.data), made
    for quality in QUALITIES:
        layer = ours.auxiliary(pixels, base, quality)
        size = len(base.data) + len(layer)
        for steps in (0, *refined) if quality in REFINED else (0,):
            made = ours.decoder.restore(base, layer, steps=steps, seed=1).pixels
            yield OURS, f"q{quality}", steps, size, made


def _coded(pixels: Pixels, setting: Setting) -> tuple[int, Pixels]:
    data = encode(pixels, setting)
    made = decode(data, setting, pixels.shape[1], pixels.shape[0])
    return len(data), resized(made, pixels.shape[1], pixels.shape[0])


def matched(pixels: Pixels, codec: str, budget: int) -> tuple[int, Pixels]:
    """A codec at its largest scale, then best quality, within `budget` bytes, shown at full size.

    Where not even its smallest file fits, that one: more bytes than ours.
    """
    ladder = range(min(PEERS[codec]), _BEST + 1)
    for scale in SCALES:
        fitting = bisect_right(ladder, budget, key=partial(_size, pixels, codec, scale))
        if fitting:
            return _coded(pixels, Setting(codec, scale, ladder[fitting - 1]))
    return _coded(pixels, Setting(codec, SCALES[-1], ladder[0]))


def _size(pixels: Pixels, codec: str, scale: float, quality: int) -> int:
    return len(encode(pixels, Setting(codec, scale, quality)))


def _shown(
    original: Pixels, number: int, codec: str, setting: str, steps: int, size: int, made: Pixels
) -> Shown:
    alike = likeness(Image.fromarray(original), made)
    if alike.ms_ssim is None:
        raise BadPicture(f"{original.shape}: too small to compare")
    found = None
    if _detector:
        height, width = made.shape[:2]
        found = _detector[0].detect([made], width, height, _DETECTOR_SIDE)[0]
    return Shown(
        codec,
        setting,
        steps,
        size,
        min(alike.psnr, 99.0),
        alike.ms_ssim,
        alike.ssimulacra2,
        patches(made, number),
        found,
    )


def _point(
    shown: Sequence[Shown], originals: Sequence[Shown], pixels: int, truth: Truth | None
) -> dict[str, Any]:
    """A row of the JSON: means over the pictures."""
    first = shown[0]
    point = {
        "codec": first.codec,
        "setting": first.setting,
        "steps": first.steps,
        "mean_bytes": round(float(np.mean([s.size for s in shown])), 1),
        "bpp": round(8 * sum(s.size for s in shown) / pixels, 4),
        "psnr": round(float(np.mean([s.psnr for s in shown])), 3),
        "ms_ssim": round(float(np.mean([s.ms_ssim for s in shown])), 5),
        "ssimulacra2": round(float(np.mean([s.ssimulacra2 for s in shown])), 2),
        "swd": round(distance([s.patches for s in originals], [s.patches for s in shown]), 2),
    }
    if truth is not None:
        score = Matches(truth, [s.found for s in shown if s.found is not None]).score()
        point |= {"map": round(score.map, 4), "map50": round(score.map50, 4)}
    return point


def _against(
    points: Sequence[dict[str, Any]], rows: Sequence[Sequence[Shown]], metric: str, draw_count: int
) -> dict[str, Any]:
    """BD-rate of our previews against each codec and the best of them, with bootstrap intervals."""
    drawn = [np.arange(len(rows)), *draws(len(rows), draw_count)]

    def curve(codec: str) -> list[Front]:
        at = [i for i, p in enumerate(points) if p["codec"] == codec and p["steps"] == 0]
        sizes = np.array([[row[i].size for i in at] for row in rows], float)
        values = np.array([[getattr(row[i], metric) for i in at] for row in rows])
        return [Front.of(sizes[d].mean(0), _linear(values[d].mean(0), metric)) for d in drawn]

    ours, peers = curve(OURS), {codec: curve(codec) for codec in PEERS}
    peers["best of them"] = [best_of(fronts) for fronts in zip(*peers.values(), strict=True)]
    return {
        codec: compare(ours[0], theirs[0], list(zip(ours[1:], theirs[1:], strict=True)))
        for codec, theirs in peers.items()
    }


def _linear(values: np.ndarray[Any, Any], metric: str) -> list[float]:
    """MS-SSIM in dB, as it is usually compared; the others as they are."""
    if metric == "ms_ssim":
        return [-10 * math.log10(max(1 - v, 1e-9)) for v in values]
    return [float(v) for v in values]
