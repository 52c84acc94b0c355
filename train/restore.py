"""A weights folder -> a run to go on from: what ships can be trained on, with other data too.

An encoder ships with its norms folded into its convolutions. Unfolded again, each norm gets the
mean and variance that its convolution has on pictures of the data, and the scale and bias that
undo them: the network computes what it did, and a norm that looks at its batch from now on finds
what it expects there. The rate proxies do not ship; they are fitted anew, with all else standing.
"""

from __future__ import annotations

import io
import itertools
import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from rich.progress import track
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from cloud.models.blocks import ConvNorm, channels_last
from cloud.models.detector import DetectorConfig
from cloud.models.machine import Encoder, MachineConfig
from common.errors import ModelMismatch
from common.manifest import Manifest
from train.data import Augment, Batch, Canvases, CocoFolder, Pixels
from train.evaluate import to_input
from train.machine import MachineRun, Network, Recipe
from train.run import qualities
from train.views import earlier

_PICTURES = 64  # whose statistics the norms get
_FIT_RATE = 0.02  # of learning


def restore(weights: Path, data: Path, folder: Path, steps: int = 200) -> MachineRun:
    """Writes folder/last.pt, which `--start` and `--run` take as they take a codec's run.

    data   COCO folder, whose train pictures the norms and the rate proxies see
    steps  of the rate proxies' fit

    Raises ModelMismatch naming the file of `weights` that is missing or does not fit.
    """
    torch.manual_seed(0)
    random.seed(0)
    network = unfolded(weights)
    train_set = CocoFolder(data, "train")
    some = train_set.samples[:: max(1, len(train_set.samples) // _PICTURES)]
    measure(network.machine.encoder, [sample.pixels for sample in some])
    recipe = Recipe()
    augment = Augment(recipe.size, 0.0, len(train_set.labels))
    batches = Canvases(train_set.samples, augment, recipe.batch, recipe.seed)
    fit(network, track(itertools.islice(batches, steps), "fitting rate proxies", steps), recipe)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate)
    folder.mkdir(parents=True, exist_ok=True)
    run = MachineRun(folder, recipe, network, network, optimizer, torch.device("cpu"))
    run.save()
    return run


def unfolded(weights: Path) -> Network:
    """The codec and its detector, in float32, with norms that do nothing where they were folded.

    Raises ModelMismatch naming the file that is missing or does not fit.
    """
    manifest = Manifest.parse(_read(weights / "manifest.json"))

    def read(name: str) -> bytes:
        data = _read(weights / name)
        manifest.verify(name, data)
        return data

    try:
        trained = {
            name: json.loads(manifest.trained.get(name, "{}")) for name in ("machine", "detector")
        }
        network = Network(
            MachineConfig(**trained["machine"]), DetectorConfig(**trained["detector"])
        )
        tensors = load(read("detector.safetensors"))
        gains, inverse = np.load(io.BytesIO(read("gains.npy"))), tensors.pop("log_inverse")
        network.machine.gains.log_gain.data.copy_(torch.from_numpy(gains[:1]))
        network.machine.gains.log_inverse.data.copy_(inverse[:1])
        network.detector.load_state_dict(
            {k.removeprefix("detector."): v for k, v in tensors.items()}
        )
        encoder = network.machine.encoder
        encoder.load_state_dict(_folded(encoder, read("encoder.onnx")))
    except (DecodeError, KeyError, RuntimeError, SafetensorError, TypeError, ValueError) as error:
        raise ModelMismatch(f"{weights}: not the weights of this network: {error}") from error
    return channels_last(network.eval())


def _folded(encoder: Encoder, file: bytes) -> dict[str, Tensor]:
    """The state of `encoder` that computes what the ONNX file does. Raises KeyError."""
    tensors = {
        tensor.name.removeprefix("encoder."): torch.from_numpy(numpy_helper.to_array(tensor).copy())
        for tensor in onnx.load_from_string(file).graph.initializer
    }
    state = encoder.state_dict()  # of fresh norms: mean 0, variance 1
    for name, norm in _norms(encoder):
        convolution = f"{name.removesuffix('.1')}.0.weight"
        state[convolution] = tensors[convolution]
        state[f"{name}.weight"] = torch.full_like(norm.bias, 1 + norm.eps).sqrt()
        state[f"{name}.bias"] = tensors[f"{convolution}_bias"]
    state |= {name: tensors[name] for name in ("project.weight", "project.bias")}
    variance = "normalise.running_var"
    return state | {variance: state[variance] - encoder.normalise.eps}


def _norms(encoder: Encoder) -> list[tuple[str, nn.BatchNorm2d]]:
    """Those that ship folded into the convolution before them, by name."""
    norms = (f"{name}.1" for name, part in encoder.named_modules() if isinstance(part, ConvNorm))
    return [(name, cast(nn.BatchNorm2d, encoder.get_submodule(name))) for name in norms]


@torch.no_grad()
def measure(encoder: Encoder, pictures: Sequence[Pixels]) -> None:
    """Gives norms that do nothing the statistics of pictures H W 3; what they compute stays."""
    moments: dict[nn.Module, list[Tensor]] = {}

    def look(norm: nn.Module, given: tuple[Tensor]) -> None:
        x = given[0].double()
        seen = torch.stack([x.mean((0, 2, 3)), x.square().mean((0, 2, 3))])
        moments.setdefault(norm, []).append(seen)

    norms = [norm for _, norm in _norms(encoder)]
    hooks = [norm.register_forward_pre_hook(look) for norm in norms]
    for pixels in track(pictures, "measuring norms"):
        encoder(to_input(pixels))
    for hook in hooks:
        hook.remove()
    for norm in norms:
        mean, square = torch.stack(moments[norm]).mean(0).float()
        variance = square - mean.square()
        state = {"running_mean": mean, "running_var": variance, "bias": norm.bias + mean}
        norm.load_state_dict(norm.state_dict() | state | {"weight": (variance + norm.eps).sqrt()})


def fit(network: Network, batches: Iterable[Batch], recipe: Recipe) -> None:
    """Teaches the rate proxies what the codec's integers cost; nothing else moves."""
    machine = network.machine
    network.requires_grad_(False)
    proxies = [*machine.rate.parameters(), *machine.inter_rate.parameters()]
    for parameter in proxies:
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(proxies, lr=_FIT_RATE)
    for batch in batches:
        count = len(batch.x) // 2
        x = batch.x.float().div(255)
        before, now = earlier(x[:count], batch)
        x = torch.cat([now, x[count:]]).contiguous(memory_format=torch.channels_last)
        quality = qualities(len(x), x.device)
        with torch.autocast("cpu", torch.bfloat16):
            _, _, bits = network(x, quality, before, random.uniform(*recipe.hold))
        optimizer.zero_grad(set_to_none=True)
        (bits.mean() / recipe.size**2).backward()
        optimizer.step()
    network.requires_grad_(True)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelMismatch(f"{path}: {error.strerror or error}") from error
