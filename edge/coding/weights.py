"""Reads what the edge needs from a weights folder, each file checked against the manifest."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.coding.entropy import EntropyModel
from common.coding.summary import Summary
from common.errors import ModelMismatch
from common.manifest import Manifest

INT8 = "encoder.int8.onnx"  # a file that weights may do without
DEFAULT_WEIGHTS = Path(__file__).parents[2] / "weights"


@dataclass(frozen=True)
class EdgeWeights:
    """What is in the files.

    log_gain      profiles x levels x M, natural logarithms
    encoder_int8  None where the weights have none
    summaries     what the profiles code that do not code the latent itself, by their number
    """

    manifest: Manifest
    encoder: bytes
    entropy: EntropyModel
    log_gain: NDArray[np.float32]
    encoder_int8: bytes | None = None
    summaries: Mapping[int, Summary] = field(default_factory=dict)


def load_weights(folder: Path = DEFAULT_WEIGHTS) -> EdgeWeights:
    """Raises ModelMismatch naming the file that is missing or is not the manifest's."""
    manifest = Manifest.parse(_read(folder / "manifest.json"))

    def read(name: str) -> bytes:
        data = _read(folder / name)
        manifest.verify(name, data)
        return data

    with np.load(io.BytesIO(read("tables.npz")), allow_pickle=False) as arrays:
        entropy = EntropyModel.from_arrays(dict(arrays))
    gains = np.load(io.BytesIO(read("gains.npy")), allow_pickle=False)
    if gains.ndim != 3 or gains.shape[1] < 2 or gains.shape[2] != manifest.codec.get("channels"):
        raise ModelMismatch(f"{folder / 'gains.npy'}: gains of shape {gains.shape}")
    if len(gains) < len(manifest.profiles):
        raise ModelMismatch(f"{folder / 'gains.npy'}: not of {len(manifest.profiles)} profiles")
    int8 = read(INT8) if INT8 in manifest.files else None
    summaries = {
        number: _summary(f"{name}.npz", read(f"{name}.npz"), manifest, factor)
        for number, (name, factor) in enumerate(
            zip(manifest.profiles, manifest.factors, strict=True)
        )
        if factor > 1
    }
    return EdgeWeights(manifest, read("encoder.onnx"), entropy, gains, int8, summaries)


def _summary(file: str, data: bytes, manifest: Manifest, factor: int) -> Summary:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            weight, bias = (arrays[name].astype(np.float32) for name in ("weight", "bias"))
        if bias.shape != (manifest.codec.get("channels"),):
            raise ValueError(f"of {bias.shape} channels")
        return Summary(weight, bias, factor)
    except (EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise ModelMismatch(f"{file}: not a summary of this model's latent: {error}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelMismatch(f"{path}: {error.strerror or error}") from error
