"""mAP of a model on a COCO folder, at the pictures' own size (longer side at most `side`)."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from faster_coco_eval import COCO, COCOeval_faster
from PIL import Image
from torch import Tensor

from cloud.models.detector import select
from common.geometry import working_size
from train.data import Pixels, Sample

Predict = Callable[[Tensor], tuple[Tensor, Tensor, float]]
"""x 1 3 H W float (H, W multiples of 16) -> logits 1 A C, boxes 1 A 4, bits."""


def pad(pixels: Pixels, multiple: int = 16) -> Pixels:
    """H W 3 uint8 -> grey at the right and bottom up to a multiple."""
    h, w = pixels.shape[:2]
    size = ((0, -h % multiple), (0, -w % multiple), (0, 0))
    return np.pad(pixels, size, constant_values=128)


def scaled(pixels: Pixels, side: int) -> Pixels:
    """The picture with its longer side at most `side` pixels, scaled as the edge does."""
    size = working_size(pixels.shape[1], pixels.shape[0], side)
    if size == (pixels.shape[1], pixels.shape[0]):
        return pixels
    small = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
    return np.asarray(small)


def to_input(pixels: Pixels) -> Tensor:
    """H W 3 uint8 -> x 1 3 H W float in 0..1, padded to the codec's stride."""
    x = torch.from_numpy(pad(pixels)).permute(2, 0, 1)[None].float() / 255
    return x.contiguous(memory_format=torch.channels_last)


def detections(
    predict: Predict, samples: Sequence[Sample], side: int = 640
) -> tuple[list[dict[str, Any]], float]:
    """COCO result rows of all samples, and the mean bits per source pixel.

    side  longer side in pixels that larger pictures are scaled to
    """
    rows, bpp = [], []
    for sample in samples:
        h, w = sample.pixels.shape[:2]
        pixels = scaled(sample.pixels, side)
        logits, boxes, bits = predict(to_input(pixels))
        bpp.append(bits / (h * w))
        scores, classes, corners = select(logits[0], boxes[0], min_score=0.005)
        corners = (corners * (w / pixels.shape[1])).clip(0, [w, h, w, h])
        for score, label, (x1, y1, x2, y2) in zip(scores, classes, corners.tolist(), strict=True):
            box = [x1, y1, x2 - x1, y2 - y1]
            row = {"image_id": sample.image_id, "category_id": int(label), "bbox": box}
            rows.append(row | {"score": float(score)})
    return rows, float(np.mean(bpp))


def score(
    dataset: Path,
    image_ids: list[int],
    rows: list[dict[str, Any]],
    categories: list[int],
) -> dict[str, float]:
    """{map, map50} in 0..1; a class is not scored on images that list it as not_labelled."""
    index = json.loads(dataset.read_text())
    names = {c["id"]: c["name"] for c in index["categories"]}
    hidden = {i["id"]: set(i.get("not_labelled", ())) for i in index["images"]}
    rows = [r | {"category_id": categories[r["category_id"]]} for r in rows]
    rows = [r for r in rows if names[r["category_id"]] not in hidden[r["image_id"]]]
    if not rows:
        return {"map": 0.0, "map50": 0.0}
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(index)
        evaluation = COCOeval_faster(truth, truth.loadRes(rows), "bbox")
        evaluation.params.imgIds = image_ids
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {"map": float(evaluation.stats[0]), "map50": float(evaluation.stats[1])}
