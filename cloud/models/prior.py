"""The diffusion prior: from the preview to a picture with the detail that such pictures have.

A rectified flow (Liu et al. 2022, "Flow straight and fast"; Delbracio and Milanfar 2023, "Inversion
by direct iteration", for the start): not from noise to pictures, but from the preview with a little
noise to the photograph.

    x_1 = preview + (1 - fidelity) * sigma * noise,   x_0 = photograph,   x_t = (1 - t) x_0 + t x_1
    dx/dt = v(x_t, t, preview, flags),   from t = 1 to t = 0 in 1..8 Euler steps

All in pixel space, unshuffled by 8: B 192 H/8 W/8. The network is diffusers' UNet2DModel without
attention, the steps are those of its FlowMatchEulerDiscreteScheduler, the folder is one that
diffusers reads: prior/unet, prior/scheduler.
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
FLAGS = 3
SIGMA = 0.08  # of the start's noise, of 1
_PIXELS = 3 * CELL * CELL


class Prior(nn.Module):
    """v of the head of this file. network: B 192 + 192 + 3 h w, t B -> B 192 h w."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    @classmethod
    def fresh(cls, widths: tuple[int, int, int] = (96, 160, 224)) -> Prior:
        """With random weights, but for a last layer of zeros: it begins by changing nothing."""
        network = diffusers().UNet2DModel(
            in_channels=2 * _PIXELS + FLAGS,
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

    def forward(self, x: Tensor, preview: Tensor, flags: Tensor, t: Tensor) -> Tensor:
        """x, preview B 3 H W, H and W multiples of 32; flags B 3; t B in 0..1 -> v B 3 H W."""
        planes = F.pixel_unshuffle(torch.cat([x, preview], 1) - 0.5, CELL)
        said = flags[:, :, None, None].expand(-1, -1, *planes.shape[2:])
        v: Tensor = self.network(torch.cat([planes, said], 1), 1000 * t).sample
        return F.pixel_shuffle(v, CELL)

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
        x = preview + (1 - fidelity) * SIGMA * noise(preview.shape, seed).to(preview.device)
        scheduler = diffusers().FlowMatchEulerDiscreteScheduler()
        scheduler.set_timesteps(sigmas=[1 - i / steps for i in range(steps)], device=preview.device)
        for done, (t, sigma) in enumerate(
            zip(scheduler.timesteps, scheduler.sigmas[:-1], strict=True), start=1
        ):
            at = sigma.expand(len(x))
            v = run(lambda *parts, at=at: self(*parts, flags, at).float(), x, preview)
            x = scheduler.step(v, t, x, return_dict=False)[0]
            on_step(done, x)
        return x


def noise(shape: torch.Size, seed: int) -> Tensor:
    """The same on every device."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
