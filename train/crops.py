"""Crops of pictures, each with what a human decoder has of it: an auxiliary layer, a reference.

    picture ──scale, crop, mirror──> now ──the auxiliary codec──> decoded
                                      └──what a fixed camera saw before──> before

The reference's world is another one: light, noise, a shaken mast; things that were elsewhere, were
not there yet, or have left since. It went through a codec of its own. Where people and vehicles are
marked in a picture, they are what comes and goes: so fusion learns what they look like.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from common.coding.blocks import analyse, dequantise, synthesise
from common.coding.choice import chosen
from common.coding.coefficients import CoefficientModel

Pixels = NDArray[np.uint8]
Boxes = NDArray[np.float32]

_SCALES = (0.5, 1.0)  # of a picture's own size
_MOST_THINGS = 4  # that nobody knows what they are
_COMES, _MOVES = 0.6, 0.2  # chances of each thing that is marked
_FEATHER = 0.06  # of its width: how softly its place is filled
_LIGHT, _TINT, _NOISE = 0.12, 0.04, 4.0  # at most: exposure, colour, sensor noise of 255
_STILL = (170, 240)  # qualities at which a reference was coded


@dataclass
class Crops:
    """now, decoded, before  B 3 S S uint8;  quality B, of the auxiliary layer, 0..255."""

    now: Tensor
    decoded: Tensor
    before: Tensor
    quality: Tensor


class CropStream(IterableDataset[Crops]):
    """An endless stream of batches.

    pairs   real moments of fixed cameras, (now, before)
    model   the auxiliary codec's tables
    things  what is marked in some of the files, N 4 each: x1 y1 x2 y2 in pixels
    """

    def __init__(
        self,
        files: Sequence[Path],
        pairs: Sequence[tuple[Pixels, Pixels]],
        *,
        size: int,
        batch: int,
        seed: int,
        model: CoefficientModel,
        things: Mapping[Path, Boxes] | None = None,
    ) -> None:
        self._files, self._pairs, self._model = files, pairs, model
        self._things = things or {}
        self._size, self._batch, self._seed = size, batch, seed

    def __iter__(self) -> Iterator[Crops]:
        worker = get_worker_info()
        rng = np.random.default_rng((self._seed, worker.id if worker else 0))
        while True:
            yield collate([self._one(rng) for _ in range(self._batch)])

    def _one(self, rng: np.random.Generator) -> tuple[Pixels, Pixels, Pixels, int]:
        quality = int(rng.integers(0, 256))
        if self._pairs and rng.random() < 0.15:
            one, other = self._pairs[rng.integers(len(self._pairs))]
            now, before = cut(rng, np.concatenate([one, other], axis=2), self._size, (0.7, 1.0))
        else:
            path, other = (self._files[i] for i in rng.integers(len(self._files), size=2))
            picture = read(path)
            boxes = self._things.get(path, np.zeros((0, 4), np.float32))
            both = np.concatenate([picture, without(rng, picture, boxes)], axis=2)
            now, before = cut(rng, both, self._size)
            unknown = int(rng.integers(0, 2 if len(boxes) else _MOST_THINGS + 1))
            before = earlier(rng, before, cut(rng, read(other), self._size)[0], unknown)
        still = coded(before, int(rng.integers(*_STILL)), self._model)
        return now, coded(now, quality, self._model), still, quality


def pictures(folders: Sequence[Path]) -> list[Path]:
    """Every JPEG and PNG in these folders. Raises FileNotFoundError where there is none."""
    found = [
        path
        for folder in folders
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in (".jpg", ".jpeg", ".png")
    ]
    if not found:
        raise FileNotFoundError(f"no pictures in {', '.join(map(str, folders))}")
    return found


def read(path: Path) -> Pixels:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def cut(
    rng: np.random.Generator,
    pixels: Pixels,
    size: int,
    scales: tuple[float, float] = _SCALES,
) -> list[Pixels]:
    """A square of `size` out of pixels H W 3n, scaled and perhaps mirrored: n times H W 3."""
    h, w = pixels.shape[:2]
    least = size / min(h, w)
    scale = max(least, float(rng.uniform(*scales)))
    side = min(size / scale, h, w)
    x, y = rng.uniform(0, w - side), rng.uniform(0, h - side)
    box = (x, y, x + side, y + side)
    out = []
    for at in range(0, pixels.shape[2], 3):
        picture = Image.fromarray(np.ascontiguousarray(pixels[..., at : at + 3]))
        small = picture.resize((size, size), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)
        out.append(np.asarray(small))
    return [part[:, ::-1] for part in out] if rng.random() < 0.5 else out


def coded(pixels: Pixels, quality: int, model: CoefficientModel) -> Pixels:
    """What comes back of pixels through the auxiliary codec: its transform, its choice of integers.

    Where the machine layer says nothing, so that no camera is needed to make a crop.
    """
    coefficients = analyse(pixels)
    nothing = np.zeros((*coefficients.shape[:2], 2), np.int32)
    q = chosen(model, coefficients, nothing, quality)
    values = synthesise(dequantise(q, quality))
    back: Pixels = values.round().clip(0, 255).astype(np.uint8)
    return back


def marked(data: Path) -> dict[Path, Boxes]:
    """Each train picture of a COCO folder -> what is marked in it, N 4: x1 y1 x2 y2, pixels."""
    index = json.loads((data / "train.json").read_text())
    found: dict[int, list[list[float]]] = {image["id"]: [] for image in index["images"]}
    for annotation in index["annotations"]:
        if not annotation.get("iscrowd"):
            x, y, w, h = annotation["bbox"]
            found[annotation["image_id"]].append([x, y, x + w, y + h])
    return {
        data / "train" / image["file_name"]: np.array(boxes, np.float32).reshape(-1, 4)
        for image in index["images"]
        if (boxes := found[image["id"]])
    }


def without(rng: np.random.Generator, now: Pixels, boxes: Boxes) -> Pixels:
    """The picture before some of its things had come; some were elsewhere, some where they are."""
    before = now.copy()
    rows, columns = now.shape[:2]
    for box in boxes.round().astype(int):
        x1, y1, x2, y2 = np.clip(box, 0, [columns, rows, columns, rows]).tolist()
        w, h, chance = x2 - x1, y2 - y1, rng.random()
        beside = [x for x in (x1 - w, x2) if 0 <= x <= columns - w]
        if w <= 2 or h <= 2 or not beside or chance > _COMES + _MOVES:
            continue
        x = beside[rng.integers(len(beside))]
        _cover(before, now[y1:y2, x : x + w], x1, y1)
        if chance > _COMES:
            x = min(max(round(x1 + rng.uniform(-1, 1) * w), 0), columns - w)
            y = min(max(round(y1 + rng.uniform(-0.3, 0.3) * h), 0), rows - h)
            _cover(before, now[y1:y2, x1:x2], x, y)
    return before


def _cover(scene: Pixels, patch: Pixels, x: int, y: int) -> None:
    """Puts `patch` into `scene` with its corner at x, y and soft edges."""
    h, w = patch.shape[:2]
    feather = max(1, round(_FEATHER * w))
    mask = np.zeros((h, w), np.uint8)
    mask[feather : h - feather, feather : w - feather] = 255
    soft = Image.fromarray(mask).filter(ImageFilter.BoxBlur(feather))
    share = np.asarray(soft, np.float32)[..., None] / 255
    place = scene[y : y + h, x : x + w]
    place[:] = (share * patch + (1 - share) * place).round()


def earlier(rng: np.random.Generator, now: Pixels, other: Pixels, things: int) -> Pixels:
    """What stood before a fixed camera some time before `now`.

    other   where what stood there instead comes from
    things  how many
    """
    scene = now.astype(np.float32)
    for _ in range(things):
        _change(rng, scene, now, other)
    if rng.random() < 0.2:
        scene = np.roll(scene, rng.integers(-1, 2, 2), (0, 1))
    light = 1 + rng.uniform(-_LIGHT, _LIGHT) + rng.uniform(-_TINT, _TINT, 3)
    scene = scene * light + rng.normal(0, rng.uniform(0, _NOISE), scene.shape)
    seen: Pixels = scene.round().clip(0, 255).astype(np.uint8)
    return seen


def _change(
    rng: np.random.Generator, scene: NDArray[np.float32], now: Pixels, other: Pixels
) -> None:
    """One rectangle was covered by something else, or by what lies beside it."""
    size = scene.shape[0]
    h, w = (int(size * v) for v in np.exp(rng.uniform(np.log(0.06), np.log(0.5), 2)))
    y, x = rng.integers(0, size - h), rng.integers(0, size - w)
    source = other if rng.random() < 0.5 else now
    from_y, from_x = rng.integers(0, size - h), rng.integers(0, size - w)
    rows, columns = np.ogrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j]
    # an ellipse or a box, so that no shape of edge means "this has changed"
    power = 2.0 if rng.random() < 0.5 else 8.0
    inside = (np.abs(rows) ** power + np.abs(columns) ** power < 1)[..., None]
    patch = source[from_y : from_y + h, from_x : from_x + w]
    scene[y : y + h, x : x + w] = np.where(inside, patch, scene[y : y + h, x : x + w])


def collate(rows: Sequence[tuple[Pixels, Pixels, Pixels, int]]) -> Crops:
    now, decoded, before, quality = zip(*rows, strict=True)
    return Crops(_planes(now), _planes(decoded), _planes(before), torch.tensor(quality))


def _planes(pixels: Sequence[Pixels]) -> Tensor:
    stacked = torch.from_numpy(np.stack(pixels).transpose(0, 3, 1, 2))
    return stacked.contiguous(memory_format=torch.channels_last)
