"""Layers against video: bytes at equal detection on a fixed camera's clip.

Ours are intra layers, and chains as `glimpse-edge run` makes them, at two working sides. Theirs are
x265 and SVT-AV1 in low-delay settings at the same frame rate, at several presets, resolutions and
distances of key frames. A curve is the front of all its points: each side at its best for a rate.

Nobody knows the truth about a clip. It is taken from a detector on the clean pictures: `pixel`, the
detector that looks at the videos, which therefore favours them and is the headline; and `own`, our
detector behind our finest intra layers, which favours us.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import track

from bench.accuracy.pixel import PixelDetector
from bench.report import write_report
from bench.video.clips import SEEN_OFTEN, TRUE_SCORE, Clip, pseudo_truth
from bench.video.codecs import (
    NEVER,
    VIDEO_CODECS,
    VideoSetting,
    check_codec,
    options,
    versions,
)
from bench.video.plot import plot
from bench.video.points import INTRA, KEY_EVERY, PIXEL_SIDE, Clean, Ours, Take, Task, studio
from bench.video.rows import clip_row
from cloud.weights import load_weights
from common.coding.temporal import usual_hold
from common.errors import ModelMismatch
from common.manifest import Manifest

QUALITIES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
SIDES = (640, 448)  # working sides of ours


@dataclass(frozen=True)
class _Grid:
    """Where a video codec is measured.

    best    presets at every side, with a single key frame
    others  presets at _ONE_SIDE and every other crf; so is the first of the best with key frames
            as often as ours
    sides   longer side in pixels -> crfs
    """

    best: Sequence[str]
    others: Sequence[str]
    sides: Mapping[int, Sequence[int]]


_ONE_SIDE = 480
_GRIDS = {
    "x265": _Grid(
        ("veryslow", "slow"),
        ("medium",),
        {
            640: (45, 38, 31),
            480: (50, 44, 38, 32),
            320: (51, 46, 40, 34, 28),
            224: (51, 44, 36),
        },
    ),
    "svt-av1": _Grid(
        ("4",),
        ("2", "6", "8"),
        {
            640: (60, 50, 38),
            480: (63, 56, 47, 36),
            320: (63, 58, 50, 40, 28),
            224: (63, 54, 42),
        },
    ),
}


def video(
    clips: Sequence[Path],
    out: Path,
    weights: Path,
    pixel_run: Path,
    *,
    fps: float = 5.0,
    seconds: float = 30.0,
    codecs: Sequence[str] = tuple(VIDEO_CODECS),
    jobs: int = 2,
    kept: Path = Path("cache/video"),
) -> dict[str, Any]:
    """Measures, writes video.json and .png into `out`, returns the figures.

    kept  folder where the video codecs' results are kept for the next time

    A clip whose first half the weights' tables were counted on is measured on its second half.
    Raises BadPicture, BadSettings, ModelMismatch and FileNotFoundError for what cannot be measured.
    """
    for codec in codecs:
        check_codec(codec)
    loaded = load_weights(weights)
    manifest, pixel = loaded.manifest, PixelDetector(pixel_run)
    if not loaded.codec.entropy.codes_inter:
        raise ModelMismatch(f"{weights}: these weights code no inter layers")
    if pixel.classes != len(manifest.labels):
        theirs, ours = pixel.classes, len(manifest.labels)
        raise ModelMismatch(f"{pixel_run} knows {theirs} classes, {weights} {ours}")
    takes = [
        Take(clip, fps, seconds, counted_on(manifest, clip), weights, pixel_run, kept)
        for clip in clips
    ]
    read = [take.read() for take in takes]  # what is wrong with any is said before it takes long
    tasks: list[Task] = [Ours(side, QUALITIES) for side in SIDES]
    tasks += [setting for codec in codecs for setting in settings(codec)]
    rows = [
        _measured(take, clip, tasks, manifest.labels, jobs)
        for take, clip in zip(takes, read, strict=True)
    ]
    figures = {
        "model": f"{manifest.name}-{manifest.model_id:04x}",
        "pixel_detector": {**pixel.about, "side": PIXEL_SIDE},
        "fps": fps,
        "key_layer_every": KEY_EVERY,
        "hold": [usual_hold(0), usual_hold(255)],
        "truths": _TRUTHS,
        "true_score": TRUE_SCORE,
        "boxes_a_picture_of_a_class_that_is_scored": SEEN_OFTEN,
        "bytes": _BYTES,
        "codec_options": {codec: options(codec) for codec in codecs},
        "versions": versions(),
        "clips": rows,
    }
    write_report(out / "video.json", figures)
    plot(figures, out / "video.png")
    return figures


def _measured(
    take: Take, clip: Clip, tasks: Sequence[Task], labels: Sequence[str], jobs: int
) -> dict[str, Any]:
    with studio(take, jobs) as measure:
        [clean] = next(measure([Clean()]))
        truths = {"pixel": pseudo_truth(clean.found, clip, labels)}
        rows = track(measure(tasks), clip.name, total=len(tasks))
        rated = [clean, *(one for row in rows for one in row)]
    finest = max(
        (one for one in rated if one.codec == INTRA), key=lambda one: (one.quality, one.side)
    )
    truths["own"] = pseudo_truth(finest.found, clip, labels)
    return clip_row(clip, rated, truths, take.fps)


_TRUTHS = {
    "pixel": "the pixel detector on the clean pictures, which also looks at the videos: favours "
    "them; the headline",
    "own": "our detector behind intra layers of the best quality: favours us",
}
_BYTES = (
    "means a picture. Ours: whole layers, header and checksum included. Videos: the elementary "
    "stream with its parameter sets; in an MP4 file where mp4 is said. No transport in either."
)


def settings(codec: str) -> Iterator[VideoSetting]:
    """What a video codec is measured at."""
    grid = _GRIDS[codec]
    for side, crfs in grid.sides.items():
        for preset in grid.best:
            yield from (VideoSetting(codec, preset, NEVER, side, crf) for crf in crfs)
    for preset, keyint in [(other, NEVER) for other in grid.others] + [(grid.best[0], KEY_EVERY)]:
        few = grid.sides[_ONE_SIDE][::2]
        yield from (VideoSetting(codec, preset, keyint, _ONE_SIDE, crf) for crf in few)


def counted_on(manifest: Manifest, clip: Path) -> bool:
    """Whether the weights' tables were counted on the clip's first half."""
    return f"first half of {clip.name}" in manifest.trained.get("clips", "").split(", ")
