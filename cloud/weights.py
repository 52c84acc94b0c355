"""Reads what the cloud needs from a weights folder, each file checked against the manifest."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from cloud.folder import DEFAULT_WEIGHTS
from cloud.models.blocks import channels_last
from cloud.models.detector import Detector, DetectorConfig
from cloud.models.recogniser import Recogniser, RecogniserConfig
from common.codec import MachineCodec
from common.coding.entropy import EntropyModel
from common.errors import ModelMismatch
from common.geometry import MAX_SIDE_PX
from common.manifest import Manifest

RECOGNISER = "recogniser.safetensors"  # a file that weights may do without


@dataclass(frozen=True)
class CloudWeights:
    """What is in the files.

    log_inverse  profiles x levels x M, logarithms of what turns integers into y_hat or s_hat
    recogniser   None where the weights have none, and profile 1 therefore neither
    """

    manifest: Manifest
    codec: MachineCodec
    detector: Detector
    log_inverse: Tensor
    recogniser: Recogniser | None = None


def load_weights(folder: Path = DEFAULT_WEIGHTS, *, max_side: int = MAX_SIDE_PX) -> CloudWeights:
    """max_side: longest side in pixels of a working picture that is decoded.

    Raises ModelMismatch naming the file that is missing or is not the manifest's.
    """
    manifest = Manifest.parse(_read(folder / "manifest.json"))

    def read(name: str) -> bytes:
        data = _read(folder / name)
        manifest.verify(name, data)
        return data

    with np.load(io.BytesIO(read("tables.npz")), allow_pickle=False) as arrays:
        entropy = EntropyModel.from_arrays(dict(arrays))
    codec = MachineCodec(entropy, manifest.model_id, max_side, manifest.factors)
    try:
        detector, log_inverse = _detector(manifest, read("detector.safetensors"))
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelMismatch(f"{folder}: not the weights of this detector: {error}") from error
    if RECOGNISER not in manifest.files:
        return CloudWeights(manifest, codec, detector, log_inverse[:1])
    try:
        recogniser, log_own = _recogniser(manifest, read(RECOGNISER))
        log_inverse = torch.cat([log_inverse[:1], log_own])
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelMismatch(f"{folder}: not the weights of this recogniser: {error}") from error
    return CloudWeights(manifest, codec, detector, log_inverse, recogniser)


def _detector(manifest: Manifest, data: bytes) -> tuple[Detector, Tensor]:
    """Raises whatever json, safetensors and torch raise for what does not fit together."""
    tensors = load(data)
    log_inverse = tensors.pop("log_inverse").float()
    config = DetectorConfig(**json.loads(manifest.trained["detector"]))
    if config.classes != len(manifest.labels):
        raise ValueError(f"{config.classes} classes, {len(manifest.labels)} labels")
    if log_inverse.ndim != 3 or log_inverse.shape[1] < 2 or log_inverse.shape[2] != config.latent:
        raise ValueError(f"gains of shape {tuple(log_inverse.shape)}")
    detector = Detector(config)
    state = {key.removeprefix("detector."): value.float() for key, value in tensors.items()}
    state |= {k: v.long() for k, v in state.items() if k.endswith("num_batches_tracked")}
    detector.load_state_dict(state)
    return channels_last(detector.eval()), log_inverse


def _recogniser(manifest: Manifest, data: bytes) -> tuple[Recogniser, Tensor]:
    """Raises as `_detector` does."""
    tensors = load(data)
    log_inverse = tensors.pop("log_inverse").float()
    config = RecogniserConfig(**json.loads(manifest.trained["recogniser"]))
    if config.classes != len(manifest.labels):
        raise ValueError(f"{config.classes} classes, {len(manifest.labels)} labels")
    recogniser = Recogniser(config)
    state = {key: value.float() for key, value in tensors.items()}
    state |= {k: v.long() for k, v in state.items() if k.endswith("num_batches_tracked")}
    recogniser.load_state_dict(state)
    return channels_last(recogniser.eval()), log_inverse


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelMismatch(f"{path}: {error.strerror or error}") from error
