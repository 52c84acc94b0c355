"""Training of fusion: machine latent, auxiliary picture and reference -> the preview.

    loss = log(squared error) / 2 + 1 - likeness of structure   of each crop
           + how differently the camera's encoder sees them     of those without an auxiliary layer

The logarithm makes every rate count alike: a percent less error is worth as much at 40 dB as at 20.
Each crop has its own choice of layers, so that one network serves every case that the cloud meets.
The machine codec stands still, and is the one that the cloud will have below.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from cloud.models.blocks import channels_last
from cloud.models.fusion import Fusion, FusionConfig
from cloud.models.machine import STRIDE, MachineModel
from common.coding.blocks import steps
from common.coding.coefficients import CoefficientModel
from train.crops import Crops, CropStream, Pixels, marked, pictures
from train.machine import load_network
from train.run import Bar, Every, Run, Schedule, Trainee, fed, qualities, stopping
from train.seen import apart
from train.sequences import from_clip

TABLES = "auxiliary.npz"
GREY = 0.5
PAIR_FPS = 1.0  # frames of a clip that pairs are made of


@dataclass
class Recipe(Schedule):
    """One run. Shares are of the crops."""

    batch: int = 8
    size: int = 256
    learning_rate: float = 1e-3
    memory: int = 300
    auxiliary: float = 0.5  # have an auxiliary layer
    reference: float = 0.3  # of those with an auxiliary layer
    alone: float = 0.2  # of those without: have no reference either; y_hat says little of light
    blind: float = 0.05  # have no machine latent: a recognise layer is below
    similarity: float = 1.0  # weight of the likeness of structure
    features: float = 0.5  # weight of what the encoder sees


class Restorer(Trainee):
    """Fusion as something to train."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.fusion = Fusion(config)

    @property
    def configs(self) -> dict[str, Any]:
        return {"fusion": asdict(self.fusion.config)}


FusionRun = Run[Recipe, Restorer]


@dataclass
class Inputs:
    """What fusion takes, and the crop that it is to give back, B 3 S S in 0..1."""

    decoded: Tensor
    reference: Tensor
    y_hat: Tensor
    y_ref: Tensor
    flags: Tensor
    x: Tensor


def train(
    recipe: Recipe,
    folders: Sequence[Path],
    clips: Sequence[Path],
    machine: Path,
    auxiliary: Path,
    folder: Path,
    device: torch.device,
    start: Path | None = None,
    data: Path | None = None,
) -> FusionRun:
    """Runs `recipe` to its end (or on from its checkpoint).

    machine, auxiliary  folders of the runs whose codecs are below
    start               a checkpoint, or fusion.safetensors, whose weights a new run begins with
    data                a COCO folder that says what comes and goes in those of the pictures that
                        are in its train/
    """
    torch.manual_seed(recipe.seed)
    random.seed(recipe.seed)
    folder.mkdir(parents=True, exist_ok=True)
    base = load_network(machine)[0].machine.requires_grad_(False).to(device)
    run = _prepare(recipe, folder, base.config.latent, start, device)
    stream = loader(recipe, folders, clips, auxiliary, recipe.seed + run.step, data)
    save = Every(recipe.save_every, run)
    recent: list[Tensor] = []
    with stopping(run), Bar(run) as bar:
        while run.progress < 1 and not run.stopped:
            recent.append(_step(run, base, next(stream)))
            bar.stepped()
            if run.step % 50 == 0:
                run.log(**dict(zip(NAMES, torch.stack(recent).nanmean(0).tolist(), strict=True)))
                recent.clear()
            if save.due():
                run.save()
    run.save()
    return run


def _prepare(
    recipe: Recipe, folder: Path, latent: int, start: Path | None, device: torch.device
) -> FusionRun:
    config = FusionConfig(latent=latent, fine=32)
    network, average = (channels_last(Restorer(config).to(device)) for _ in range(2))
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    run = FusionRun(folder, recipe, network, average, optimizer, device)
    if not run.load() and start is not None:
        if start.suffix == ".safetensors":
            network.fusion.load_state_dict(load_file(start), strict=False)  # it has gains too
        else:
            state = torch.load(start, map_location=device, weights_only=True)
            network.load_state_dict(state["average"], strict=False)  # one without the fine level
    if run.step == 0:
        average.load_state_dict(network.state_dict())
    average.eval()
    return run


def loader(
    recipe: Recipe,
    folders: Sequence[Path],
    clips: Sequence[Path],
    auxiliary: Path,
    seed: int,
    data: Path | None = None,
) -> Iterator[Crops]:
    """Batches without an end. Raises FileNotFoundError without the auxiliary codec's tables."""
    pairs = [pair for clip in clips for pair in moments(clip)]
    files = pictures(folders)
    with np.load(auxiliary / TABLES, allow_pickle=False) as arrays:
        model = CoefficientModel.from_arrays(dict(arrays))
    things = {} if data is None else marked(data)
    stream = CropStream(
        files, pairs, size=recipe.size, batch=recipe.batch, seed=seed, model=model, things=things
    )
    return fed(stream)


def moments(clip: Path) -> list[tuple[Pixels, Pixels]]:
    """Every two frames, a second apart or more, of a clip's first half."""
    frames = list(from_clip(clip, PAIR_FPS, 0.5))
    return [(now, before) for now in frames for before in frames if now is not before]


