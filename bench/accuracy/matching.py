"""Detections against COCO truth: matched once, scored on any draw of the pictures.

The bootstrap draws pictures with replacement many times. Matching boxes with truth does not depend
on the draw; only accumulating does, so a draw costs milliseconds.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray

Found = NDArray[np.float32]
"""K 6: score, class index, x1, y1, x2, y2 in pixels of the source picture."""

Draw = NDArray[np.int64]
"""Positions of the drawn pictures, as many as there are pictures."""


@dataclass(frozen=True)
class Score:
    """mAP (IoU .50 to .95) and mAP50, each 0..1."""

    map: float
    map50: float


class Truth:
    """The boxes of a COCO data set's first `most` pictures."""

    def __init__(self, dataset: Path, most: int | None = None) -> None:
        self.index: dict[str, Any] = json.loads(dataset.read_text())
        self.images: list[dict[str, Any]] = self.index["images"][:most]
        self.categories = [c["id"] for c in self.index["categories"]]
        self.labels = tuple(c["name"] for c in self.index["categories"])
        with _silence():
            self.coco = COCO(self.index)

    def hidden(self, image: dict[str, Any]) -> frozenset[int]:
        """Class indices that are not labelled on this picture and so not scored there."""
        return frozenset(self.labels.index(name) for name in image.get("not_labelled", ()))


class Matches:
    """What was found on every picture of `truth`, in its order, matched with what is there."""

    def __init__(self, truth: Truth, found: Sequence[Found]) -> None:
        rows = [
            row
            for image, boxes in zip(truth.images, found, strict=True)
            for row in _rows(image["id"], boxes, truth.categories, truth.hidden(image))
        ]
        self._evaluation: COCOeval_faster | None = None
        if not rows:
            return
        with _silence():
            evaluation = COCOeval_faster(
                truth.coco, truth.coco.loadRes(rows), "bbox", separate_eval=True
            )
            evaluation.params.imgIds = [image["id"] for image in truth.images]
            evaluation.params.areaRng = [[0, 1e10]]
            evaluation.params.areaRngLbl = ["all"]
            evaluation.params.maxDets = [100]
            evaluation.evaluate()
        # COCO sorts pictures by id: where each picture's matches stand, class by class
        order = np.argsort(np.argsort([image["id"] for image in truth.images]))
        self._evaluation, self._order = evaluation, order
        self._matches = np.array(evaluation._evalImgs_cpp, dtype=object)
        self._matches = self._matches.reshape(len(truth.categories), len(order))

    def score(self, draw: Draw | None = None) -> Score:
        """Over all pictures, or over those drawn (again and again where drawn again)."""
        if self._evaluation is None:
            return Score(0.0, 0.0)
        chosen = self._order if draw is None else self._order[draw]
        self._evaluation._evalImgs_cpp = self._matches[:, np.sort(chosen)].ravel().tolist()
        with _silence():
            self._evaluation.accumulate()
        precision = np.asarray(self._evaluation.eval["precision"])
        precision = precision.reshape(self._evaluation.eval["counts"])[..., 0, 0]  # IoU recall C
        there = precision[:, 0].max(0) > -1  # classes with no box in the draw do not count
        if not there.any():
            return Score(0.0, 0.0)
        by_iou = precision[:, :, there].mean((1, 2))
        return Score(float(by_iou.mean()), float(by_iou[0]))


def draws(pictures: int, count: int, seed: int = 0) -> list[Draw]:
    """`count` bootstrap draws; the same for every curve, so that differences are paired."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, pictures, pictures) for _ in range(count)]


def _rows(
    image_id: int, boxes: Found, categories: Sequence[int], hidden: frozenset[int]
) -> list[dict[str, Any]]:
    return [
        {
            "image_id": image_id,
            "category_id": categories[int(label)],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": score,
        }
        for score, label, x1, y1, x2, y2 in boxes.tolist()
        if int(label) not in hidden
    ]


def _silence() -> contextlib.AbstractContextManager[Any]:
    return contextlib.redirect_stdout(io.StringIO())
