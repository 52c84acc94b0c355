"""Reads what the edge needs from a weights folder, each file checked against the manifest."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.entropy import EntropyModel
from common.errors import ModelMismatch
from common.manifest import Manifest

DEFAULT_WEIGHTS = Path(__file__).parents[1] / "weights"


@dataclass(frozen=True)
class EdgeWeights:
    """encoder: an ONNX file's bytes; log_gain: profiles x levels x M, natural logarithms."""

    manifest: Manifest
    encoder: bytes
    entropy: EntropyModel
    log_gain: NDArray[np.float32]


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
    return EdgeWeights(manifest, read("encoder.onnx"), entropy, gains)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelMismatch(f"{path}: {error.strerror or error}") from error
