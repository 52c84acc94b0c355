"""Another prior: any diffusers folder in the shape of Stable Diffusion, or its name on the hub.

    preview ──vae──> z ──noise of (1 - fidelity)──> z_t ──unet, n steps──> z ──vae──> refined

Image to image (Meng et al. 2022, "SDEdit"), with no text: the condition is the preview alone, and
the network's text embedding is zeros. It was not trained on previews; `loss` is for who wants to.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cloud.models.diffusion import diffusers
from cloud.models.prior import OnStep, Runner, noise

_LEAST_STRENGTH = 0.05  # of all the noise there is: below it there is nothing to take away
_WORDS = 77


class LatentPrior(nn.Module):
    """unet: UNet2DConditionModel; vae: AutoencoderKL; scheduler: any that adds and takes noise."""

    def __init__(self, unet: Any, vae: Any, scheduler: Any) -> None:
        super().__init__()
        self.unet, self.vae, self.scheduler = unet, vae, scheduler

    @classmethod
    def load(cls, source: str) -> LatentPrior:
        """From a folder or the hub. Raises OSError, ValueError for what is none."""
        library = diffusers()
        quiet = {"low_cpu_mem_usage": False}
        unet = library.UNet2DConditionModel.from_pretrained(source, subfolder="unet", **quiet)
        vae = library.AutoencoderKL.from_pretrained(source, subfolder="vae", **quiet)
        scheduler = library.DDIMScheduler.from_pretrained(source, subfolder="scheduler")
        return cls(unet.float(), vae.float(), scheduler)

    def encode(self, x: Tensor) -> Tensor:
        """x B 3 H W in 0..1 -> z, scaled as the unet likes it."""
        z: Tensor = self.vae.encode(2 * x - 1).latent_dist.mode() * self.vae.config.scaling_factor
        return z

    def decode(self, z: Tensor) -> Tensor:
        x: Tensor = (self.vae.decode(z / self.vae.config.scaling_factor).sample + 1) / 2
        return x.clamp(0, 1)

    def forward(self, z: Tensor, t: Tensor) -> Tensor:
        """What the unet predicts of z_t at timesteps t, B."""
        size = self.unet.config.cross_attention_dim
        silence = torch.zeros(len(z), _WORDS, size, device=z.device, dtype=z.dtype)
        predicted: Tensor = self.unet(z, t, silence).sample
        return predicted

    def loss(self, x: Tensor) -> Tensor:
        """Denoising loss of pictures x (Ho et al. 2020, eq. 14): the autoencoder stands still."""
        with torch.no_grad():
            z = self.encode(x)
        added = torch.randn_like(z)
        steps = self.scheduler.config.num_train_timesteps
        t = torch.randint(0, steps, (len(z),), device=z.device)
        wanted = added
        if self.scheduler.config.prediction_type == "v_prediction":
            wanted = self.scheduler.get_velocity(z, added, t)
        return F.mse_loss(self(self.scheduler.add_noise(z, added, t), t), wanted)

    @torch.inference_mode()
    def refine(
        self,
        preview: Tensor,
        flags: Tensor,  # noqa: ARG002 - what a prior of ours is told besides
        *,
        steps: int,
        fidelity: float,
        seed: int,
        on_step: OnStep,
        run: Runner,  # noqa: ARG002
    ) -> Tensor:
        """As `Prior.refine`, but that the picture is taken as a whole."""
        strength = max(1 - fidelity, _LEAST_STRENGTH)
        first = round(strength * self.scheduler.config.num_train_timesteps) - 1
        at = torch.linspace(max(first, 1), 0, steps + 1).round().long().tolist()
        z = self.encode(preview)
        z = self.scheduler.add_noise(z, noise(z.shape, seed).to(z.device), torch.tensor(at[:1]))
        x = preview
        for done, (t, after) in enumerate(itertools.pairwise(at), start=1):
            z = self._step(z, t, after)
            x = self.decode(z)
            on_step(done, x)
        return x

    def _step(self, z: Tensor, t: int, after: int) -> Tensor:
        """z_t -> z at the timestep `after` (Song et al. 2021, DDIM, eq. 12 with sigma 0)."""
        now, then = (self.scheduler.alphas_cumprod[i].to(z.device) for i in (t, after))
        said = self(z, torch.full((len(z),), t, device=z.device))
        if self.scheduler.config.prediction_type == "v_prediction":
            clean, added = now.sqrt() * z - (1 - now).sqrt() * said, now.sqrt() * said
            added = added + (1 - now).sqrt() * z
        else:
            clean, added = (z - (1 - now).sqrt() * said) / now.sqrt(), said
        out: Tensor = then.sqrt() * clean + (1 - then).sqrt() * added
        return out
