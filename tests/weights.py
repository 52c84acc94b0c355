"""A small weights folder for tests: the real formats, a random network, tables that fit it."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from common.entropy import EntropyModel
from common.manifest import Manifest

CHANNELS = 16
STRIDE = 16
LEVELS = 8
LABELS = ("person", "car", "motorcycle", "bus", "truck")


def tiny_weights(folder: Path, seed: int = 0) -> Manifest:
    """Writes manifest.json, encoder.onnx, tables.npz and gains.npy; another seed, another model."""
    folder.mkdir(parents=True, exist_ok=True)
    files = _files(seed)
    manifest = Manifest.build(
        files,
        name=f"tiny-{seed}",
        codec={"channels": CHANNELS, "stride": STRIDE},
        labels=LABELS,
        profiles=("detect",),
        trained={"note": "random: it detects nothing"},
    )
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "manifest.json").write_bytes(manifest.to_json())
    return manifest


@cache
def _files(seed: int) -> dict[str, bytes]:
    rng = np.random.default_rng(seed)
    encoder = encoder_onnx(rng)
    log_gain = np.linspace(np.log(0.3), np.log(3.0), LEVELS, dtype=np.float32)
    gains = np.broadcast_to(log_gain[None, :, None], (1, LEVELS, CHANNELS)).copy()
    entropy = EntropyModel.count(_latents(encoder, gains, rng), CHANNELS)
    return {
        "encoder.onnx": encoder,
        "gains.npy": _saved(gains),
        "tables.npz": _saved_all(entropy.to_arrays()),
    }


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


def _latents(encoder: bytes, gains: Any, rng: np.random.Generator) -> Any:
    session = ort.InferenceSession(encoder, providers=["CPUExecutionProvider"])
    for _ in range(3):
        x = photograph(rng, 192, 256)[None]
        y = session.run(["y"], {"x": x})[0][0]
        for level, gain in enumerate(np.exp(gains[0])):
            integers = np.rint(y * gain[:, None, None]).astype(np.int16)
            yield 0, round(level / (LEVELS - 1) * 255), integers


def _saved(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _saved_all(arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
