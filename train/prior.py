"""Training of the diffusion prior, on the previews of a finished fusion run.

    start = preview + strength * sigma * noise,   x_t = (1 - t) x + t start

    first   |guess(x_t, t) - x|^2                           the flow; in one step, a regression
    then    + the trunk's features of guess and of x        what the detector sees stays as it was
            + a critic of patches (hinge; Isola et al. 2017, Lim and Ye 2017)

The critic is shown the guess beside its preview and learns to tell it from the photograph there.
Its weight is such that its pull on the last layer is a set part of the regression's (Esser et al.
2021, eq. 7). t is uniform but for a third of each batch at t = 1: one step has to do for who is in
a hurry. Previews are made of whole crops and used several times, a part of a crop at a time.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from cloud.models.blocks import channels_last
from cloud.models.fusion import Fusion
from cloud.models.machine import MachineModel
from cloud.models.prior import Prior, spread
from train.crops import Crops
from train.fusion import Inputs, inputs, load_fusion, loader
from train.fusion import Recipe as Crop
from train.machine import load_network
from train.run import Bar, Every, Run, Schedule, Trainee, stopping
from train.seen import EDGES, apart

_LEAST_ERROR = 1e-4  # of a preview, in squares of 1: those at 40 dB do not count for more


@dataclass
class Recipe(Schedule):
    """One run."""

    batch: int = 16
    size: int = 128  # of the parts of crops
    crops: int = 8  # new ones at a time
    crop_size: int = 256
    every: int = 4  # steps between two times
    kept: int = 400  # crops
    learning_rate: float = 5e-4
    memory: int = 200
    at_once: float = 0.33  # share of the parts at t = 1
    finish: float = 0.4  # share of the run after which features and critic count
    features: float = 0.5
    critic: float = 0.4  # pull of the critic over that of the regression


@dataclass(frozen=True)
class PriorConfig:
    """Widths at 1/8, 1/16, 1/32."""

    widths: tuple[int, int, int] = (128, 160, 224)


class Critic(nn.Sequential):
    """B 6 H W, what goes beyond the preview and the preview -> B 1 H/8 W/8, above 0: real."""

    def __init__(self, width: int = 32) -> None:
        layers: list[nn.Module] = []
        for c_in, c_out in ((6, width), (width, 2 * width), (2 * width, 4 * width)):
            layers += [nn.Conv2d(c_in, c_out, 4, 2, 1), nn.LeakyReLU(0.2)]
        layers += [nn.Conv2d(4 * width, 4 * width, 3, padding=1), nn.LeakyReLU(0.2)]
        super().__init__(*layers, nn.Conv2d(4 * width, 1, 3, padding=1))


class Refiner(Trainee):
    """The prior as something to train, and its critic."""

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config
        self.prior = Prior.fresh(config.widths)
        self.critic = Critic()

    @property
    def configs(self) -> dict[str, Any]:
        return {"prior": asdict(self.config)}


PriorRun = Run[Recipe, Refiner]


@dataclass
class Below:
    """The finished networks, which stand still."""

    base: MachineModel
    fused: Fusion
    crop: Crop


class Kept:
    """The last crops with their previews: x, preview 3 S S, flags 3."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(self, made: Inputs, preview: Tensor) -> None:
        self._rows += zip(made.x, preview, made.flags, strict=True)
        del self._rows[: -self._most]

    def draw(self, count: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """(x, preview B 3 size size; flags B 3): parts of crops drawn at random."""
        parts = []
        for x, preview, flags in random.choices(self._rows, k=count):
            top, left = (random.randint(0, side - size) for side in x.shape[1:])
            at = (slice(None), slice(top, top + size), slice(left, left + size))
            parts.append((x[at], preview[at], flags))
        x, preview, flags = (torch.stack(part) for part in zip(*parts, strict=True))
        layout = torch.channels_last
        return x.contiguous(memory_format=layout), preview.contiguous(memory_format=layout), flags


def train(
    recipe: Recipe,
    folders: Sequence[Path],
    clips: Sequence[Path],
    machine: Path,
    auxiliary: Path,
    fusion: Path,
    folder: Path,
    device: torch.device,
    start: Path | None = None,
    data: Path | None = None,
) -> PriorRun:
    """Runs `recipe` to its end (or on from its checkpoint) on the previews of the run `fusion`.

    start  a checkpoint, or a diffusers folder, whose weights a new run begins with
    data   as of the fusion run
    """
    torch.manual_seed(recipe.seed)
    random.seed(recipe.seed)
    folder.mkdir(parents=True, exist_ok=True)
    below = Below(
        channels_last(load_network(machine)[0].machine.eval().requires_grad_(False).to(device)),
        load_fusion(fusion)[0].to(device),
        Crop(batch=recipe.crops, size=recipe.crop_size),
    )
    run = _prepare(recipe, folder, start, device)
    stream = loader(below.crop, folders, clips, auxiliary, recipe.seed + run.step, data)
    kept = Kept(recipe.kept)
    save = Every(recipe.save_every, run)
    recent: list[Tensor] = []
    with stopping(run), Bar(run) as bar:
        while run.progress < 1 and not run.stopped:
            if run.step % recipe.every == 0 or not recent:
                kept.add(*_previews(below, next(stream), device))
            recent.append(_step(run, below.base, *kept.draw(recipe.batch, recipe.size)))
            bar.stepped()
            if run.step % 50 == 0:
                run.log(**dict(zip(NAMES, torch.stack(recent).nanmean(0).tolist(), strict=True)))
                recent.clear()
            if save.due():
                run.save()
    run.save()
    return run


def _prepare(recipe: Recipe, folder: Path, start: Path | None, device: torch.device) -> PriorRun:
    network, average = (channels_last(Refiner(PriorConfig()).to(device)) for _ in range(2))
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    run = PriorRun(folder, recipe, network, average, optimizer, device)
    if not run.load() and start is not None:
        if start.is_dir():  # the critic does not ship, and begins anew
            network.prior.load_state_dict(Prior.load(start).state_dict())
        else:
            state = torch.load(start, map_location=device, weights_only=True)
            network.load_state_dict(state["average"])
    if run.step == 0:
        average.load_state_dict(network.state_dict())
    average.eval()
    return run


@torch.no_grad()
def _previews(below: Below, crops: Crops, device: torch.device) -> tuple[Inputs, Tensor]:
    with torch.autocast(device.type, torch.bfloat16):
        made = inputs(below.crop, below.base, crops, device)
        preview = below.fused(made.decoded, made.reference, made.y_hat, made.y_ref, made.flags)[0]
    return made, preview.float().clamp(0, 1)


NAMES = ("loss", "psnr_preview", "psnr_one_step", "psnr_guess", "features", "critic")


def _step(run: PriorRun, base: MachineModel, x: Tensor, preview: Tensor, flags: Tensor) -> Tensor:
    """One optimiser step; returns NAMES: PSNR in dB, of the parts at t = 1 and of all, detached."""
    recipe, network = run.recipe, run.network
    network.train()
    for group in run.optimizer.param_groups:
        group["lr"] = run.rate
    count = len(x)
    at_once = torch.rand(count, device=x.device) < recipe.at_once
    t = (0.02 + 0.98 * torch.rand(count, device=x.device)).masked_fill(at_once, 1.0)
    strength, sigma = torch.rand(count, device=x.device), spread(flags)
    start = preview + strength[:, None, None, None] * sigma * torch.randn_like(preview)
    part = t[:, None, None, None]
    with torch.autocast(run.device.type, torch.bfloat16):
        guess = network.prior((1 - part) * x + part * start, preview, flags, strength, t)
    error, before = _error(guess, x), _error(preview, x)
    closeness = (error / (before + _LEAST_ERROR)).mean()
    loss, features, told = closeness, *error.new_zeros(2)
    if run.progress >= recipe.finish:
        with torch.autocast(run.device.type, torch.bfloat16):
            features = apart(base.encoder, guess, x, EDGES)
            real, drawn, praise = _opinions(network.critic, guess, x, preview, sigma)
        loss = closeness + recipe.features * features
        pull = recipe.critic * _pull(network, loss, -praise)
        told = F.relu(1 - real).mean() + F.relu(1 + drawn).mean()
        loss = loss - pull * praise + told
    run.descend(loss)
    psnr, psnr_before = (-10 * each.detach().log10() for each in (error, before))
    return torch.stack(
        [
            closeness.detach(),
            psnr_before[at_once].mean(),
            psnr[at_once].mean(),
            psnr.mean(),
            features.detach(),
            told.detach(),
        ]
    )


def _error(x: Tensor, y: Tensor) -> Tensor:
    mean: Tensor = (x - y).square().flatten(1).mean(1)
    return mean


def _opinions(
    critic: Critic, guess: Tensor, x: Tensor, preview: Tensor, sigma: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(of the photographs, of the guesses, their mean for whom the critic stands still)"""

    def shown(picture: Tensor) -> Tensor:
        return torch.cat([(picture - preview) / sigma, preview - 0.5], 1)

    real, drawn = critic(torch.cat([shown(x), shown(guess.detach())])).float().chunk(2)
    still = {name: each.detach() for name, each in critic.named_parameters()}
    praise: Tensor = functional_call(critic, still, shown(guess)).float().mean()
    return real, drawn, praise


def _pull(network: Refiner, loss: Tensor, other: Tensor) -> Tensor:
    """What `other` is to be multiplied with to pull on the last layer as `loss` does."""
    last = network.prior.network.conv_out.weight
    [ours] = torch.autograd.grad(loss, last, retain_graph=True)
    [theirs] = torch.autograd.grad(other, last, retain_graph=True)
    pull: Tensor = ours.norm() / (theirs.norm() + 1e-6)
    return pull.clamp(max=100.0).detach()


def load_prior(folder: Path) -> tuple[Prior, dict[str, Any]]:
    """A run's average network, in float32 on the CPU, and the rest of its checkpoint."""
    state = torch.load(folder / "last.pt", map_location="cpu", weights_only=True)
    refiner = Refiner(PriorConfig(**state["prior"]))
    refiner.load_state_dict(state["average"])
    return channels_last(refiner.prior.eval()), state
