"""Training of the `recognise` profile: which classes are in view, from tens of bytes.

    y -> summary s -> [* gain(q), round, * inverse gain(q)] -> s_hat -> recogniser -> logits
    loss = cross-entropy + lambda(q) * bits a picture,   lambda(q) = first * ratio^q

The trunk is that of a finished machine run and stands still: its latents are made once
(glances.py), and minutes on a laptop are enough. The profile has a summary, gains and a rate proxy
of its own. A class takes no part in the loss where nobody knows whether it is in view.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cloud.models.machine import Gains, MachineConfig, RateProxy
from cloud.models.recogniser import Recogniser, RecogniserConfig, Summariser
from train.data import CocoFolder
from train.glances import Glance, Glances, batches, collate, glances
from train.machine import load_network
from train.presence import mean_average_precision
from train.run import Bar, Every, Run, Schedule, Trainee, qualities, stopping

EVALUATED = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass
class Recipe(Schedule):
    """One run. Rates in bits a picture; minutes do not count the making of latents."""

    minutes: float = 10.0
    learning_rate: float = 2e-3
    memory: int = 200
    views: int = 4  # latents of each picture, the plain one among them
    batch: int = 48
    most: int = 40  # positions on a side of a latent in a batch
    weight_decay: float = 0.05
    quick: float = 8.0  # how much faster gains and rate proxy learn than the rest
    lambda_first: float = 3e-3
    lambda_ratio: float = 0.01
    rate_ramp: float = 0.25  # share of the run over which lambda grows from almost nothing
    evaluate_every: float = 5.0


@dataclass(frozen=True)
class RecognitionConfig:
    """factor: positions of y on a block's side; levels: anchors of the gains."""

    factor: int = 4
    levels: int = 6


class Recognition(Trainee):
    """Summary, gains, rate proxy and recogniser: all of the profile but the trunk."""

    def __init__(self, config: RecognitionConfig, recogniser: RecogniserConfig) -> None:
        super().__init__()
        m = recogniser.latent
        self.config = config
        self.summariser = Summariser(m, config.factor)
        self.gains = Gains(MachineConfig(latent=m, levels=config.levels))
        self.rate = RateProxy(m)
        self.recogniser = Recogniser(recogniser)

    @property
    def configs(self) -> dict[str, Any]:
        return {
            "recognition": asdict(self.config),
            "recogniser": asdict(self.recogniser.config),
        }

    def forward(self, y: Tensor, inside: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
        """y B M h w, inside B 1 h w, quality B in 0..1 -> logits B C, bits B."""
        s, inside = self.summariser(y, inside)
        with torch.autocast(y.device.type, enabled=False):
            gain, inverse = self.gains(0, quality)
            integers, noisy = self.quantise(s, gain)
            bits = self._bits(integers, noisy, inside)
        logits: Tensor = self.recogniser(integers * inverse, inside)
        return logits, bits

    def quantise(self, s: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
        """The integers, with a gradient that passes the rounding; s * gain with noise instead."""
        scaled = s.float() * gain
        integers = scaled + (scaled.round() - scaled).detach()
        return integers, scaled + torch.rand_like(scaled) - 0.5

    def _bits(self, integers: Tensor, noisy: Tensor, inside: Tensor) -> Tensor:
        """The value is that of the integers and trains the proxy; the noisy ones' gradient trains
        what is before it (cloud/models/machine.py does the same)."""
        integers = integers.detach()
        scales = self.rate.scales(integers)
        hard = (self.rate.bits(integers, scales) * inside).flatten(1).sum(1)
        if not self.training:
            return hard
        soft = (self.rate.bits(noisy, scales.detach()) * inside).flatten(1).sum(1)
        return hard + soft - soft.detach()


RecogniseRun = Run[Recipe, Recognition]


def train(
    recipe: Recipe, data: Path, machine: Path, folder: Path, device: torch.device
) -> RecogniseRun:
    """Runs `recipe` to its end (or on from its checkpoint) on the trunk of the run in `machine`."""
    torch.manual_seed(recipe.seed)
    folder.mkdir(parents=True, exist_ok=True)
    network, _ = load_network(machine)
    encoder = network.machine.encoder.to(device)
    pictures = CocoFolder(data, "train")
    config = RecogniserConfig(network.machine.config.latent, len(pictures.labels))
    run = _prepare(recipe, folder, config, device)
    rng = np.random.default_rng((recipe.seed, run.step))
    kept: list[Glance] = []
    for view in range(recipe.views):
        note = f"latents, view {view + 1} of {recipe.views}"
        kept += glances(encoder, pictures.samples, rng if view else None, note)
    del pictures  # a latent is a tenth of its picture
    held_out = glances(encoder, CocoFolder(data, "val").samples, None, "latents, val")
    save, judge = Every(recipe.save_every, run), Every(recipe.evaluate_every, run)
    recent: list[Tensor] = []
    stream = batches(rng, kept, recipe.batch, recipe.most)
    with stopping(run), Bar(run) as bar:
        while run.progress < 1 and not run.stopped:
            recent.append(_step(run, next(stream).to(device)))
            bar.stepped()
            if run.step % 50 == 0:
                presence_loss, bits = torch.stack(recent).mean(0).tolist()
                run.log(presence_loss=presence_loss, bits=bits)
                recent.clear()
            if save.due():
                run.save()
            if judge.due() or run.progress >= 1:
                evaluate(run, held_out)
                bar.restart()
    run.save()
    return run


def _prepare(
    recipe: Recipe, folder: Path, config: RecogniserConfig, device: torch.device
) -> RecogniseRun:
    network, average = (Recognition(RecognitionConfig(), config).to(device) for _ in range(2))
    quick = [*network.gains.parameters(), *network.rate.parameters()]
    slow = [*network.summariser.parameters(), *network.recogniser.parameters()]
    groups = [
        {"params": [p for p in slow if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in slow if p.ndim <= 1], "weight_decay": 0.0},
        {"params": quick, "weight_decay": 0.0, "pace": recipe.quick},
    ]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98))
    run = RecogniseRun(folder, recipe, network, average, optimizer, device)
    run.load()
    if run.step == 0:
        average.load_state_dict(network.state_dict())
    average.eval()
    return run


