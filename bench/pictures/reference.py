"""A fixed camera's pictures, from layers and one still: against x265 at four times the bytes.

    still        as `glimpse-edge run` makes it: what stood still in the seconds before, as AVIF at
                 the working size, its own layer in it; its bytes are spread over an hour of frames
    ours         a chain of layers as `glimpse-edge run` makes it; every n-th frame shown at 0 steps
    asked for    the same with the frame's auxiliary layer, as somebody gets it who asks for one
                 picture a minute; those bytes are spread over the minute's frames
    x265         low delay, several sizes and rates: by each measure the best that takes at most
                 four times our bytes

Where the picture shows something that moved is asked of a detector: what it finds on the picture
against what the cloud saw in the layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.progress import track

from bench.accuracy.matching import Found
from bench.accuracy.pixel import MIN_SCORE, PixelDetector
from bench.accuracy.rate_accuracy import as_found
from bench.report import write_report
from bench.video.clips import Clip, read_clip
from bench.video.codecs import NEVER, VideoSetting, decode, encode, versions
from bench.video.points import KEY_EVERY
from cloud.detector import LayerDetector
from cloud.pictures.avif import read_still
from cloud.pictures.human import HUMAN, HumanDecoder
from cloud.pictures.likeness import likeness
from cloud.pictures.values import Reference
from cloud.weights import load_weights as load_for_cloud
from common.codec import Coded
from common.errors import ModelMismatch
from common.geometry import working_size
from edge.capture.picture import Picture, Pixels, scale
from edge.coding.chain import Chain
from edge.coding.encoder import Encoder
from edge.coding.weights import load_weights as load_for_edge
from edge.pictures.auxiliary import AuxiliaryEncoder
from edge.pictures.still import Lately, make_still, median
from edge.rate import Plan
from edge.settings import EdgeSettings
from train.codecs import resized

TIMES = 4  # x265's bytes to ours, at most
STILL_QUALITY: int = EdgeSettings.model_fields["reference_quality"].default
WINDOW_S: float = EdgeSettings.model_fields["reference_window_s"].default
_HOUR_S = 3600
_ASKED_S = 60  # between two pictures that somebody asks for
_AUXILIARY_QUALITY = 128  # what the page asks for
_SIDE = 640
_LEAST_SCORE = 0.35  # of a box that has to be found again
_IOU = 0.5
_PRESET = "veryslow"
_GRID = {  # longer side in pixels -> CRFs
    640: (51, 48, 45, 41, 37),
    480: (51, 47, 42, 37, 32),
    400: (51, 48),
    320: (51, 48, 45, 42, 36, 31, 26),
}
_METRICS = ("psnr", "ms_ssim", "ssimulacra2")


def reference(
    clips: Sequence[Path],
    out: Path,
    weights: Path,
    pixel_run: Path | None,
    *,
    fps: float = 5.0,
    seconds: float = 30.0,
    qualities: Sequence[float] = (0.0, 0.4),
    every: int = 15,
) -> dict[str, Any]:
    """Writes out/reference.json and a sheet of each clip: of second halves, which no training saw.

    qualities  of the layers; the sheet shows the last

    Raises BadPicture for a clip that is none, FileNotFoundError without a human decoder.
    """
    torch.set_num_threads(2)
    rows = []
    for path in clips:
        clip = read_clip(path, fps, seconds, second_half=True)
        sheet_file = out / f"reference_{path.stem}.jpg"
        past = read_clip(path, fps, clip.start).pictures
        videos = _videos(clip, fps, every)
        for quality in qualities:
            scene = _Scene(clip, past, fps, weights, pixel_run, quality, every, sheet_file)
            rows.append(scene.row(videos))
    figures = {
        "fps": fps,
        "still_quality": STILL_QUALITY,
        "still_window_s": WINDOW_S,
        "x265": versions(),
        "clips": rows,
    }
    write_report(out / "reference.json", figures)
    return figures


_Video = tuple[VideoSetting, float, list[Pixels]]  # bytes a picture; those that are looked at


def _shown_at(clip: Clip, every: int) -> range:
    return range(every, len(clip.pictures), every)


def _videos(clip: Clip, fps: float, every: int) -> list[_Video]:
    """x265's, at the clip's own size."""
    found = []
    grid = [
        VideoSetting("x265", _PRESET, NEVER, side, crf) for side in _GRID for crf in _GRID[side]
    ]
    for setting in track(grid, f"{clip.name}, x265"):
        stream = encode(clip.pictures, setting, fps)
        made = decode(stream, setting)
        shown = [resized(made[i], *clip.size) for i in _shown_at(clip, every)]
        found.append((setting, sum(map(len, stream.packets)) / len(stream.packets), shown))
    return found


class _Scene:
    """A clip, our layers of it, and what is shown of it. past: what the camera saw before."""

    def __init__(
        self,
        clip: Clip,
        past: Sequence[Pixels],
        fps: float,
        weights: Path,
        pixel_run: Path | None,
        quality: float,
        every: int,
        sheet_file: Path,
    ) -> None:
        self._clip, self._fps, self._quality, self._sheet_file = clip, fps, quality, sheet_file
        self._at = _shown_at(clip, every)
        self._past = past
        self._encoder = encoder = Encoder(load_for_edge(weights), threads=2, side=_SIDE)
        chain = Chain(encoder, key_every=KEY_EVERY)
        plan = Plan(round(255 * quality), round(255 * quality), None)
        self._layers = [
            chain.code(encoder.analyse(Picture.whole(pixels)), plan) for pixels in clip.pictures
        ]
        self._decoder = HumanDecoder.load(weights / HUMAN, "cpu")
        auxiliary = AuxiliaryEncoder.load(weights, side=_SIDE)
        if auxiliary is None:
            raise ModelMismatch(f"{weights}: no auxiliary tables")
        self._auxiliary = auxiliary
        read = load_for_cloud(weights)
        self._cloud_codec = read.codec
        self._cloud = LayerDetector(read, threads=2, min_score=MIN_SCORE)
        self._detector = None if pixel_run is None else PixelDetector(pixel_run)

    def row(self, videos: Sequence[_Video]) -> dict[str, Any]:
        seen, still_bytes = self._still()
        frame_bytes = float(np.mean([len(layer.data) for layer in self._layers]))
        ours_bytes = frame_bytes + still_bytes / (_HOUR_S * self._fps)
        still = resized(seen.pixels, *self._clip.size)
        with_still = self._shown(seen)
        asked, asked_bytes = self._asked_for(seen)
        n = len(self._at) // 2
        sheet(self._sheet_file, [self._clip.pictures[self._at[n]], still, with_still[n], asked[n]])
        peers = [
            self._measured(f"x265, {setting.side} px, crf {setting.crf}", size, shown)
            for setting, size, shown in videos
        ]
        affordable = [p for p in peers if p["bytes"] <= TIMES * ours_bytes]
        return {
            "clip": self._clip.name,
            "frames": len(self._layers),
            "shown": len(self._at),
            "quality": self._quality,
            "still_bytes": still_bytes,
            "auxiliary_bytes": round(asked_bytes),
            "points": [
                self._measured("glimpse, layer and still", ours_bytes, with_still),
                self._measured(
                    "glimpse, asked for", ours_bytes + asked_bytes / (_ASKED_S * self._fps), asked
                ),
                self._measured("glimpse, layer alone", frame_bytes, self._shown(None)),
                self._measured("the still itself", ours_bytes, [still] * len(self._at)),
                *peers,
            ],
            "best_x265_at_four_times": {
                metric: max((p[metric] for p in affordable), default=None) for metric in _METRICS
            },
        }

    def _still(self) -> tuple[Reference, int]:
        """What the camera has sent of itself when the clip begins, and the bytes of that."""
        size, lately = working_size(*self._clip.size, _SIDE), Lately(WINDOW_S)
        for i, pixels in enumerate(self._past[-round(WINDOW_S * self._fps) - 1 :]):
            if lately.is_next(i / self._fps):
                lately.add(np.asarray(scale(Image.fromarray(pixels), size)))
        place = median(lately.pictures)
        layer = self._encoder.layer(
            self._encoder.analyse(Picture(place, *self._clip.size)), self._quality
        )
        data = make_still(place, STILL_QUALITY, layer)
        return Reference(read_still(data), self._cloud_codec.decode(layer)), len(data)

    def _shown(self, still: Reference | None) -> list[Pixels]:
        return [
            self._decoder.restore(self._layers[i], reference=still).pixels
            for i in track(self._at, self._clip.name)
        ]

    def _asked_for(self, still: Reference) -> tuple[list[Pixels], float]:
        """The pictures with their auxiliary layers, and what such a layer takes on average."""
        shown, sizes = [], []
        for i in track(self._at, self._clip.name):
            layer = self._auxiliary.encode(
                self._clip.pictures[i], self._layers[i], _AUXILIARY_QUALITY
            )
            sizes.append(len(layer))
            made = self._decoder.restore(self._layers[i], layer, reference=still)
            shown.append(made.pixels)
        return shown, float(np.mean(sizes))

    def _measured(self, name: str, size: float, shown: Sequence[Pixels]) -> dict[str, Any]:
        alike = [
            likeness(Image.fromarray(self._clip.pictures[i]), pixels)
            for i, pixels in zip(self._at, shown, strict=True)
        ]
        row: dict[str, Any] = {
            "name": name,
            "bytes": round(size, 1),
            "kbit_s": round(size * 8 * self._fps / 1000, 2),
            "psnr": round(float(np.mean([a.psnr for a in alike])), 2),
            "ms_ssim": round(float(np.mean([a.ms_ssim or 0.0 for a in alike])), 4),
            "ssimulacra2": round(float(np.mean([a.ssimulacra2 for a in alike])), 1),
        }
        if self._detector is not None:
            row["agreement"] = round(self._agreement(self._detector, shown), 3)
        return row

    def _agreement(self, detector: PixelDetector, shown: Sequence[Pixels]) -> float:
        """The share of the layers' boxes that are found again on the pictures."""
        again, whole = 0, 0
        for i, pixels in zip(self._at, shown, strict=True):
            expected = _certain(self._seen(self._layers[i]))
            found = detector.detect([pixels], *self._clip.size, _SIDE)[0]
            whole += len(expected)
            again += sum(_is_in(box, _certain(found, _LEAST_SCORE / 2)) for box in expected)
        return again / max(whole, 1)

    def _seen(self, layer: Coded) -> Found:
        return as_found(self._cloud.detect_read([layer])[0], self._cloud.labels)


def sheet(path: Path, pictures: Sequence[Pixels]) -> None:
    """The frame and the still above; what is shown of the layer, and when asked for, below."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frame, still, restored, asked = pictures
    rows = [np.concatenate(pair, 1) for pair in ((frame, still), (restored, asked))]
    Image.fromarray(np.concatenate(rows)).save(path, quality=85)


def _certain(found: Found, score: float = _LEAST_SCORE) -> Found:
    return found[found[:, 0] >= score]


def _is_in(box: np.ndarray[Any, Any], found: Found) -> bool:
    """Whether a box of the same class lies where this one does."""
    low = np.maximum(box[2:4], found[:, 2:4])
    high = np.minimum(box[4:6], found[:, 4:6])
    shared = (high - low).clip(0).prod(1)
    areas = (found[:, 4:6] - found[:, 2:4]).prod(1) + (box[4:6] - box[2:4]).prod()
    overlaps = shared / np.maximum(areas - shared, 1e-6)
    return bool(((overlaps >= _IOU) & (found[:, 1] == box[1])).any())
