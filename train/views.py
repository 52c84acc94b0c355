"""How a fixed camera saw the same place a moment before: made from one picture.

The world of a still camera changes in four ways, and each is made here: sensor noise, exposure,
a shaking mast, and things that move or come and go. Things are the boxes of the picture: what lies
in one is moved, and what it uncovers is filled with what lies beside it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from train.data import Batch

_NOISE = 5 / 255  # at most, standard deviation
_EXPOSURE = 0.03  # at most, either way
_SHAKE = 0.2  # chance of a shift by one pixel
_STEP = 0.5  # at most, in widths or heights of the thing that moves
_MOVES, _COMES = 0.5, 0.1  # chances of each thing


def earlier(x: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return (the pictures a moment before, the pictures now), B 3 H W in 0..1 each.

    Both carry noise of one strength a picture, drawn anew for each. `batch` brings the boxes.
    """
    before = x.clone()
    for i in range(len(x)):
        boxes = batch.boxes[i][batch.labels[i] >= 0].round().long().tolist()
        for box in boxes:
            _move(before[i], x[i], box)
        if torch.rand(()) < _SHAKE:
            before[i] = before[i].roll(_signs(2), (1, 2))
    size = (len(x), 1, 1, 1)
    noise = torch.rand(size, device=x.device) * _NOISE
    light = 1 + (2 * torch.rand(size, device=x.device) - 1) * _EXPOSURE
    before = before * light + noise * torch.randn_like(before)
    return before.clamp(0, 1), (x + noise * torch.randn_like(x)).clamp(0, 1)


def _move(before: Tensor, now: Tensor, box: list[int]) -> None:
    """Puts the thing in `box` (x1 y1 x2 y2) elsewhere, or away, or leaves it, by chance."""
    chance = float(torch.rand(()))
    if chance > _MOVES + _COMES:
        return
    _, rows, columns = now.shape
    x1, y1, x2, y2 = max(box[0], 0), max(box[1], 0), min(box[2], columns), min(box[3], rows)
    w, h = x2 - x1, y2 - y1
    if w <= 0 or h <= 0:
        return
    beside = x1 - w if x1 >= w else x2
    if beside + w > columns:
        return  # nothing to fill its place with
    before[:, y1:y2, x1:x2] = now[:, y1:y2, beside : beside + w]
    if chance > _MOVES:
        return  # it was not there yet
    far = (torch.rand(2) * 2 - 1) * _STEP
    left = min(max(x1 + round(float(far[0]) * w), 0), columns - w)
    top = min(max(y1 + round(float(far[1]) * h), 0), rows - h)
    before[:, top : top + h, left : left + w] = now[:, y1:y2, x1:x2]


def _signs(count: int) -> list[int]:
    return [int(v) for v in torch.randint(-1, 2, (count,))]
