"""COCO-format folders as training batches: decoded once, then mosaics and crops of raw bytes.

A folder holds `train.json`, `val.json` and `train/`, `val/` (or any two names given). Two fields
decide where no loss is taken: an annotation with `iscrowd: 1` is a region to ignore for its class,
and an image's `not_labelled` lists classes that may be visible in it but carry no boxes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

_LEAST_VISIBLE = 0.3  # a box cut to less than this of its area becomes a region to ignore
_LEAST_PX = 4.0  # so does one with a side smaller than this


Pixels = NDArray[np.uint8]
Boxes = NDArray[np.float32]


@dataclass
class Sample:
    """pixels H W 3 uint8; boxes N 4 (x1 y1 x2 y2); regions to ignore K 4 with K C flags."""

    image_id: int
    pixels: Pixels
    boxes: Boxes
    labels: NDArray[np.int64]
    regions: Boxes
    region_classes: NDArray[np.bool_]


@dataclass
class Batch:
    """x B 3 S S uint8; boxes B N 4, labels B N (-1 pads); regions B K 4, region_classes B K C."""

    x: Tensor
    boxes: Tensor
    labels: Tensor
    regions: Tensor
    region_classes: Tensor

    def to(self, device: torch.device) -> Batch:
        return Batch(*(t.to(device, non_blocking=True) for t in vars(self).values()))


class CocoFolder:
    """All samples of one split, in memory as uint8."""

    def __init__(self, folder: Path, split: str, most: int | None = None) -> None:
        index = json.loads((folder / f"{split}.json").read_text())
        self.categories = [c["id"] for c in index["categories"]]
        self.labels = tuple(c["name"] for c in index["categories"])
        by_image: dict[int, list[dict[str, Any]]] = {}
        for annotation in index["annotations"]:
            by_image.setdefault(annotation["image_id"], []).append(annotation)
        self.images = index["images"][:most]
        self.samples: Sequence[Sample] = [
            self._sample(folder / split, image, by_image.get(image["id"], []))
            for image in self.images
        ]

    def _sample(
        self, folder: Path, image: dict[str, Any], annotations: list[dict[str, Any]]
    ) -> Sample:
        with Image.open(folder / image["file_name"]) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        boxes, labels, regions, flags = [], [], [], []
        for a in annotations:
            x, y, w, h = a["bbox"]
            label = self.categories.index(a["category_id"])
            if a.get("iscrowd"):
                regions.append([x, y, x + w, y + h])
                flags.append(np.eye(len(self.labels), dtype=bool)[label])
            else:
                boxes.append([x, y, x + w, y + h])
                labels.append(label)
        if missing := image.get("not_labelled"):
            regions.append([0, 0, pixels.shape[1], pixels.shape[0]])
            flags.append(np.array([name in missing for name in self.labels]))
        return Sample(
            image["id"],
            pixels,
            np.array(boxes, np.float32).reshape(-1, 4),
            np.array(labels, np.int64),
            np.array(regions, np.float32).reshape(-1, 4),
            np.array(flags, bool).reshape(-1, len(self.labels)),
        )


@dataclass
class Augment:
    """How a training canvas is made: its side in pixels, and how often four pictures share it."""

    size: int = 384
    mosaic: float = 0.6
    classes: int = 5


class Canvases(IterableDataset[Batch]):
    """An endless stream of batches; `mosaic` can be turned off near the end of a run."""

    def __init__(self, samples: Sequence[Sample], augment: Augment, batch: int, seed: int) -> None:
        self.samples, self.augment, self.batch, self.seed = samples, augment, batch, seed

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()  # each worker draws its own stream
        rng = np.random.default_rng((self.seed, worker.id if worker else 0))
        order: list[int] = []
        while True:
            rows = []
            for _ in range(self.batch):
                count = 4 if rng.random() < self.augment.mosaic else 1
                while len(order) < count:
                    order += list(rng.permutation(len(self.samples)))
                rows.append(self._canvas(rng, [self.samples[order.pop()] for _ in range(count)]))
            yield collate(rows)

    def _canvas(self, rng: np.random.Generator, samples: list[Sample]) -> Sample:
        size = self.augment.size
        if len(samples) == 1:
            return jitter(rng, place(rng, samples[0], size, size))
        cx, cy = rng.integers(size // 4, 3 * size // 4, 2)
        tiles = [(0, 0, cx, cy), (cx, 0, size, cy), (0, cy, cx, size), (cx, cy, size, size)]
        parts = [
            (x1, y1, place(rng, s, x2 - x1, y2 - y1))
            for s, (x1, y1, x2, y2) in zip(samples, tiles, strict=True)
        ]
        canvas = np.empty((size, size, 3), np.uint8)
        for x, y, part in parts:
            canvas[y : y + part.pixels.shape[0], x : x + part.pixels.shape[1]] = part.pixels
        shift = [np.array([x, y, x, y], np.float32) for x, y, _ in parts]
        joined = Sample(
            0,
            canvas,
            np.concatenate([p.boxes + s for (_, _, p), s in zip(parts, shift, strict=True)]),
            np.concatenate([p.labels for _, _, p in parts]),
            np.concatenate([p.regions + s for (_, _, p), s in zip(parts, shift, strict=True)]),
            np.concatenate([p.region_classes for _, _, p in parts]),
        )
        return jitter(rng, joined)


def place(
    rng: np.random.Generator,
    sample: Sample,
    width: int,
    height: int,
    zoom: tuple[float, float] = (0.55, 1.6),
) -> Sample:
    """A scaled, perhaps mirrored crop that fills width x height; grey where it does not reach.

    zoom  bounds of how much larger it is than what would just fill it
    """
    h, w = sample.pixels.shape[:2]
    scale = max(width / w, height / h) * np.exp(rng.uniform(*np.log(zoom)))
    aspect = np.exp(rng.uniform(-0.15, 0.15))
    sx, sy = scale * aspect, scale / aspect
    # where the tile's corner falls in the scaled picture; negative leaves a grey border
    slack_x, slack_y = w * sx - width, h * sy - height
    ox, oy = (
        rng.uniform(min(0, slack_x), max(0, slack_x)),
        rng.uniform(min(0, slack_y), max(0, slack_y)),
    )
    tile = np.full((height, width, 3), 128, np.uint8)
    x1, y1 = max(0, round(-ox)), max(0, round(-oy))
    x2, y2 = min(width, round(w * sx - ox)), min(height, round(h * sy - oy))
    if x2 > x1 and y2 > y1:
        box = ((x1 + ox) / sx, (y1 + oy) / sy, (x2 + ox) / sx, (y2 + oy) / sy)
        box = tuple(
            min(max(v, lo), hi) for v, lo, hi in zip(box, (0, 0, 0, 0), (w, h, w, h), strict=True)
        )
        picture = Image.fromarray(sample.pixels).resize(
            (x2 - x1, y2 - y1), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0
        )
        tile[y1:y2, x1:x2] = np.asarray(picture)
    move = np.array([sx, sy, sx, sy], np.float32), np.array([ox, oy, ox, oy], np.float32)
    boxes, regions = sample.boxes * move[0] - move[1], sample.regions * move[0] - move[1]
    if rng.random() < 0.5:
        tile = tile[:, ::-1]
        boxes, regions = _mirror(boxes, width), _mirror(regions, width)
    return _clip(sample, tile, boxes, regions)


def _mirror(boxes: Boxes, width: int) -> Boxes:
    return np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)


def _clip(sample: Sample, tile: Pixels, boxes: Boxes, regions: Boxes) -> Sample:
    """Cuts boxes to the tile; what is mostly cut away or tiny is ignored rather than taught."""
    height, width = tile.shape[:2]
    limit = np.array([width, height, width, height], np.float32)
    cut, cut_regions = boxes.clip(0, limit), regions.clip(0, limit)
    sides = cut[:, 2:] - cut[:, :2]
    whole = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    seen = sides.prod(1) / whole.clip(1e-6)
    good = (seen >= _LEAST_VISIBLE) & (sides.min(1, initial=1e9) >= _LEAST_PX)
    partial = ~good & (sides.prod(1) > 0)
    flags = np.eye(sample.region_classes.shape[1], dtype=bool)[sample.labels[partial]]
    there = (cut_regions[:, 2:] - cut_regions[:, :2]).prod(1) > 0
    return Sample(
        sample.image_id,
        tile,
        cut[good],
        sample.labels[good],
        np.concatenate([cut_regions[there], cut[partial]]),
        np.concatenate([sample.region_classes[there], flags]),
    )


def jitter(rng: np.random.Generator, sample: Sample) -> Sample:
    """Gain, offset and saturation of the whole canvas; a little sensor noise."""
    x = sample.pixels.astype(np.float32)
    grey = x.mean(2, keepdims=True)
    x = grey + (x - grey) * np.float32(rng.uniform(0.5, 1.5))
    tint = rng.uniform(0.92, 1.08, 3).astype(np.float32) * np.float32(rng.uniform(0.65, 1.4))
    x = x * tint + np.float32(rng.uniform(-18, 18))
    sample.pixels = x.clip(0, 255).astype(np.uint8)
    return sample


def collate(samples: Sequence[Sample]) -> Batch:
    """Pads boxes and regions to the longest list of the batch."""
    most = max(1, max(len(s.boxes) for s in samples))
    most_regions = max(1, max(len(s.regions) for s in samples))
    classes = samples[0].region_classes.shape[1]
    boxes = torch.zeros(len(samples), most, 4)
    labels = torch.full((len(samples), most), -1)
    regions = torch.zeros(len(samples), most_regions, 4)
    flags = torch.zeros(len(samples), most_regions, classes, dtype=torch.bool)
    for i, s in enumerate(samples):
        boxes[i, : len(s.boxes)] = torch.from_numpy(s.boxes)
        labels[i, : len(s.boxes)] = torch.from_numpy(s.labels)
        regions[i, : len(s.regions)] = torch.from_numpy(s.regions)
        flags[i, : len(s.regions)] = torch.from_numpy(s.region_classes)
    x = torch.from_numpy(np.stack([s.pixels for s in samples]).transpose(0, 3, 1, 2))
    return Batch(x.contiguous(memory_format=torch.channels_last), boxes, labels, regions, flags)
