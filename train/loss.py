"""Detection loss: task-aligned assignment (Feng 2021), quality focal loss (Li 2020), GIoU.

`detection_loss` asks for what people have marked, `agreement` for what another detector finds.

Shapes: B pictures, A anchors, N boxes (padded), C classes, K regions to ignore (padded).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from train.data import Batch

_TOP_K = 10  # anchors per box
_ALPHA, _BETA = 0.5, 6.0  # alignment = score^alpha * iou^beta
_SURE = 0.05  # a teacher's box below this score is not worth following


@dataclass
class DetectionLoss:
    """`score` and `box`, each normalised by the sum of target scores; `total` weighs them."""

    score: Tensor
    box: Tensor

    @property
    def total(self) -> Tensor:
        return self.score + 2.0 * self.box


def detection_loss(logits: Tensor, boxes: Tensor, centres: Tensor, batch: Batch) -> DetectionLoss:
    """logits B A C, boxes B A 4, centres A 2 (pixels)."""
    with torch.no_grad():
        target, owner = assign(logits.sigmoid(), boxes, centres, batch)
        counted = ~ignored(centres, batch)
        counted |= target > 0
        norm = target.sum().clamp(min=1.0)
    score = logits.sigmoid()
    focal = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    focal = focal * (target - score).abs().square() * counted
    positive = owner >= 0
    if not positive.any():
        return DetectionLoss(focal.sum() / norm, boxes.sum() * 0)
    wanted = batch.boxes[positive.nonzero()[:, 0], owner[positive]]
    weight = target[positive].sum(-1)
    giou = generalised_iou(boxes[positive], wanted)
    return DetectionLoss(focal.sum() / norm, ((1 - giou) * weight).sum() / norm)


def agreement(
    logits: Tensor, boxes: Tensor, taught_logits: Tensor, taught_boxes: Tensor
) -> DetectionLoss:
    """How far predictions are from another detector's, anchor by anchor.

    logits B A C, boxes B A 4 (pixels) of either. The teacher's scores take the place of the
    targets, its boxes that of the truth, each as heavy as it is sure of it.
    """
    with torch.no_grad():
        target = taught_logits.sigmoid()
        weight = target.amax(2)
        weight = weight * (weight > _SURE)
        norm = weight.sum().clamp(min=1.0)
    focal = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    focal = focal * (target - logits.sigmoid()).abs().square()
    sure = weight > 0
    giou = generalised_iou(boxes[sure], taught_boxes[sure])
    return DetectionLoss(focal.sum() / norm, ((1 - giou) * weight[sure]).sum() / norm)


def assign(scores: Tensor, boxes: Tensor, centres: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Which anchor answers for which box -> target scores B A C, owner B A (-1: none)."""
    real = batch.labels >= 0  # B N
    iou = generalised_iou(boxes[:, None], batch.boxes[:, :, None], plain=True).clamp(min=0)  # B N A
    inside = _contains(batch.boxes, centres) & real[..., None]
    labels = batch.labels.clamp(min=0)[:, :, None].expand(-1, -1, scores.shape[1])
    of_label = scores.transpose(1, 2).gather(1, labels)
    alignment = (of_label.pow(_ALPHA) * iou.pow(_BETA)) * inside
    # a fresh network overlaps nothing: nearness breaks the tie so that every box has an anchor
    middle = (batch.boxes[..., :2] + batch.boxes[..., 2:]) / 2
    far = (middle[:, :, None] - centres).abs().sum(-1)
    alignment = alignment + inside * 1e-9 / (1 + far)
    top, index = alignment.topk(min(_TOP_K, alignment.shape[2]), dim=2)
    chosen = torch.zeros_like(inside).scatter_(2, index, top > 0)
    best_box = (iou + inside * 1e-6).masked_fill(~chosen, -1).argmax(1)  # B A
    owned = chosen.any(1)
    owner = torch.where(owned, best_box, -1)
    mine = chosen & (best_box[:, None] == torch.arange(real.shape[1], device=real.device)[:, None])
    alignment, iou = alignment * mine, iou * mine
    peak = alignment.amax(2, keepdim=True).clamp(min=1e-12)
    strength = (alignment / peak * iou.amax(2, keepdim=True)).amax(1)  # B A
    target = torch.zeros_like(scores)
    label = batch.labels.clamp(min=0).gather(1, best_box)
    target.scatter_(2, label[..., None], (strength * owned)[..., None])
    return target, owner


def ignored(centres: Tensor, batch: Batch) -> Tensor:
    """B A C: anchors whose centre lies in a region where class C is not to be judged."""
    inside = _contains(batch.regions, centres)  # B K A
    return torch.einsum("bka,bkc->bac", inside.float(), batch.region_classes.float()) > 0


def _contains(boxes: Tensor, centres: Tensor) -> Tensor:
    """B N 4, A 2 -> B N A."""
    x, y = centres[:, 0], centres[:, 1]
    b = boxes[..., None, :]
    return (x > b[..., 0]) & (x < b[..., 2]) & (y > b[..., 1]) & (y < b[..., 3])


def generalised_iou(a: Tensor, b: Tensor, plain: bool = False) -> Tensor:
    """GIoU (Rezatofighi et al. 2019) of boxes ... 4; `plain` gives the IoU."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - shared
    iou = shared / union.clamp(min=1e-6)
    if plain:
        return iou
    hull = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    area = hull.prod(-1).clamp(min=1e-6)
    return iou - (area - union) / area
