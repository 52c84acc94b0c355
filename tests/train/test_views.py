from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from common.errors import BadPicture
from tests.train.scenes import make_folder
from train.data import Batch, CocoFolder
from train.sequences import from_clip, from_picture
from train.views import earlier


def batch(boxes: list[list[float]]) -> Batch:
    return Batch(
        torch.zeros(1, 3, 64, 64, dtype=torch.uint8),
        torch.tensor([boxes]),
        torch.zeros(1, len(boxes), dtype=torch.long),
        torch.zeros(1, 1, 4),
        torch.zeros(1, 1, 2, dtype=torch.bool),
    )


def test_only_things_move_and_all_is_noisy():
    torch.manual_seed(1)
    x = torch.full((1, 3, 64, 64), 0.2)
    x[:, :, 20:40, 30:40] = 0.9
    moved = 0
    for _ in range(30):
        before, now = earlier(x, batch([[30, 20, 40, 40]]))
        assert (now - x).abs().mean() < 0.02
        far = (before[0, :, :, 50:] - x[0, :, :, 50:]).abs().mean()
        assert far < 0.05  # light and noise
        moved += bool((before - x).abs().amax() > 0.4)
    assert 10 < moved < 30


def test_boxes_at_and_beyond_the_edge_do_no_harm():
    torch.manual_seed(2)
    boxes: list[list[float]] = [
        [-5.0, -5, 70, 70],
        [60, 60, 64, 64],
        [64, 10, 80, 20],
        [3, 3, 3, 9],
    ]
    for _ in range(20):
        before, now = earlier(torch.rand(1, 3, 64, 64), batch(boxes))
        assert before.shape == now.shape == (1, 3, 64, 64)


def test_a_picture_set_in_motion(tmp_path):
    sample = CocoFolder(make_folder(tmp_path), "train").samples[1]
    frames = list(from_picture(sample, 5, np.random.default_rng(0)))
    assert [f.shape for f in frames] == [sample.pixels.shape] * 5
    assert frames[0].dtype == np.uint8
    assert all((a != b).any() for a, b in itertools.pairwise(frames))


def test_no_clip(tmp_path):
    path = tmp_path / "none.avi"
    path.write_bytes(b"no video")
    with pytest.raises(BadPicture, match=r"none\.avi"):
        list(from_clip(path, 5))
    with pytest.raises(BadPicture, match=r"missing\.avi"):
        list(from_clip(tmp_path / "missing.avi", 5))
