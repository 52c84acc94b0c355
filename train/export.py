"""A finished run -> a weights folder: everything that edge and cloud load, and nothing else.

encoder.onnx          x uint8 1 H W 3 -> y float32 1 M H/16 W/16        edge
gains.npy             profiles x levels x M, logarithms, float32        edge
tables.npz            counted integer tables (common/entropy.py)        both
detector.safetensors  detector and inverse gains, float16               cloud
manifest.json         hashes of the above, the model id made of them, labels, how it was trained
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxslim
import torch
from numpy.typing import NDArray
from rich.progress import track
from safetensors.torch import save
from torch import Tensor, nn

from cloud.models.machine import STRIDE, Encoder
from common.entropy import EntropyModel
from common.manifest import Manifest
from train.data import CocoFolder
from train.evaluate import to_input
from train.machine import Network, load_network

QUALITIES = tuple(round((band + 0.5) * 255 / 8) for band in range(8))  # one in each band
PROFILES = ("detect",)


class _Camera(nn.Module):
    """The encoder with what the edge would otherwise do in numpy: bytes in, planes out."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.encoder(x.permute(0, 3, 1, 2).float() / 255)
        return y


def export(run: Path, data: Path, out: Path, name: str, pictures: int = 600) -> Manifest:
    """Writes `out`; tables are counted on the first `pictures` of train. Returns the manifest."""
    network, state = load_network(run)
    training = CocoFolder(data, "train", pictures)
    entropy = EntropyModel.count(latents(network, training), network.machine.config.latent)
    files = {
        "encoder.onnx": encoder_onnx(network.machine.encoder),
        "gains.npy": _npy(network.machine.gains.log_gain.detach().float().numpy()),
        "tables.npz": _npz(entropy.to_arrays()),
        "detector.safetensors": save(_cloud_tensors(network)),
    }
    manifest = Manifest.build(
        files,
        name=name,
        codec={"channels": network.machine.config.latent, "stride": STRIDE},
        labels=training.labels,
        profiles=PROFILES,
        trained={
            "minutes": f"{state['elapsed'] / 60:.0f}",
            "steps": str(state["step"]),
            "recipe": json.dumps(state["recipe"]),
            "detector": json.dumps(state["detector"]),
            "torch": torch.__version__,
        },
    )
    out.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        (out / file).write_bytes(content)
    (out / "manifest.json").write_bytes(manifest.to_json())
    return manifest


def encoder_onnx(encoder: Encoder) -> bytes:
    """The encoder as ONNX with free height and width (multiples of 16)."""
    camera = _Camera(encoder.eval())
    rows, columns = (
        torch.export.Dim("rows", min=1, max=256),
        torch.export.Dim("columns", min=1, max=256),
    )
    program = torch.onnx.export(
        camera,
        (torch.zeros(1, 320, 480, 3, dtype=torch.uint8),),
        dynamo=True,
        input_names=["x"],
        output_names=["y"],
        dynamic_shapes={"x": {1: STRIDE * rows, 2: STRIDE * columns}},
        verbose=False,
    )
    if program is None:
        raise RuntimeError("the encoder was not exported")
    content: bytes = onnxslim.slim(program.model_proto).SerializeToString()
    onnx.checker.check_model(content)
    return content


def latents(network: Network, data: CocoFolder) -> Iterator[tuple[int, int, NDArray[np.int16]]]:
    """(profile, quality, integers) of every picture at every band's quality: what is counted."""
    for sample in track(data.samples, "counting tables"):
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            y = network.machine.encoder(to_input(sample.pixels))
        for quality in QUALITIES:
            at = torch.tensor([quality / 255])
            with torch.inference_mode():
                integers = network.machine.quantise(y.float(), 0, at)[2]
            yield 0, quality, integers[0].numpy().astype(np.int16)


def _cloud_tensors(network: Network) -> dict[str, Tensor]:
    tensors = {f"detector.{k}": v for k, v in network.detector.state_dict().items()}
    tensors["log_inverse"] = network.machine.gains.log_inverse.detach()
    floats = (k for k, v in tensors.items() if v.dtype.is_floating_point)
    return tensors | {k: tensors[k].half().contiguous() for k in floats}


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _npz(arrays: dict[str, NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
