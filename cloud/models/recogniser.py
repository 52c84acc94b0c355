"""The recogniser: a summary of the latent -> which classes are in view. It never sees a pixel.

    y ──Summary──> s ──* gain(q), round──> integers          on the edge (common/coding/summary.py)
    s_hat <──────* inverse_gain(q) ──────────┘
      │ enter, refine (3x3 convolutions, one residual)
      └ mean and maximum over all places -> one logit a class

y      B M H/16 W/16    latent, as the detector's layers code it
s      B M H/64 W/64    means over blocks of what a 1x1 convolution and a ReLU make of y

A class that fills the picture shows in the mean, a small one in the maximum.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cloud.models.blocks import ConvNorm


@dataclass(frozen=True)
class RecogniserConfig:
    """Latent channels in, classes out, width between, share of features dropped in training."""

    latent: int = 64
    classes: int = 5
    width: int = 96
    dropout: float = 0.2


class Summariser(nn.Module):
    """y -> s, as common.coding.summary.Summary does it. Trained here, run on the edge."""

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.evidence = nn.Conv2d(channels, channels, 1)

    def forward(self, y: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
        """y B M h w, inside B 1 h w (0 where padded) -> s, and inside at the size of s."""
        share = F.avg_pool2d(inside, self.factor, ceil_mode=True)
        found = F.relu(self.evidence(y)).float() * inside
        s = F.avg_pool2d(found, self.factor, ceil_mode=True) / share.clamp(min=1e-6)
        return s, (share > 0).float()


class Recogniser(nn.Module):
    """s_hat -> logits B C, one for each class by itself: several may be in view, or none."""

    def __init__(self, config: RecogniserConfig) -> None:
        super().__init__()
        self.config = config
        self.enter = ConvNorm(config.latent, config.width)
        self.refine = nn.ModuleList(ConvNorm(config.width, config.width) for _ in range(2))
        self.decide = nn.Sequential(
            nn.Dropout(config.dropout), nn.Linear(2 * config.width, config.classes)
        )

    def forward(self, s_hat: Tensor, inside: Tensor | None = None) -> Tensor:
        """s_hat B M h w -> logits B C, float32.

        inside  B 1 h w, 1 where the picture is, 0 where a batch of several sizes is padded
        """
        if inside is None:
            inside = torch.ones_like(s_hat[:, :1])
        x = self.enter(s_hat) * inside
        fine = x
        for layer in self.refine:
            fine = layer(fine) * inside
        x = (x + fine).float()
        mean = x.sum((2, 3)) / inside.sum((2, 3))
        logits: Tensor = self.decide(torch.cat([mean, x.amax((2, 3))], 1))
        return logits.float()
