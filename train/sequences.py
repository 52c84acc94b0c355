"""Frames of still cameras, one after another: what inter tables are counted on.

Real ones come from clips. Made ones come from pictures with boxes: the things in them move on a
straight line, with sensor noise and a little drift of the light, so that tables know more scenes
than the few that there are clips of.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from common.errors import BadPicture
from train.data import Pixels, Sample

_NOISE = 4.0  # of 255, at most, standard deviation
_LIGHT = 0.01  # at most, from frame to frame
_STEP = 0.25  # at most, of a thing's width or height, from frame to frame


def from_clip(path: Path, fps: float, share: float = 1.0) -> Iterator[Pixels]:
    """H W 3 of a clip's first `share` (by time), about `fps` of them a second.

    Raises BadPicture naming the file for one that is no video.
    """
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            every = max(1, round(float(stream.average_rate or fps) / fps))
            last = share * (stream.frames or np.inf)
            for i, frame in enumerate(container.decode(stream)):
                if i >= last:
                    return
                if i % every == 0:
                    pixels: Pixels = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
                    yield pixels
    except (av.FFmpegError, IndexError, OSError) as error:
        raise BadPicture(f"{path}: not a video: {error}") from error


def from_picture(sample: Sample, frames: int, rng: np.random.Generator) -> Iterator[Pixels]:
    """H W 3 of `frames` moments of one picture."""
    scene = sample.pixels.astype(np.float32)
    height, width = scene.shape[:2]
    boxes = [_cut(box, width, height) for box in sample.boxes.round().astype(int).tolist()]
    boxes = [box for box in boxes if box[2] > box[0] and box[3] > box[1]]
    empty = scene.copy()
    for x1, y1, x2, y2 in boxes:
        w = x2 - x1
        beside = x1 - w if x1 >= w else x2
        if beside + w <= width:
            empty[y1:y2, x1:x2] = scene[y1:y2, beside : beside + w]
    steps = rng.uniform(-_STEP, _STEP, (len(boxes), 2)) * (rng.random((len(boxes), 1)) < 0.7)
    noise, light = rng.uniform(0, _NOISE), 1.0
    for moment in range(frames):
        picture = empty.copy()
        for (x1, y1, x2, y2), step in zip(boxes, steps, strict=True):
            w, h = x2 - x1, y2 - y1
            left = min(max(round(x1 + moment * step[0] * w), 0), width - w)
            top = min(max(round(y1 + moment * step[1] * h), 0), height - h)
            picture[top : top + h, left : left + w] = scene[y1:y2, x1:x2]
        light *= 1 + rng.uniform(-_LIGHT, _LIGHT)
        picture = picture * light + noise * rng.standard_normal(picture.shape, np.float32)
        yield picture.clip(0, 255).astype(np.uint8)


def _cut(box: list[int], width: int, height: int) -> tuple[int, int, int, int]:
    x1, y1, x2, y2 = box
    return max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
