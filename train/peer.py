"""The learned peer: CompressAI's mbt2018-mean (Minnen et al. 2018) trained on the same pictures.

An image codec made for people: loss = lambda * 255^2 * MSE + bits per pixel, a network for each
lambda as in CompressAI's zoo, its sizes too. The first lambda's network takes half of the minutes;
each of the others starts from the one before it and takes an equal part of the rest.

A picture's bytes are those of CompressAI's own range coder and a header of ours:

    2 + 2 bytes    width, height in pixels
    2 bytes        length of the hyper-latent's string, which comes first
"""

from __future__ import annotations

import importlib
import math
import struct
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import IterableDataset

from cloud.models.blocks import channels_last
from common.errors import BadSettings
from train.data import CocoFolder, Pixels
from train.run import Bar, Every, Run, Schedule, Trainee, fed, stopping

LAMBDAS = (0.0067, 0.0018, 0.0005)

_STRIDE = 64  # of the hyper-latent
_HEADER = struct.Struct("<HHH")


def _compressai() -> Any:
    """compressai.models.google, beside a torch without CUDA too.

    CompressAI asks torchvision for the names of its transforms and for nothing else. torchvision's
    wheel is built for CUDA and cannot be imported beside a CPU build of torch: there an empty
    module stands in for it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own dependencies, about each other
        try:
            importlib.import_module("torchvision.transforms")
        except RuntimeError:  # operator torchvision::nms does not exist
            empty, transforms = ModuleType("torchvision"), ModuleType("torchvision.transforms")
            empty.transforms = transforms  # type: ignore[attr-defined]
            sys.modules |= {"torchvision": empty, "torchvision.transforms": transforms}
        return importlib.import_module("compressai.models.google")


class _Transform(nn.Sequential):
    """Layers that may run in bfloat16; the entropy model around them does not."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            for layer in self:
                x = layer(x)
        return x.float()


@dataclass(frozen=True)
class PeerConfig:
    """Channels N and M; the zoo's for its four lower qualities."""

    n: int = 128
    m: int = 192


