"""A COCO-format folder of drawn scenes, small enough to make in a test."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

LABELS = ("person", "car")


def make_folder(folder: Path, *, pictures: int = 6, size: tuple[int, int] = (96, 64)) -> Path:
    """train and val: each picture has one red 'car'; every third also an ignore region."""
    rng = np.random.default_rng(7)
    for split in ("train", "val"):
        (folder / split).mkdir(parents=True)
        images, annotations = [], []
        for i in range(pictures):
            picture = Image.new("RGB", size, (90, 120, 90))
            x, y = (int(v) for v in rng.integers(4, 30, 2))
            ImageDraw.Draw(picture).rectangle((x, y, x + 40, y + 24), fill=(200, 30, 30))
            name = f"{i}.png"
            picture.save(folder / split / name)
            images.append({"id": i + 1, "file_name": name, "width": size[0], "height": size[1]})
            if i == 1:
                images[-1]["not_labelled"] = ["person"]
            box = {"id": 2 * i + 1, "image_id": i + 1, "category_id": 2, "iscrowd": 0}
            annotations.append(box | {"bbox": [x, y, 40, 24], "area": 960})
            if i % 3 == 0:
                crowd = {"id": 2 * i + 2, "image_id": i + 1, "category_id": 1, "iscrowd": 1}
                annotations.append(crowd | {"bbox": [0, 0, 20, 20], "area": 400})
        categories = [{"id": n + 1, "name": label} for n, label in enumerate(LABELS)]
        index = {"images": images, "annotations": annotations, "categories": categories}
        (folder / f"{split}.json").write_text(json.dumps(index))
    return folder
