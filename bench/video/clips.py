"""A fixed camera's clip as the benches see it: pictures, and boxes that are taken for the truth."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from bench.accuracy.matching import Found, Truth
from common.errors import BadPicture
from edge.capture.file import open_source
from train.data import Pixels

TRUE_SCORE = 0.35  # of a box that is taken for the truth
SEEN_OFTEN = 0.1  # boxes a picture, of a class that is scored

# What there is to see on the clips of the README; on another clip every class is scored.
_SCENES = {"vtest": ("person",), "traffic": ("car", "truck", "bus", "motorcycle")}


@dataclass(frozen=True)
class Clip:
    """pictures H W 3 of one size, in order; start in seconds of the clip."""

    name: str
    start: float
    pictures: Sequence[Pixels]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        height, width = self.pictures[0].shape[:2]
        return width, height


def read_clip(path: Path, fps: float, seconds: float, *, second_half: bool = False) -> Clip:
    """About `fps` pictures a second of the clip's first `seconds`, or of its second half's.

    Raises BadPicture naming the file for one that is not there, is no video, or is too short.
    """
    frames = open_source(str(path), fps)
    start = _seconds(path) / 2 if second_half else 0.0
    pictures: list[Pixels] = []
    for frame in frames:
        if frame.position >= start + seconds:
            break
        if frame.position >= start:
            pictures.append(frame.read().pixels)
    if len(pictures) < 2:
        raise BadPicture(
            f"{path}: {len(pictures)} pictures, not the two or more that there must be"
        )
    return Clip(path.name, start, pictures)


def _seconds(path: Path) -> float:
    """How long a video is. Raises BadPicture."""
    try:
        with av.open(str(path)) as container:
            return (container.duration or 0) / av.time_base
    except av.FFmpegError as error:
        raise BadPicture(f"{path}: {error.strerror or error}") from error


def pseudo_truth(found: Sequence[Found], clip: Clip, labels: Sequence[str]) -> Truth:
    """What a detector is sure of on a clip, taken for the truth about it.

    Of the clip's classes those count that are seen often: one that is seen now and then is a
    mistake, and would weigh as much as the others. Raises BadPicture if none is.
    """
    sure = [boxes[boxes[:, 0] > TRUE_SCORE] for boxes in found]
    counts = np.bincount(np.concatenate(sure)[:, 1].astype(int), minlength=len(labels))
    scene = _SCENES.get(Path(clip.name).stem, labels)
    hidden = [
        label
        for label, count in zip(labels, counts.tolist(), strict=True)
        if label not in scene or count < SEEN_OFTEN * len(found)
    ]
    if len(hidden) == len(labels):
        raise BadPicture(f"{clip.name}: the detector is sure of too little on it")
    width, height = clip.size
    size = {"width": width, "height": height, "not_labelled": hidden}
    rows: list[dict[str, Any]] = []
    for i, boxes in enumerate(sure):
        for _, label, x1, y1, x2, y2 in boxes.tolist():
            if labels[int(label)] not in hidden:
                box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
                about = {"id": len(rows) + 1, "image_id": i, "category_id": int(label)}
                rows.append(about | box | {"iscrowd": 0})
    index = {
        "images": [{"id": i, "file_name": str(i)} | size for i in range(len(found))],
        "categories": [{"id": i, "name": label} for i, label in enumerate(labels)],
        "annotations": rows,
    }
    with tempfile.TemporaryDirectory() as folder:  # COCO's reader wants a file
        path = Path(folder) / "truth.json"
        path.write_text(json.dumps(index))
        return Truth(path)


def boxes_by_class(truth: Truth) -> dict[str, int]:
    """How many boxes of each class are taken for the truth; classes without any left out."""
    ids = [row["category_id"] for row in truth.index["annotations"]]
    counts = np.bincount(ids, minlength=len(truth.labels)).tolist()
    return {label: n for label, n in zip(truth.labels, counts, strict=True) if n}
