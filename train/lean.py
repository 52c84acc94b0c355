"""A codec with fewer bottlenecks in its encoder, whose latent is what it was.

    x ──encoder──────────> y        of a finished run
    x ──fewer bottlenecks─> y'      loss = mean over channels of gain^2 (y' - y)^2

Bottlenecks are residual, so what is left when some are gone is a start, and a network that follows
another's features learns in minutes what took it hours (Romero et al. 2015, "FitNets"). Gains,
detector and rate proxies stay; `train machine --start` then brings all of them together.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from cloud.models.blocks import CspBlock, channels_last
from cloud.models.machine import Encoder
from train.data import CocoFolder
from train.machine import MachineRun, Network, Recipe, batches, load_network
from train.run import Bar, Every, stopping

Depths = tuple[int, int, int]  # bottlenecks at 1/4, 1/8 and 1/16


def lean(
    run: Path, depths: Depths, recipe: Recipe, data: Path, out: Path, device: torch.device
) -> MachineRun:
    """Writes out/last.pt, which `--start` and `--run` take as they take a codec's run.

    depths  none more than `run` has there

    Raises ValueError for other depths.
    """
    torch.manual_seed(recipe.seed)
    random.seed(recipe.seed)
    whole = load_network(run)[0].to(device)
    network, average = (with_fewer(whole, depths).to(device) for _ in range(2))
    encoder = network.machine.encoder
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=recipe.learning_rate)
    out.mkdir(parents=True, exist_ok=True)
    trained = MachineRun(out, recipe, network, average, optimizer, device)
    trained.load()
    with torch.no_grad():
        gain, _ = whole.machine.gains(0, torch.tensor([0.5], device=device))
    weight = gain.square() / gain.square().mean()
    save, recent = Every(recipe.save_every, trained), list[Tensor]()
    with stopping(trained), Bar(trained) as bar:
        for batch in batches(trained, CocoFolder(data, "train")):
            for group in optimizer.param_groups:
                group["lr"] = trained.rate
            x = batch.x.to(device).float().div(255).contiguous(memory_format=torch.channels_last)
            encoder.train()
            encoder.normalise.eval()
            with torch.autocast(device.type, torch.bfloat16):
                with torch.no_grad():
                    wanted = whole.machine.encoder(x)
                y = encoder(x)
            loss = (weight * (y - wanted).float().square()).mean()
            trained.descend(loss)
            bar.stepped()
            recent.append(loss.detach())
            if trained.step % 50 == 0:
                trained.log(latent_loss=float(torch.stack(recent).mean()))
                recent.clear()
            if save.due():
                trained.save()
    trained.save()
    return trained


def with_fewer(network: Network, depths: Depths) -> Network:
    """A copy of the network with so many bottlenecks in its encoder's blocks.

    Raises ValueError for more than there are, or fewer than 0.
    """
    config = network.machine.config
    if any(not 0 <= n <= most for n, most in zip(depths, config.depths, strict=True)):
        raise ValueError(f"depths {depths}: 0 to {config.depths}")
    copy = Network(replace(config, depths=depths), network.detector.config)
    state = {k: v for k, v in network.state_dict().items() if k in copy.state_dict()}
    for name, block in _blocks(copy.machine.encoder):
        merge = f"machine.encoder.{name}.merge.0.weight"
        state[merge] = state[merge][:, : block.merge[0].in_channels]
    copy.load_state_dict(state)
    return channels_last(copy.eval())


def _blocks(encoder: Encoder) -> list[tuple[str, CspBlock]]:
    return [(name, part) for name, part in encoder.named_modules() if isinstance(part, CspBlock)]
