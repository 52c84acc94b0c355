"""Which classes are in view: the truth of a picture, as far as it is known, and a score for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.data import Boxes, Sample

_ENOUGH = 0.4  # of a box's area makes its class present

Flags = NDArray[np.bool_]
Floats = NDArray[np.floating[Any]]


def presence(sample: Sample, window: Boxes | None = None) -> tuple[Flags, Flags]:
    """Return (present C, known C) of a sample, or of a window of it: x1 y1 x2 y2 in its pixels.

    A class is present if enough of one of its boxes is to be seen. One that is not is unknown where
    there is a region to ignore for it, or a lesser part of a box.
    """
    classes = sample.region_classes.shape[1]
    boxes, regions = _visible(sample.boxes, window), _visible(sample.regions, window)
    present = np.zeros(classes, bool)
    present[sample.labels[boxes >= _ENOUGH]] = True
    unknown = sample.region_classes[regions > 0].any(axis=0)
    unknown[sample.labels[(boxes > 0) & (boxes < _ENOUGH)]] = True
    return present, present | ~unknown


def _visible(boxes: Boxes, window: Boxes | None) -> Boxes:
    """Share of each box's area, N 4, that lies in the window; without one, all of it."""
    if window is None:
        return np.ones(len(boxes), np.float32)
    inner = boxes.clip(np.tile(window[:2], 2), np.tile(window[2:], 2))
    area, seen = ((b[:, 2:] - b[:, :2]).prod(1) for b in (boxes, inner))
    share: Boxes = seen / area.clip(1e-6)
    return share


def average_precision(present: Flags, scores: Floats) -> float:
    """Mean precision at each picture that has the class, pictures by falling score. NaN: none has.

    present N, scores N. Pictures of one score are taken as one step, so that order says nothing.
    """
    if not present.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(present[order])
    last = np.append(ranked[1:] != ranked[:-1], True)  # of each step
    hits, seen = hits[last], np.arange(1, len(order) + 1)[last]
    return float((np.diff(hits, prepend=0) * hits / seen).sum() / hits[-1])


def mean_average_precision(present: Flags, known: Flags, scores: Floats) -> tuple[float, Floats]:
    """Return (mean over classes, average precision of each class), N C all three.

    A class is scored on the pictures where it is known; the mean is of those that are somewhere.
    """
    each = np.array(
        [
            average_precision(present[known[:, c], c], scores[known[:, c], c])
            for c in range(present.shape[1])
        ]
    )
    return (float(np.nanmean(each)) if np.isfinite(each).any() else 0.0), each


def truth(index: Mapping[str, Any], image_ids: Iterable[int]) -> tuple[Flags, Flags]:
    """Return (present N C, known N C) of these pictures of a COCO index, as `presence` has it."""
    names = [c["name"] for c in index["categories"]]
    column = {c["id"]: i for i, c in enumerate(index["categories"])}
    row = {id_: i for i, id_ in enumerate(image_ids)}
    present = np.zeros((len(row), len(names)), bool)
    hidden = np.zeros_like(present)
    for image in index["images"]:
        if image["id"] in row:
            hidden[row[image["id"]]] = [name in image.get("not_labelled", ()) for name in names]
    for a in index["annotations"]:
        if a["image_id"] in row:
            flags = hidden if a.get("iscrowd") else present
            flags[row[a["image_id"]], column[a["category_id"]]] = True
    return present, present | ~hidden