@torch.no_grad()
def inputs(recipe: Recipe, base: MachineModel, crops: Crops, device: torch.device) -> Inputs:
    """Crops as the cloud would have them, each with layers of its own."""
    x, decoded, before = (
        part.to(device).float() / 255 for part in (crops.now, crops.decoded, crops.before)
    )
    count = len(x)
    has_auxiliary, few, alone, sighted = (
        torch.rand(count, device=device) < share
        for share in (recipe.auxiliary, recipe.reference, recipe.alone, 1 - recipe.blind)
    )
    has_reference = torch.where(has_auxiliary, few, ~alone)
    quality, scale = qualities(count, device), random.choice((1.0, 1.0, 0.75, 0.5))
    y_hat = latent(base, x, quality, scale) * sighted[:, None, None, None]
    y_ref = torch.zeros_like(y_hat)
    if (at := (has_reference & sighted).nonzero().flatten()).numel():
        y_ref[at] = latent(base, before[at], quality[at], scale)
    luma = torch.tensor([float(steps(int(q))[0]) for q in crops.quality], device=device)
    return Inputs(
        where(has_auxiliary, decoded),
        where(has_reference, before),
        y_hat,
        y_ref,
        torch.stack([luma.log2() / 8 * has_auxiliary, has_auxiliary, has_reference], 1),
        x,
    )


def latent(base: MachineModel, x: Tensor, quality: Tensor, scale: float) -> Tensor:
    """y_hat of pictures x that the camera saw at `scale` of their size, on x's own grid."""
    size = (x.shape[2] // STRIDE, x.shape[3] // STRIDE)
    if scale != 1.0:
        small = [STRIDE * round(scale * side) for side in size]
        x = F.interpolate(x, small, mode="bilinear", antialias=True, align_corners=False)
    y_hat = base.quantise(base.encoder(x), 0, quality)[0]
    if y_hat.shape[2:] == size:
        return y_hat
    return F.interpolate(y_hat, size, mode="bilinear", align_corners=False)


def where(has: Tensor, pictures: Tensor) -> Tensor:
    """The pictures, grey where there is none."""
    out: Tensor = torch.where(has[:, None, None, None], pictures, GREY)
    return out.contiguous(memory_format=torch.channels_last)


NAMES = ("loss", "psnr_base", "psnr_auxiliary", "psnr_reference", "gain_auxiliary", "seen")


def _step(run: FusionRun, base: MachineModel, crops: Crops) -> Tensor:
    """One optimiser step; returns NAMES: PSNR in dB by what the preview was made of, detached."""
    recipe = run.recipe
    run.network.train()
    for group in run.optimizer.param_groups:
        group["lr"] = run.rate
    with torch.autocast(run.device.type, torch.bfloat16):
        made = inputs(recipe, base, crops, run.device)
        preview, _ = run.network.fusion(
            made.decoded, made.reference, made.y_hat, made.y_ref, made.flags
        )
    preview = preview.float()
    error = (preview - made.x).square().flatten(1).mean(1)
    alike = likeness(_luma(preview), _luma(made.x))
    loss = (0.5 * (error + 1e-5).log() + recipe.similarity * (1 - alike)).mean()
    auxiliary, reference = made.flags[:, 1] > 0, made.flags[:, 2] > 0
    seen = error.new_full((), torch.nan)
    if recipe.features and (bare := (~auxiliary).nonzero().flatten()).numel():
        with torch.autocast(run.device.type, torch.bfloat16):
            seen = apart(base.encoder, preview[bare], made.x[bare])
        loss = loss + recipe.features * seen * (len(bare) / len(error))
    run.descend(loss)
    psnr = -10 * error.detach().clamp(min=1e-10).log10()
    before = -10 * (made.decoded - made.x).square().flatten(1).mean(1).clamp(min=1e-10).log10()
    return torch.stack(
        [
            loss.detach(),
            psnr[~auxiliary & ~reference].mean(),
            psnr[auxiliary].mean(),
            psnr[~auxiliary & reference].mean(),
            (psnr - before)[auxiliary].mean(),
            seen.detach(),
        ]
    )


def likeness(x: Tensor, y: Tensor) -> Tensor:
    """SSIM (Wang et al. 2004) of B 1 H W in 0..1, mean over four sizes: B, at most 1.

    In windows of 8 x 8, every fourth: a fourth of the time of MS-SSIM with its Gaussian windows.
    """
    scales = []
    for _ in range(4):
        mean_x, mean_y, xx, yy, xy = (
            F.avg_pool2d(part, 8, 4) for part in (x, y, x * x, y * y, x * y)
        )
        both = mean_x * mean_y
        squares = mean_x * mean_x + mean_y * mean_y
        light = (2 * both + 1e-4) / (squares + 1e-4)
        structure = (2 * (xy - both) + 9e-4) / (xx + yy - squares + 9e-4)
        scales.append((light * structure).flatten(1).mean(1))
        x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    return torch.stack(scales).mean(0)


def _luma(x: Tensor) -> Tensor:
    """B 3 H W -> B 1 H W: where structure is."""
    r, g, b = x.split(1, dim=1)
    luma: Tensor = 0.299 * r + 0.587 * g + 0.114 * b
    return luma


def load_fusion(folder: Path) -> tuple[Fusion, dict[str, Any]]:
    """A run's average network, in float32 on the CPU, and the rest of its checkpoint."""
    state = torch.load(folder / "last.pt", map_location="cpu", weights_only=True)
    restorer = Restorer(FusionConfig(**state["fusion"]))
    restorer.load_state_dict(state["average"])
    return channels_last(restorer.fusion.eval()), state
