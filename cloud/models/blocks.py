"""The two convolution blocks that every network here is made of.

ConvNorm   convolution, batch norm, ReLU; the norm folds into the convolution on export.
CspBlock   a cross-stage-partial block (Wang et al. 2020, in the dense form of C2f): half of the
           channels run through `depth` residual bottlenecks, every stage's output is kept.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def channels_last(module: M) -> M:
    """The module with its weights laid out as convolutions like them best on CPUs and GPUs."""
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module


class ConvNorm(nn.Sequential):
    """B Cin H W -> B Cout H/stride W/stride, ReLU at the end."""

    def __init__(self, c_in: int, c_out: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(c_out, momentum=0.03, eps=1e-3),
            nn.ReLU(inplace=True),
        )


class _Bottleneck(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(ConvNorm(channels, channels), ConvNorm(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out


class CspBlock(nn.Module):
    """B Cin H W -> B Cout H W, with `depth` bottlenecks of Cout/2 channels."""

    def __init__(self, c_in: int, c_out: int, depth: int = 1) -> None:
        super().__init__()
        self.hidden = c_out // 2
        self.split = ConvNorm(c_in, 2 * self.hidden, 1)
        self.stages = nn.ModuleList(_Bottleneck(self.hidden) for _ in range(depth))
        self.merge = ConvNorm((2 + depth) * self.hidden, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.split(x).split(self.hidden, dim=1))
        for stage in self.stages:
            parts.append(stage(parts[-1]))
        out: Tensor = self.merge(torch.cat(parts, dim=1))
        return out
