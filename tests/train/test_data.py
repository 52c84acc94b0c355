from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch

from tests.train.scenes import LABELS, make_folder
from train.data import Augment, Canvases, CocoFolder, collate


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("scenes"))


def test_crowds_and_unlabelled_classes_become_regions_to_ignore(folder):
    samples = CocoFolder(folder, "train").samples
    person = LABELS.index("person")
    crowd, unlabelled, plain = samples[0], samples[1], samples[2]
    assert crowd.regions.tolist() == [[0, 0, 20, 20]]
    assert crowd.region_classes[:, person].all()
    assert unlabelled.regions.tolist() == [[0, 0, 96, 64]]
    assert unlabelled.region_classes.tolist() == [[True, False]]
    assert len(plain.regions) == 0
    assert [len(s.boxes) for s in samples] == [1] * 6


def test_a_canvas_shows_its_boxes_where_they_are(folder):
    """Every box that is taught is mostly red inside: crops, scales, mirrors moved it rightly."""
    samples = CocoFolder(folder, "train").samples
    stream = Canvases(samples, Augment(size=128, mosaic=0.5, classes=2), batch=8, seed=1)
    seen = 0
    for batch in islice(stream, 4):
        for x, boxes, labels in zip(batch.x, batch.boxes, batch.labels, strict=True):
            for box in boxes[labels >= 0]:
                x1, y1, x2, y2 = (round(v) for v in box.tolist())
                inside = x[:, y1:y2, x1:x2].float().mean((1, 2))
                assert inside[0] > inside[1] + 20, (box, inside)
                seen += 1
    assert seen > 30


def test_canvases_repeat_with_their_seed(folder):
    samples = CocoFolder(folder, "train").samples

    def first(seed: int) -> torch.Tensor:
        return next(iter(Canvases(samples, Augment(size=64, classes=2), 2, seed))).x

    assert torch.equal(first(3), first(3))
    assert not torch.equal(first(3), first(4))


def test_collate_pads_to_the_longest_list(folder):
    samples = CocoFolder(folder, "train").samples
    for sample in samples:
        sample.pixels = np.zeros((32, 32, 3), np.uint8)
    batch = collate(samples)
    assert batch.boxes.shape == (6, 1, 4)
    assert batch.regions.shape == (6, 1, 4)
    assert batch.labels.tolist() == [[1]] * 6


def test_most_limits_the_pictures(folder):
    assert len(CocoFolder(folder, "val", most=2).samples) == 2