class Peer(Trainee):
    """CompressAI's MeanScaleHyperprior, its transforms in bfloat16."""

    def __init__(self, config: PeerConfig) -> None:
        super().__init__()
        self.config = config
        self.codec: Any = _compressai().MeanScaleHyperprior(config.n, config.m)
        self.codec.g_a = _Transform(*self.codec.g_a)
        self.codec.g_s = _Transform(*self.codec.g_s)

    @property
    def configs(self) -> dict[str, Any]:
        return {"peer": asdict(self.config)}

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x B 3 H W in 0..1, sides multiples of 64 -> x_hat of that shape, bits B."""
        out = self.codec(x)
        bits = [-p.log2().flatten(1).sum(1) for p in out["likelihoods"].values()]
        return out["x_hat"], torch.stack(bits).sum(0)

    def ready(self) -> Peer:
        """Makes the coder's tables of what was learned; the network is for coding from now on.

        CompressAI's quantiles (where a hyper-latent's distribution is cut) are found here and not
        learned: no loss depends on them.
        """
        self.eval()
        self.codec.update(force=True, update_quantiles=True)
        return self


def compress(peer: Peer, picture: Pixels) -> bytes:
    """A picture H W 3 -> the bytes that a decoder needs."""
    height, width = picture.shape[:2]
    fill = ((0, -height % _STRIDE), (0, -width % _STRIDE), (0, 0))
    padded = torch.from_numpy(np.pad(picture, fill, mode="edge"))
    x = padded.permute(2, 0, 1)[None].float().div(255)
    with torch.inference_mode():
        coded = peer.codec.compress(x.contiguous(memory_format=torch.channels_last))
    (y,), (z,) = coded["strings"]
    return _HEADER.pack(width, height, len(z)) + z + y  # type: ignore[no-any-return]


def decompress(peer: Peer, data: bytes) -> Pixels:
    """What `compress` wrote -> H W 3."""
    width, height, length = _HEADER.unpack_from(data)
    z, y = data[_HEADER.size : _HEADER.size + length], data[_HEADER.size + length :]
    shape = (-(-height // _STRIDE), -(-width // _STRIDE))
    with torch.inference_mode():
        x_hat: Tensor = peer.codec.decompress([[y], [z]], shape)["x_hat"]
    pixels: Pixels = x_hat[0, :, :height, :width].permute(1, 2, 0).mul(255).round().byte().numpy()
    return pixels


def peer_runs(folder: Path) -> dict[float, Path]:
    """The checkpoints of a run by their lambda, the largest first.

    Raises BadSettings where there is none, or one whose training has not come to its end.
    """
    paths = {float(path.parent.name): path for path in folder.glob("*/last.pt")}
    if not paths:
        raise BadSettings(f"{folder}: no peer; make it with `python -m train peer`")
    for path in paths.values():
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["elapsed"] < 60 * state["recipe"]["minutes"]:
            raise BadSettings(f"{path}: not finished; go on with `python -m train peer`")
    return dict(sorted(paths.items(), reverse=True))


def load_peers(folder: Path) -> dict[float, Peer]:
    """The networks of a run by their lambda, ready to code. Raises BadSettings."""
    peers = {}
    for lmbda, path in peer_runs(folder).items():
        state = torch.load(path, map_location="cpu", weights_only=True)
        peer = Peer(PeerConfig(**state["peer"]))
        peer.load_state_dict(state["average"])
        peers[lmbda] = channels_last(peer).ready()
    return peers


class Crops(IterableDataset[Tensor]):
    """An endless stream of B 3 S S uint8: crops of pictures at scales from S high to their own."""

    def __init__(self, pictures: Sequence[Pixels], batch: int, size: int, seed: int) -> None:
        self._pictures, self._batch, self._size, self._seed = pictures, batch, size, seed

    def __iter__(self) -> Iterator[Tensor]:
        rng = np.random.default_rng(self._seed)
        while True:
            chosen = rng.integers(0, len(self._pictures), self._batch)
            crops = np.stack([self._crop(rng, self._pictures[i]) for i in chosen])
            yield torch.from_numpy(crops.transpose(0, 3, 1, 2))

    def _crop(self, rng: np.random.Generator, picture: Pixels) -> Pixels:
        height, width = picture.shape[:2]
        least = self._size / min(height, width)
        scale = max(least, math.exp(rng.uniform(min(0.0, math.log(least)), 0.0)))
        side = self._size / scale  # in pixels of the picture
        x, y = rng.uniform(0, max(0.0, width - side)), rng.uniform(0, max(0.0, height - side))
        crop = Image.fromarray(picture).resize(
            (self._size, self._size),
            Image.Resampling.LANCZOS,
            box=(x, y, min(x + side, width), min(y + side, height)),
        )
        pixels = np.asarray(crop)
        return pixels[:, ::-1] if rng.random() < 0.5 else pixels


@dataclass
class PeerRecipe(Schedule):
    """Of one network. Loss: lmbda * 255^2 * MSE + bits per pixel."""

    learning_rate: float = 1e-3
    lmbda: float = LAMBDAS[0]
    batch: int = 8
    size: int = 192
    config: PeerConfig = field(default_factory=PeerConfig)


PeerRun = Run[PeerRecipe, Peer]


def train_peers(
    recipe: PeerRecipe, lambdas: Sequence[float], data: Path, folder: Path, device: torch.device
) -> bool:
    """A network for each of `lambdas`, in recipe.minutes together; False if stopped before.

    Goes on where `folder` stopped.
    """
    torch.manual_seed(recipe.seed)
    pictures = [sample.pixels for sample in CocoFolder(data, "train").samples]
    before: Peer | None = None
    for lmbda, share in zip(lambdas, shares(len(lambdas)), strict=True):
        one = replace(recipe, lmbda=lmbda, minutes=recipe.minutes * share)
        run = _prepare(one, folder / f"{lmbda:g}", before, device)
        _train(run, pictures)
        if run.stopped:
            return False
        before = run.average
    return True


def shares(count: int) -> list[float]:
    """Of the minutes, for each network: they sum to 1."""
    return [1.0] if count == 1 else [0.5] + [0.5 / (count - 1)] * (count - 1)


def _prepare(
    recipe: PeerRecipe, folder: Path, before: Peer | None, device: torch.device
) -> PeerRun:
    folder.mkdir(parents=True, exist_ok=True)
    network = channels_last(Peer(recipe.config).to(device))
    average = channels_last(Peer(recipe.config).to(device))
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
    run = PeerRun(folder, recipe, network, average, optimizer, device)
    if not run.load():
        if before is not None:
            network.load_state_dict(before.state_dict())
        average.load_state_dict(network.state_dict())
    average.eval()
    return run


def _train(run: PeerRun, pictures: Sequence[Pixels]) -> None:
    recipe, save = run.recipe, Every(run.recipe.save_every, run)
    stream = fed(Crops(pictures, recipe.batch, recipe.size, recipe.seed + run.step), workers=1)
    run.network.train()
    recent: list[Tensor] = []
    with stopping(run), Bar(run) as bar:
        while run.progress < 1 and not run.stopped:
            recent.append(_step(run, next(stream).to(run.device).float().div(255)))
            bar.stepped()
            if run.step % 50 == 0:
                bpp, mse = torch.stack(recent).mean(0).tolist()
                run.log(bpp_estimate=bpp, psnr=-10 * math.log10(mse))
                recent.clear()
            if save.due():
                run.save()
    run.save()


def _step(run: PeerRun, x: Tensor) -> Tensor:
    """One step of the optimiser; returns (bpp, MSE), detached."""
    for group in run.optimizer.param_groups:
        group["lr"] = run.rate
    x_hat, bits = run.network(x.contiguous(memory_format=torch.channels_last))
    bpp = bits.mean() / (x.shape[2] * x.shape[3])
    mse = (x_hat - x).square().mean()
    run.descend(run.recipe.lmbda * 255**2 * mse + bpp)
    return torch.stack([bpp, mse]).detach()
