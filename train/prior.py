"""Training of the diffusion prior, on the previews of a finished fusion run.

    start = preview + sigma * noise,   x_t = (1 - t) x + t start
    loss = |v(x_t, t) - (start - x)|^2

t is uniform but for a third of each batch at t = 1: one step has to do for who is in a hurry. The
strength of the noise is drawn from 0..sigma, which is what `fidelity` asks for later.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cloud.models.blocks import channels_last
from cloud.models.fusion import Fusion
from cloud.models.machine import MachineModel
from cloud.models.prior import SIGMA, Prior
from train.crops import Crops
from train.fusion import Inputs, inputs, load_fusion, loader
from train.fusion import Recipe as Crop
from train.machine import load_network
from train.run import Bar, Every, Run, Schedule, Trainee, stopping

_LEAST_ERROR = 1e-4  # of the start, in squares of 1: previews at 40 dB do not count for more


@dataclass
class Recipe(Schedule):
    """One run."""

    batch: int = 8
    size: int = 256
    learning_rate: float = 5e-4
    memory: int = 200
    at_once: float = 0.33  # share of the crops at t = 1


@dataclass(frozen=True)
class PriorConfig:
    """Widths at 1/8, 1/16, 1/32."""

    widths: tuple[int, int, int] = (96, 160, 224)


class Refiner(Trainee):
    """The prior as something to train."""

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config
        self.prior = Prior.fresh(config.widths)

    @property
    def configs(self) -> dict[str, Any]:
        return {"prior": asdict(self.config)}


PriorRun = Run[Recipe, Refiner]


def train(
    recipe: Recipe,
    folders: Sequence[Path],
    clips: Sequence[Path],
    machine: Path,
    auxiliary: Path,
    fusion: Path,
    folder: Path,
    device: torch.device,
) -> PriorRun:
    """Runs `recipe` to its end (or on from its checkpoint) on the previews of the run `fusion`."""
    torch.manual_seed(recipe.seed)
    random.seed(recipe.seed)
    folder.mkdir(parents=True, exist_ok=True)
    base = load_network(machine)[0].machine.to(device)
    fused = load_fusion(fusion)[0].to(device)
    run = _prepare(recipe, folder, device)
    crop = Crop(batch=recipe.batch, size=recipe.size)
    stream = loader(crop, folders, clips, auxiliary, recipe.seed + run.step)
    save = Every(recipe.save_every, run)
    recent: list[Tensor] = []
    with stopping(run), Bar(run) as bar:
        while run.progress < 1 and not run.stopped:
            recent.append(_step(run, crop, base, fused, next(stream)))
            bar.stepped()
            if run.step % 50 == 0:
                loss, once, before = torch.stack(recent).nanmean(0).tolist()
                run.log(loss=loss, psnr_one_step=once, psnr_preview=before)
                recent.clear()
            if save.due():
                run.save()
    run.save()
    return run


def _prepare(recipe: Recipe, folder: Path, device: torch.device) -> PriorRun:
    network, average = (channels_last(Refiner(PriorConfig()).to(device)) for _ in range(2))
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    run = PriorRun(folder, recipe, network, average, optimizer, device)
    run.load()
    if run.step == 0:
        average.load_state_dict(network.state_dict())
    average.eval()
    return run


def _step(run: PriorRun, crop: Crop, base: MachineModel, fused: Fusion, crops: Crops) -> Tensor:
    """One optimiser step; returns (loss, PSNR after one step from t = 1, PSNR of the previews)."""
    run.network.train()
    for group in run.optimizer.param_groups:
        group["lr"] = run.rate
    with torch.autocast(run.device.type, torch.bfloat16):
        made = inputs(crop, base, crops, run.device)
        preview = _preview(fused, made)
        count = len(made.x)
        at_once = torch.rand(count, device=run.device) < run.recipe.at_once
        t = torch.rand(count, device=run.device).masked_fill(at_once, 1.0)
        strength = SIGMA * torch.rand(count, device=run.device)[:, None, None, None]
        start = preview + strength * torch.randn_like(preview)
        part = t[:, None, None, None]
        v = run.network.prior((1 - part) * made.x + part * start, preview, made.flags, t).float()
    wanted = start - made.x
    error = (v - wanted).square().flatten(1).mean(1)
    weight = 1 / (wanted.square().flatten(1).mean(1) + _LEAST_ERROR)
    loss = (error * weight).mean()
    run.descend(loss)
    once, before = (-10 * each.log10() for each in (error.detach(), _error(preview, made.x)))
    nan = torch.full_like(once, torch.nan)
    picked = torch.where(at_once, once, nan).nanmean(), torch.where(at_once, before, nan).nanmean()
    return torch.stack([loss.detach(), *picked])


@torch.no_grad()
def _preview(fused: Fusion, made: Inputs) -> Tensor:
    preview: Tensor = fused(made.decoded, made.reference, made.y_hat, made.y_ref, made.flags)[0]
    return preview.float().clamp(0, 1)


def _error(x: Tensor, y: Tensor) -> Tensor:
    mean: Tensor = (x - y).square().flatten(1).mean(1)
    return mean


def load_prior(folder: Path) -> tuple[Prior, dict[str, Any]]:
    """A run's average network, in float32 on the CPU, and the rest of its checkpoint."""
    state = torch.load(folder / "last.pt", map_location="cpu", weights_only=True)
    refiner = Refiner(PriorConfig(**state["prior"]))
    refiner.load_state_dict(state["average"])
    return channels_last(refiner.prior.eval()), state
