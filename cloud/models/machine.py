"""The machine codec's networks: what turns a picture into the integers of a machine layer.

    x ──g_a──> y ──* gain(q)──round──> integers ──(common/coding/entropy.py)──> bytes
                                          │
    y_hat <──────── * inverse_gain(q) ────┘        y_hat is all that the detector ever sees

x       B 3 H    W       frame, 0..1
y       B M H/16 W/16    latent, unit variance per channel (frozen statistics once trained)
y_hat   B M H/16 W/16    what the cloud reads

Quality q in 0..1 is continuous: gain vectors stand at `levels` anchors and are interpolated
exponentially between them (Cui et al. 2021, "Asymmetric gained deep image compression", eq. 5).
In training the rate is that of a Laplace distribution whose scale a spatially causal convolution
predicts from the magnitudes already coded: a stand-in for the counted context tables that carry
the real bits (common/coding/entropy.py).

An inter layer is coded against the integers of the layer before it. There the encoder *holds*: an
integer stays what it was while y * gain is within `hold` of it, so that noise does not make it
flip; from 1/2 (plain rounding) to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cloud.models.blocks import ConvNorm, CspBlock

STRIDE = 16
_MIN_SCALE = 0.02  # a Laplace scale below this is surely zero: 1e-11 bits an integer


@dataclass(frozen=True)
class MachineConfig:
    """Widths at 1/2, 1/4, 1/8, 1/16; depths of the blocks at 1/4, 1/8, 1/16; latent channels M."""

    widths: tuple[int, int, int, int] = (24, 48, 96, 192)
    depths: tuple[int, int, int] = (1, 2, 3)
    latent: int = 64
    levels: int = 6
    profiles: int = 1


class Encoder(nn.Module):
    """g_a: x -> y. The only network that runs on the edge; about 7 kMAC per pixel."""

    def __init__(self, config: MachineConfig) -> None:
        super().__init__()
        w, d = config.widths, config.depths
        self.trunk = nn.Sequential(
            ConvNorm(3, w[0], 5, 2),
            ConvNorm(w[0], w[1], 3, 2),
            CspBlock(w[1], w[1], d[0]),
            ConvNorm(w[1], w[2], 3, 2),
            CspBlock(w[2], w[2], d[1]),
            ConvNorm(w[2], w[3], 3, 2),
            CspBlock(w[3], w[3], d[2]),
        )
        self.project = nn.Conv2d(w[3], config.latent, 1)
        self.normalise = nn.BatchNorm2d(config.latent, momentum=0.03, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: B 3 H W in 0..1 -> y: B M H/16 W/16, about unit variance."""
        y: Tensor = self.normalise(self.project(self.trunk(x - 0.5)))
        return y


class Gains(nn.Module):
    """Gain and inverse-gain vectors: quality in 0..1 -> B M 1 1, exponentially interpolated."""

    def __init__(self, config: MachineConfig) -> None:
        super().__init__()
        start = torch.linspace(-1.0, 0.5, config.levels)[None, :, None]
        shape = (config.profiles, config.levels, config.latent)
        self.log_gain = nn.Parameter(start.expand(shape).clone())
        self.log_inverse = nn.Parameter(-start.expand(shape).clone())

    def forward(self, profile: int, quality: Tensor) -> tuple[Tensor, Tensor]:
        """quality: B in 0..1 -> (gain, inverse_gain), each B M 1 1."""
        at = quality.clamp(0, 1) * (self.log_gain.shape[1] - 1)
        low = at.floor().long().clamp(max=self.log_gain.shape[1] - 2)
        part = (at - low)[:, None]

        def between(table: Tensor) -> Tensor:
            return torch.lerp(table[low], table[low + 1], part).exp()[:, :, None, None]

        return between(self.log_gain[profile]), between(self.log_inverse[profile])


class RateProxy(nn.Module):
    """Bits of integers under a causal Laplace model; trains beside the codec and never ships."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.context = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        nn.init.zeros_(self.context.weight)
        self.bias = nn.Parameter(torch.full((channels,), -1.0))
        self.past = nn.Parameter(torch.zeros(channels))
        mask = torch.tensor([[1.0, 1, 1], [1, 0, 0], [0, 0, 0]])
        self.mask: Tensor
        self.register_buffer("mask", mask, persistent=False)

    def scales(self, integers: Tensor, last: Tensor | None = None) -> Tensor:
        """Laplace scales of every integer, from its causal neighbours alone.

        last  what stood at the same places before; `integers` are then differences from it
        """
        weight = self.context.weight * self.mask
        raw = F.conv2d(integers.abs().log1p(), weight, self.bias, padding=1)
        if last is not None:
            raw = raw + self.past[:, None, None] * last.abs().log1p()
        return F.softplus(raw) + _MIN_SCALE

    @staticmethod
    def bits(values: Tensor, scales: Tensor) -> Tensor:
        """-log2 of the Laplace mass in [v - 1/2, v + 1/2]; exact in the tails."""
        v = values.abs()
        left, right = torch.exp((v - 0.5).clamp(max=0) / scales), torch.exp(-(v + 0.5) / scales)
        inside = (1 - 0.5 * (left + right)).clamp(min=1e-9).log()
        outside = -(v - 0.5) / scales + torch.log(-0.5 * torch.expm1(-1 / scales))
        log_mass = torch.where(v < 0.5, inside, outside)
        return -log_mass * 1.442695


class MachineModel(nn.Module):
    """Encoder, gains and rate proxy together: what `train machine` trains beside the detector."""

    def __init__(self, config: MachineConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.gains = Gains(config)
        self.rate = RateProxy(config.latent)
        self.inter_rate = RateProxy(config.latent)

    def quantise_inter(
        self, y: Tensor, last: Tensor, hold: float, profile: int, quality: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `quantise`, after a layer whose integers were `last`, held within `hold` of them."""
        gain, inverse = self.gains(profile, quality)
        scaled = y.float() * gain
        drift = (scaled - last).detach()
        integers = torch.where(drift.abs() < hold, last, scaled.detach().round())
        y_hat = (scaled + (integers - scaled).detach()) * inverse
        change = integers - last
        scales = self.inter_rate.scales(change, last)
        hard = self.inter_rate.bits(change, scales).flatten(1).sum(1)
        if not self.training:
            return y_hat, hard, integers
        slack = hold - 0.5  # what the held zone is wider than a rounding one
        moved = scaled - last
        beyond = moved - moved.detach().clamp(-slack, slack)
        noisy = beyond + torch.rand_like(scaled) - 0.5
        soft = self.inter_rate.bits(noisy, scales.detach()).flatten(1).sum(1)
        return y_hat, hard + soft - soft.detach(), integers

    def quantise(self, y: Tensor, profile: int, quality: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """y -> (y_hat, bits, integers); gradients pass the rounding straight through.

        bits   B   in training: hard bits train the proxy, noisy bits train the encoder; the value
                   returned is the hard one, so lambda is in real bits.
        """
        gain, inverse = self.gains(profile, quality)
        scaled = y.float() * gain
        integers = scaled.detach().round()
        y_hat = (scaled + (integers - scaled).detach()) * inverse
        scales = self.rate.scales(integers)
        hard = self.rate.bits(integers, scales).flatten(1).sum(1)
        if not self.training:
            return y_hat, hard, integers
        noisy = scaled + torch.rand_like(scaled) - 0.5
        soft = self.rate.bits(noisy, scales.detach()).flatten(1).sum(1)
        return y_hat, hard + soft - soft.detach(), integers
