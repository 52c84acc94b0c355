"""The diffusion prior: from the preview to a picture with the detail that such pictures have.

A rectified flow (Liu et al. 2022, "Flow straight and fast"; Delbracio and Milanfar 2023, "Inversion
by direct iteration", for the start): not from noise to pictures, but from the preview with a little
noise to the photograph.

    x_1 = preview + strength * sigma * noise,   x_0 = photograph,   x_t = (1 - t) x_0 + t x_1
    dx/dt = v = (x_t - guess(x_t, t)) / t,      from t = 1 to t = 0 in 1..8 Euler steps

sigma is about what quantisation hid (`spread`), strength is 1 - fidelity. The guess of x_0 is the
preview, what x_t already tells of the rest, and what the network adds to it (Karras et al. 2022,
"Elucidating the design space", table 1, with sigma for the spread of the data):

    guess = preview + keep(t) (x_t - preview) + sigma * out(t) * network
    keep = (1 - t) / n,   out = t / sqrt(n),   n = (1 - t)^2 + t^2

so that the noise of the start leaves again whatever the network does. All in pixel space,
unshuffled by 8: B 192 H/8 W/8. The network is diffusers' UNet2DModel without attention, the steps
are those of its FlowMatchEulerDiscreteScheduler, the folder is one that diffusers reads:
prior/unet, prior/scheduler.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cloud.models.diffusion import diffusers

OnStep = Callable[[int, Tensor], None]
"""Gets (steps done, picture so far); what it raises passes through."""
Runner = Callable[..., Tensor]
"""(network, *pictures) -> what the network makes of them."""

CELL = 8
SIGMA = 0.08  # of 1: the most that `spread` gives
_SPREAD = 0.3  # of the quantiser's step: the error of a uniform quantiser is 0.29
_SAID = 4  # planes beside the pictures: fusion's three flags, and the strength
_PIXELS = 3 * CELL * CELL


def spread(flags: Tensor) -> Tensor:
    """Fusion's flags B 3 -> sigma B 1 1 1, of 1: what an auxiliary layer's quantiser hid."""
    step = torch.exp2(8 * flags[:, 0]) / 255
    sigma = torch.where(flags[:, 1] > 0, (_SPREAD * step).clamp(max=SIGMA), SIGMA)
    return sigma[:, None, None, None]


class Prior(nn.Module):
    """The guess of the head of this file. network: B 192 + 192 + 4 h w, t B -> B 192 h w."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    @classmethod
    def fresh(cls, widths: tuple[int, int, int] = (128, 160, 224)) -> Prior:
        """With random weights, but for a last layer of zeros: it begins by adding nothing."""
        network = diffusers().UNet2DModel(
            in_channels=2 * _PIXELS + _SAID,
            out_channels=_PIXELS,
            block_out_channels=widths,
            layers_per_block=1,
            down_block_types=("DownBlock2D",) * 3,
            up_block_types=("UpBlock2D",) * 3,
            add_attention=False,
        )
        nn.init.zeros_(network.conv_out.weight)
        nn.init.zeros_(network.conv_out.bias)
        return cls(network)

    @classmethod
    def load(cls, folder: Path) -> Prior:
        """From a diffusers folder. Raises OSError for one that is none."""
        network = diffusers().UNet2DModel.from_pretrained(
            folder / "unet", local_files_only=True, low_cpu_mem_usage=False
        )
        return cls(network.float())

    def save(self, folder: Path) -> None:
        self.network.save_pretrained(folder / "unet")
        diffusers().FlowMatchEulerDiscreteScheduler().save_pretrained(folder / "scheduler")

    def forward(
        self, x: Tensor, preview: Tensor, flags: Tensor, strength: Tensor, t: Tensor
    ) -> Tensor:
        """x, preview B 3 H W, H and W multiples of 32; flags B 3; strength, t B in 0..1, t above 0.

        Returns the guess of x_0, B 3 H W, not clipped.
        """
        at = t[:, None, None, None]
        n = (1 - at).square() + at.square()
        sigma, beyond = spread(flags), x - preview
        planes = torch.cat([beyond / (sigma * n.sqrt()), preview - 0.5], 1)
        said = torch.cat([flags, strength[:, None]], 1)[:, :, None, None]
        size = x.shape[2] // CELL, x.shape[3] // CELL
        planes = torch.cat([F.pixel_unshuffle(planes, CELL), said.expand(-1, -1, *size)], 1)
        added = F.pixel_shuffle(self.network(planes, 1000 * t).sample.float(), CELL)
        guess: Tensor = preview + (1 - at) / n * beyond + sigma * at / n.sqrt() * added
        return guess

    @torch.inference_mode()
    def refine(
        self,
        preview: Tensor,
        flags: Tensor,
        *,
        steps: int,
        fidelity: float,
        seed: int,
        on_step: OnStep,
        run: Runner,
    ) -> Tensor:
        """preview B 3 H W in 0..1, H and W multiples of 32 -> the refined picture.

        run  calls a network on pictures, perhaps tile by tile
        """
        strength = torch.full_like(flags[:, 0], 1 - fidelity)
        grain = noise(preview.shape, seed).to(preview.device)
        x = preview + (1 - fidelity) * spread(flags) * grain
        scheduler = diffusers().FlowMatchEulerDiscreteScheduler()
        scheduler.set_timesteps(sigmas=[1 - i / steps for i in range(steps)], device=preview.device)
        for done, (t, at) in enumerate(
            zip(scheduler.timesteps, scheduler.sigmas[:-1], strict=True), start=1
        ):
            now = at.expand(len(x))
            guess = run(
                lambda *parts, now=now: self(*parts, flags, strength, now).float(), x, preview
            )
            x = scheduler.step((x - guess) / at, t, x, return_dict=False)[0]
            on_step(done, x)
        return x


def noise(shape: torch.Size, seed: int) -> Tensor:
    """The same on every device."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