def _step(run: RecogniseRun, batch: Glances) -> Tensor:
    """One optimiser step; returns (presence loss, bits a picture), detached."""
    recipe, network = run.recipe, run.network
    network.train()
    for group in run.optimizer.param_groups:
        group["lr"] = run.rate * group.get("pace", 1.0)
    quality = qualities(len(batch.y), run.device)
    with torch.autocast(run.device.type, torch.bfloat16):
        logits, bits = network(batch.y, batch.inside, quality)
    each = F.binary_cross_entropy_with_logits(logits, batch.present, reduction="none")
    loss = (each * batch.known).sum() / batch.known.sum().clamp(min=1)
    ramp = 0.02 ** max(0.0, 1 - run.progress / recipe.rate_ramp)
    weight = ramp * recipe.lambda_first * recipe.lambda_ratio**quality
    run.descend(loss + (weight * bits).mean())
    return torch.stack([loss, bits.mean()]).detach()


def evaluate(run: RecogniseRun, held_out: list[Glance]) -> None:
    """Mean average precision of presence at a few qualities; logs it."""
    for quality in EVALUATED:
        figures = score(run.average, held_out, quality, run.device)
        run.log(**figures)
        print(json.dumps({"minutes": round(run.elapsed / 60, 1)} | figures), flush=True)


def score(
    network: Recognition, held_out: list[Glance], quality: float, device: torch.device
) -> dict[str, float]:
    """{quality, bits_estimate a picture, presence_map} of whole pictures."""
    logits, bits, flags = [], [], []
    for start in range(0, len(held_out), 32):
        batch = collate([glance.whole for glance in held_out[start : start + 32]]).to(device)
        at = torch.full((len(batch.y),), quality, device=device)
        with torch.inference_mode():
            found, spent = network(batch.y, batch.inside, at)
        logits.append(found.cpu())
        bits.append(spent.cpu())
        flags.append(torch.stack([batch.present, batch.known]).bool().cpu())
    present, known = torch.cat(flags, 1).numpy()
    mean, _ = mean_average_precision(present, known, torch.cat(logits).numpy())
    return {
        "quality": quality,
        "bits_estimate": float(torch.cat(bits).mean()),
        "presence_map": mean,
    }


def load_recognition(folder: Path) -> tuple[Recognition, dict[str, Any]]:
    """A run's average network, in float32 on the CPU, and the rest of its checkpoint."""
    state = torch.load(folder / "last.pt", map_location="cpu", weights_only=True)
    network = Recognition(
        RecognitionConfig(**state["recognition"]), RecogniserConfig(**state["recogniser"])
    )
    network.load_state_dict(state["average"])
    return network.eval(), state
