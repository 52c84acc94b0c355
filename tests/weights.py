"""A small weights folder for tests: the real formats, random networks, tables that fit them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from common.coding.entropy import EntropyModel
from common.manifest import Manifest

CHANNELS = 16
STRIDE = 16
LEVELS = 8
LABELS = ("person", "car", "motorcycle", "bus", "truck")
DETECTOR: dict[str, Any] = {
    "latent": CHANNELS,
    "classes": len(LABELS),
    "widths": (8, 16, 16),
    "head": 8,
}


def tiny_weights(
    folder: Path, seed: int = 0, *, detector: bool = False, inter: bool = True
) -> Manifest:
    """Writes manifest.json, encoder.onnx, tables.npz and gains.npy; another seed, another model.

    detector  with detector.safetensors: what the cloud needs besides. It sees things anywhere.
    inter     with tables for inter layers
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = _files(seed, inter)
    if detector:
        files = files | {"detector.safetensors": _detector(seed)}
    manifest = Manifest.build(
        files,
        name=f"tiny-{seed}",
        codec={"channels": CHANNELS, "stride": STRIDE},
        labels=LABELS,
        profiles=("detect",),
        trained={"note": "random: it knows nothing", "detector": json.dumps(DETECTOR)},
    )
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "manifest.json").write_bytes(manifest.to_json())
    return manifest


@cache
def _files(seed: int, inter: bool) -> dict[str, bytes]:
    rng = np.random.default_rng(seed)
    encoder = encoder_onnx(rng)
    gains = _log_gains()
    scenes = _integers(encoder, gains, [photograph(rng, 192, 256) for _ in range(3)])
    films = _integers(encoder, gains, film(rng, 8, 192, 256))
    entropy = EntropyModel.count(
        ((0, quality, y) for quality, latents in scenes for y in latents),
        CHANNELS,
        ((0, quality, latents) for quality, latents in films if inter),
    )
    return {
        "encoder.onnx": encoder,
        "gains.npy": _saved(gains),
        "tables.npz": _saved_all(entropy.to_arrays()),
    }


def _log_gains() -> Any:
    levels = np.linspace(np.log(0.3), np.log(3.0), LEVELS, dtype=np.float32)
    return np.broadcast_to(levels[None, :, None], (1, LEVELS, CHANNELS)).copy()


def add_int8(folder: Path, network: bytes) -> None:
    """Puts `network` into a weights folder as its encoder.int8.onnx: another model from then on."""
    before = Manifest.parse((folder / "manifest.json").read_bytes())
    (folder / "encoder.int8.onnx").write_bytes(network)
    files = {name: (folder / name).read_bytes() for name in {*before.files, "encoder.int8.onnx"}}
    after = Manifest.build(
        files,
        name=before.name,
        codec=before.codec,
        labels=before.labels,
        profiles=before.profiles,
        trained=before.trained,
    )
    (folder / "manifest.json").write_bytes(after.to_json())


def encoder_onnx(rng: np.random.Generator) -> bytes:
    """One convolution of stride 16: x uint8 1 H W 3 -> y float32 1 M H/16 W/16."""
    kernel = rng.normal(size=(CHANNELS, 3, STRIDE, STRIDE)).astype(np.float32)
    kernel -= kernel.mean(axis=(2, 3), keepdims=True)  # flat colour is zero
    kernel /= (
        255 * np.sqrt(STRIDE) * np.arange(1, CHANNELS + 1, dtype=np.float32)[:, None, None, None]
    )
    nodes = [
        helper.make_node("Cast", ["x"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "kernel"], ["y"], strides=[STRIDE, STRIDE]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, "H", "W", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, CHANNELS, "h", "w"])],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def photograph(rng: np.random.Generator, height: int, width: int) -> Any:
    """H W 3 uint8: a smooth random scene with a little noise, and edges."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    waves = rng.uniform(0.005, 0.08, size=(6, 2))
    scene = sum(np.sin(a * y + b * x + i) for i, (a, b) in enumerate(waves))
    edges = 40 * ((x // 37 + y // 53) % 2)
    tint = rng.uniform(0.6, 1.0, size=3)
    pixels = (100 + 20 * scene + edges)[..., None] * tint + rng.normal(0, 2, (height, width, 3))
    return pixels.clip(0, 255).astype(np.uint8)


def film(rng: np.random.Generator, frames: int, height: int, width: int) -> list[Any]:
    """Pictures of one scene that stands still, but for noise and for a thing that goes through."""
    scene = photograph(rng, height, width).astype(np.int16)
    side = height // 4
    pictures = []
    for n in range(frames):
        picture = scene + rng.integers(-2, 3, scene.shape, np.int16)
        x = n * (width - side) // frames
        picture[side : 2 * side, x : x + side] = 20 + picture[side : 2 * side, x : x + side] // 4
        pictures.append(picture.clip(0, 255).astype(np.uint8))
    return pictures


def _integers(encoder: bytes, gains: Any, pictures: list[Any]) -> Iterator[tuple[int, list[Any]]]:
    """(quality, integers of every picture) at each level."""
    session = ort.InferenceSession(encoder, providers=["CPUExecutionProvider"])
    latents = [session.run(["y"], {"x": x[None]})[0][0] for x in pictures]
    for level, gain in enumerate(np.exp(gains[0])):
        scaled = (y * gain[:, None, None] for y in latents)
        yield round(level / (LEVELS - 1) * 255), [np.rint(y).astype(np.int16) for y in scaled]


def _detector(seed: int) -> bytes:
    import torch
    from safetensors.torch import save

    from cloud.models.detector import Detector, DetectorConfig

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Detector(DetectorConfig(**DETECTOR))
    tensors = {f"detector.{key}": value for key, value in network.state_dict().items()}
    return save(tensors | {"log_inverse": -torch.from_numpy(_log_gains())})


def _saved(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _saved_all(arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
