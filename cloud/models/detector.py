"""The detector: y_hat -> boxes. It never sees a pixel.

y_hat  B M H/16 W/16
  │ enter (1/16) ── down ── p5 (1/32)
  │    p4 <── up ──┘           top-down, then bottom-up (PAN, Liu et al. 2018)
  │    p3 (1/8) <── up
  └ heads at strides 8, 16, 32: class logits, distances to the four sides (FCOS, Tian et al. 2019)

Scores are trained towards the localisation quality (task alignment, Feng et al. 2021), so one
number ranks the boxes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from cloud.models.blocks import ConvNorm, CspBlock

STRIDES = (8, 16, 32)

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class DetectorConfig:
    """Latent channels in, classes out, widths at strides 8, 16, 32 and of the heads."""

    latent: int = 64
    classes: int = 5
    widths: tuple[int, int, int] = (96, 192, 256)
    head: int = 96


def _last(c_in: int, c_out: int, bias: float) -> nn.Conv2d:
    layer = nn.Conv2d(c_in, c_out, 1)
    layer.bias = nn.Parameter(torch.full((c_out,), bias))
    return layer


class _Head(nn.Module):
    def __init__(self, c_in: int, width: int, classes: int) -> None:
        super().__init__()
        self.enter = ConvNorm(c_in, width, 1)
        # biases: scores begin at a 1 % prior (focal loss, Lin et al. 2017), sides at 1.7 strides
        self.score = nn.Sequential(ConvNorm(width, width), _last(width, classes, bias=-4.6))
        self.sides = nn.Sequential(ConvNorm(width, width), _last(width, 4, bias=1.5))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.enter(x)
        return self.score(x), self.sides(x)


class Detector(nn.Module):
    """y_hat -> (logits B N C, boxes B N 4), N anchors over the three strides, boxes in pixels."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        w3, w4, w5 = config.widths
        self.enter = nn.Sequential(ConvNorm(config.latent, w4), CspBlock(w4, w4, 2))
        self.down5 = nn.Sequential(ConvNorm(w4, w5, 3, 2), CspBlock(w5, w5, 2))
        self.up4 = CspBlock(w4 + w5, w4, 1)
        self.expand3 = ConvNorm(w4, w3 * 4, 1)
        self.up3 = CspBlock(w3, w3, 2)
        self.down4 = ConvNorm(w3, w3, 3, 2)
        self.out4 = CspBlock(w3 + w4, w4, 1)
        self.again5 = ConvNorm(w4, w4, 3, 2)
        self.out5 = CspBlock(w4 + w5, w5, 1)
        self.heads = nn.ModuleList(_Head(w, config.head, config.classes) for w in config.widths)

    def features(self, y_hat: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        p4 = self.enter(y_hat)
        p5 = self.down5(p4)
        p4 = self.up4(torch.cat([F.interpolate(p5, size=p4.shape[2:]), p4], 1))
        p3 = self.up3(F.pixel_shuffle(self.expand3(p4), 2))
        p4 = self.out4(torch.cat([self.down4(p3), p4], 1))
        p5 = self.out5(torch.cat([self.again5(p4), p5], 1))
        return p3, p4, p5

    def forward(self, y_hat: Tensor) -> tuple[Tensor, Tensor]:
        """y_hat: B M h w -> class logits B N C and boxes B N 4 (x1 y1 x2 y2, pixels), float32."""
        logits, boxes = [], []
        for stride, head, feature in zip(STRIDES, self.heads, self.features(y_hat), strict=True):
            score, sides = head(feature)
            centres = anchor_centres(score.shape[2], score.shape[3], stride, score.device)
            distances = F.softplus(sides.float().flatten(2).transpose(1, 2)) * stride
            logits.append(score.float().flatten(2).transpose(1, 2))
            boxes.append(
                torch.cat([centres - distances[..., :2], centres + distances[..., 2:]], -1)
            )
        return torch.cat(logits, 1), torch.cat(boxes, 1)


def anchor_centres(rows: int, columns: int, stride: int, device: torch.device) -> Tensor:
    """N 2: x, y of each cell's centre in pixels, row by row."""
    y = torch.arange(rows, device=device, dtype=torch.float32)
    x = torch.arange(columns, device=device, dtype=torch.float32)
    grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
    return (torch.stack([grid_x, grid_y], -1).reshape(-1, 2) + 0.5) * stride


def select(
    logits: Tensor,
    boxes: Tensor,
    *,
    min_score: float = 0.05,
    iou: float = 0.6,
    most: int = 100,
    candidates: int = 400,
) -> tuple[Floats, NDArray[np.int64], Floats]:
    """One picture's anchors -> the boxes to report: per-class non-maximum suppression.

    logits  N C;  boxes  N 4 pixels
    returns scores K float32, labels K int64, boxes K 4 float32, best first
    """
    scores = logits.sigmoid()
    flat, index = scores.flatten().topk(min(candidates, scores.numel()))
    flat_scores = flat.numpy()
    count = int((flat_scores > min_score).sum())
    picked = index[:count].numpy()
    label, anchor = picked % scores.shape[1], picked // scores.shape[1]
    corner = boxes.numpy()[anchor]
    keep = _suppress(corner, label, iou)[:most]
    return flat_scores[:count][keep], label[keep], corner[keep]


def _suppress(boxes: Floats, labels: NDArray[np.int64], iou: float) -> NDArray[np.int64]:
    """Greedy suppression of boxes sorted by score; only boxes of one label compete."""
    overlap = (pairwise_iou(boxes, boxes) > iou) & (labels[:, None] == labels[None, :])
    alive = np.ones(len(boxes), bool)
    for i in range(len(boxes)):
        if alive[i]:
            alive[i + 1 :] &= ~overlap[i, i + 1 :]
    return np.flatnonzero(alive)


def pairwise_iou(a: Floats, b: Floats) -> Floats:
    """N 4, M 4 -> N M intersection over union."""
    top = np.maximum(a[:, None, :2], b[None, :, :2])
    low = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = (low - top).clip(0).prod(-1)
    area_a, area_b = (a[:, 2:] - a[:, :2]).prod(-1), (b[:, 2:] - b[:, :2]).prod(-1)
    iou: Floats = shared / (area_a[:, None] + area_b[None, :] - shared + 1e-9)
    return iou
