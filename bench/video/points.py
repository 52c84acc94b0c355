"""One clip through our layers and through the video codecs: bytes, and what is then found.

Tasks are shared out to worker processes of one thread each; a worker holds the clip and both
detectors. Ours goes the way of `glimpse-edge run`: encoder, chain, bytes, and from bytes alone to
boxes. A video's pictures go to the pixel detector, scaled back to the size at which it looks; what
was found there is kept (kept.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench import kept
from bench.accuracy.matching import Found
from bench.accuracy.pixel import MIN_SCORE, PixelDetector
from bench.accuracy.rate_accuracy import as_found
from bench.video.clips import Clip, read_clip
from bench.video.codecs import VideoSetting, decode, encode, options, versions
from cloud.detector import LayerDetector
from cloud.weights import load_weights as load_for_cloud
from common.codec import Coded
from edge.capture.picture import Picture
from edge.coding.chain import Chain
from edge.coding.encoder import Analysis, Encoder
from edge.coding.weights import EdgeWeights
from edge.coding.weights import load_weights as load_for_edge
from edge.rate import Plan
from edge.settings import EdgeSettings
from train.data import Pixels

CLEAN = "uncompressed"
INTRA, INTER = "glimpse intra", "glimpse inter"
KEY_EVERY: int = EdgeSettings.model_fields["key_every"].default
PIXEL_SIDE = 640  # longer side in pixels at which the pixel detector looks

_BATCH = 8
_VERSION = 1  # of how it is measured: a change makes everything be measured anew


@dataclass(frozen=True)
class Take:
    """What a clip is measured with: the arguments of `read_clip` and of `Studio`."""

    clip: Path
    fps: float
    seconds: float
    second_half: bool
    weights: Path
    pixel_run: Path
    kept: Path

    def read(self) -> Clip:
        """The clip. Raises BadPicture."""
        return read_clip(self.clip, self.fps, self.seconds, second_half=self.second_half)

    def studio(self) -> Studio:
        """Raises as `read` does, and ModelMismatch or FileNotFoundError."""
        return Studio(self.read(), self.fps, self.weights, self.pixel_run, self.kept)


@dataclass(frozen=True)
class Rated:
    """A clip at one setting.

    side         longer side in pixels of what is coded
    bytes        mean a picture, without any container
    file_bytes   the same in an MP4 file; None for layers, which need no file
    chain_share  of an inter point: its inter layers' bytes, key layers left out, to those that
                 intra layers of the same integers take
    mismatches   layers that did not come out as they went in
    """

    codec: str
    setting: str
    side: int
    bytes: float
    found: Sequence[Found]
    file_bytes: float | None = None
    quality: float | None = None
    chain_share: float | None = None
    mismatches: int = 0


@dataclass(frozen=True, slots=True)
class Clean:
    """The pictures as they are."""


@dataclass(frozen=True, slots=True)
class Ours:
    """Our layers at one working side."""

    side: int
    qualities: Sequence[float]


Task = Clean | Ours | VideoSetting


class Studio:
    """A clip with all that is needed to measure on it."""

    def __init__(
        self, clip: Clip, fps: float, weights: Path, pixel_run: Path, folder: Path
    ) -> None:
        """folder: where what the video codecs made of the clip is kept for the next time."""
        self._clip, self._fps, self._kept = clip, fps, folder
        content = hashlib.sha256()
        for picture in clip.pictures:
            content.update(picture.tobytes())
        self._content = content.hexdigest()
        self._edge: EdgeWeights = load_for_edge(weights)
        self._layers = LayerDetector(load_for_cloud(weights), threads=1, min_score=MIN_SCORE)
        self._pixels = PixelDetector(pixel_run)

    def rated(self, task: Task) -> list[Rated]:
        """The points of a task."""
        if isinstance(task, Clean):
            return [self._clean()]
        if isinstance(task, VideoSetting):
            return [self._video(task)]
        encoder = Encoder(self._edge, threads=1, side=task.side)
        analyses = [encoder.analyse(Picture.whole(pixels)) for pixels in self._clip.pictures]
        return [
            self._ours(encoder, analyses, quality, key_every)
            for quality in task.qualities
            for key_every in (1, KEY_EVERY)
        ]

    def _clean(self) -> Rated:
        pictures = self._clip.pictures
        return Rated(CLEAN, "RGB", PIXEL_SIDE, pictures[0].size, self._looked_at(pictures))

    def _video(self, setting: VideoSetting) -> Rated:
        path = kept.place(self._kept, setting.codec, self._about(setting))
        if not path.exists():
            stream = encode(self._clip.pictures, setting, self._fps)
            sizes = {
                "bytes": np.array(sum(map(len, stream.packets))),
                "file_bytes": np.array(stream.file_bytes),
            }
            kept.write(path, sizes | kept.packed(self._looked_at(decode(stream, setting))))
        arrays, count = kept.read(path), len(self._clip.pictures)
        return Rated(
            setting.codec,
            str(setting),
            setting.side,
            int(arrays["bytes"]) / count,
            kept.unpacked(arrays),
            int(arrays["file_bytes"]) / count,
        )

    def _about(self, setting: VideoSetting) -> dict[str, Any]:
        return {
            "version": _VERSION,
            "pictures": self._content,
            "fps": self._fps,
            "setting": asdict(setting),
            "options": options(setting.codec),
            "codecs": versions(),
            "look": [self._pixels.digest, PIXEL_SIDE],
            "min_score": MIN_SCORE,
        }

    def _looked_at(self, pictures: Sequence[Pixels]) -> list[Found]:
        return [
            found
            for at in range(0, len(pictures), _BATCH)
            for found in self._pixels.detect(
                pictures[at : at + _BATCH], *self._clip.size, PIXEL_SIDE
            )
        ]

    def _ours(
        self, encoder: Encoder, analyses: Sequence[Analysis], quality: float, key_every: int
    ) -> Rated:
        chain = Chain(encoder, key_every=key_every)
        step = round(255 * quality)
        plan = Plan(best=step, least=step)
        sent = [chain.code(analysis, plan) for analysis in analyses]
        read: list[Coded] = []
        for layer in sent:
            read.append(self._layers.read(layer.data, read[-1] if read else None))
        mismatches = sum(not np.array_equal(a.y, b.y) for a, b in zip(sent, read, strict=True))
        inter = [layer for layer in read if layer.place > 1]
        alone = sum(len(self._layers.codec.alone(layer)) for layer in inter)
        return Rated(
            INTRA if key_every == 1 else INTER,
            f"quality {quality:g}",
            encoder.side,
            sum(len(layer.data) for layer in sent) / len(sent),
            self._seen(read),
            quality=quality,
            chain_share=sum(len(layer.data) for layer in inter) / alone if inter else None,
            mismatches=mismatches,
        )

    def _seen(self, layers: Sequence[Coded]) -> list[Found]:
        return [
            as_found(detection, self._layers.labels)
            for at in range(0, len(layers), _BATCH)
            for detection in self._layers.detect_read(layers[at : at + _BATCH])
        ]


@contextmanager
def studio(take: Take, jobs: int) -> Iterator[Callable[[Iterable[Task]], Iterator[list[Rated]]]]:
    """What measures tasks, in their order; with `jobs` above 1, that many processes do."""
    if jobs == 1:
        torch.set_num_threads(1)
        yield partial(map, take.studio().rated)
        return
    context = get_context("spawn")  # a fork would copy torch's threads half
    with ProcessPoolExecutor(jobs, context, _begin, (take,)) as pool:
        yield partial(pool.map, _rated)


_studios: list[Studio] = []  # a worker process's own one


def _begin(take: Take) -> None:
    torch.set_num_threads(1)
    _studios.append(take.studio())


def _rated(task: Task) -> list[Rated]:
    return _studios[0].rated(task)
