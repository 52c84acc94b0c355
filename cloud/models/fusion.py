"""Fusion (the paper's FCN): machine latent, auxiliary picture and reference -> the preview.

    1/2   decoded, reference ──> fine ──────────────────────────────────(+)──> out2 ──> touch
    1/4   decoded, reference, flags ──> enter ──> body4 ─────────(+)──> out4 ──up─┤        │
    1/8                                   └─down──> body8 ─(+)──> out8 ──up──┘   leave     │
    1/16          y_hat, y_hat - y_ref ──> join ──(+)──> body16 ──up──┘           │        │
                                                                                  │        │
    preview = seen * reference + (1 - seen) * decoded + residual <── seen, coarse ┴─ fine ─┘

decoded    B 3 H W     what the auxiliary layer says by itself, 0..1; grey where there is none
reference  B 3 H W     a still of the same camera from before, 0..1; grey where there is none
y_hat      B M H/16 W/16   the frame's machine latent;  y_ref  that of the reference
flags      B 3         log2(luma step) / 8, 1 with an auxiliary layer, 1 with a reference

H and W are multiples of 16. The residual is in units of the auxiliary layer's step, so that the
preview is faithful by construction: where that layer is fine, it can only be touched up.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_REACH = 0.25  # of the residual where a step is 128, or where there is no auxiliary layer
_CELL = 4  # pixels on a side of what one position of the level 1/4 stands for
_FINE_CELL = 2
_FINE_DEPTH = 3


@dataclass(frozen=True)
class FusionConfig:
    """Latent channels in; widths and numbers of blocks at 1/4, 1/8, 1/16.

    fine  width at 1/2; 0: there is no such level
    """

    latent: int = 64
    widths: tuple[int, int, int] = (64, 128, 192)
    depths: tuple[int, int, int] = (2, 2, 3)
    fine: int = 0


class Block(nn.Module):
    """B C H W -> B C H W: two convolutions and a short cut that starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.normal_(self.second.weight, std=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.second(F.relu(self.first(F.relu(x))))
        return out


def _blocks(channels: int, depth: int) -> nn.Sequential:
    return nn.Sequential(*(Block(channels) for _ in range(depth)))


class _Up(nn.Sequential):
    """B Cin h w -> B Cout 2h 2w."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(nn.Conv2d(c_in, 4 * c_out, 1), nn.PixelShuffle(2))


class Fusion(nn.Module):
    """See the head of this file; some 65 kMAC per pixel."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.config = config
        w4, w8, w16 = config.widths
        d4, d8, d16 = config.depths
        pixels = 3 * _CELL * _CELL
        self.enter = nn.Conv2d(2 * pixels + 3, w4, 3, padding=1)
        self.body4 = _blocks(w4, d4)
        self.down8 = nn.Conv2d(w4, w8, 2, 2)
        self.body8 = _blocks(w8, d8)
        self.down16 = nn.Conv2d(w8, w16, 2, 2)
        self.join = nn.Conv2d(2 * config.latent, w16, 3, padding=1)
        self.body16 = _blocks(w16, d16)
        self.up8 = _Up(w16, w8)
        self.out8 = _blocks(w8, d8)
        self.up4 = _Up(w8, w4)
        self.out4 = _blocks(w4, d4)
        self.leave = nn.Conv2d(w4, pixels + 1, 3, padding=1)
        nn.init.normal_(self.leave.weight, std=1e-3)
        if config.fine:
            dots = 3 * _FINE_CELL * _FINE_CELL
            self.fine = nn.Conv2d(2 * dots, config.fine, 3, padding=1)
            self.up2 = _Up(w4, config.fine)
            self.out2 = _blocks(config.fine, _FINE_DEPTH)
            self.touch = nn.Conv2d(config.fine, dots, 3, padding=1)
            nn.init.normal_(self.touch.weight, std=1e-3)

    def forward(
        self, decoded: Tensor, reference: Tensor, y_hat: Tensor, y_ref: Tensor, flags: Tensor
    ) -> tuple[Tensor, Tensor]:
        """-> (preview B 3 H W, not clipped; seen B 1 H/4 W/4, the reference's share, 0..1)"""
        size = decoded.shape[2] // _CELL, decoded.shape[3] // _CELL
        planes = flags[:, :, None, None].expand(-1, -1, *size)
        both = torch.cat([decoded, reference], 1) - 0.5
        x4 = self.enter(torch.cat([F.pixel_unshuffle(both, _CELL), planes], 1))
        x4 = self.body4(x4)
        x8 = self.body8(self.down8(x4))
        changed = (y_hat - y_ref) * flags[:, 2, None, None, None]
        x16 = self.down16(x8) + self.join(torch.cat([y_hat, changed], 1))
        x8 = self.out8(x8 + self.up8(self.body16(x16)))
        x4 = self.out4(x4 + self.up4(x8))
        last = self.leave(F.relu(x4))
        seen = last[:, -1:].sigmoid() * flags[:, 2, None, None, None]
        share = F.interpolate(seen, scale_factor=_CELL, mode="bilinear", align_corners=False)
        coarse = torch.where(flags[:, 1] > 0, torch.exp2(8 * flags[:, 0] - 7), 1.0)
        reach = _REACH * coarse[:, None, None, None]
        residual = F.pixel_shuffle(last[:, :-1], _CELL)
        if self.config.fine:
            x2 = self.fine(F.pixel_unshuffle(both, _FINE_CELL)) + self.up2(x4)
            residual = residual + F.pixel_shuffle(self.touch(F.relu(self.out2(x2))), _FINE_CELL)
        return share * reference + (1 - share) * decoded + reach * residual, seen
