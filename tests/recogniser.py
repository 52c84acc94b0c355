"""A weights folder with the profile `recognise` added to another's: random, and whole."""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from cloud.models.recogniser import Recogniser, RecogniserConfig
from common.manifest import Manifest

FACTOR = 4


def add_recogniser(source: Path, target: Path, seed: int = 0) -> Manifest:
    """Writes `target`: the files of `source`, and those of a recogniser that knows nothing."""
    target.mkdir(parents=True, exist_ok=True)
    base = Manifest.parse((source / "manifest.json").read_bytes())
    files = {name: (source / name).read_bytes() for name in base.files}
    channels = base.codec["channels"]
    config = RecogniserConfig(latent=channels, classes=len(base.labels), width=16)
    files |= _files(config, np.load(io.BytesIO(files["gains.npy"])), seed)
    manifest = Manifest.build(
        files,
        name=base.name,
        codec={**base.codec, "pool_recognise": FACTOR},
        labels=base.labels,
        profiles=("detect", "recognise"),
        trained={**base.trained, "recogniser": json.dumps(asdict(config))},
    )
    for name, content in files.items():
        (target / name).write_bytes(content)
    (target / "manifest.json").write_bytes(manifest.to_json())
    return manifest


def _files(config: RecogniserConfig, gains: NDArray[np.float32], seed: int) -> dict[str, bytes]:
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    m = config.latent
    log_gain = np.concatenate([gains[:1], gains[:1] + 1])
    summary, table = io.BytesIO(), io.BytesIO()
    weight = rng.normal(0, m**-0.5, (m, m)).astype(np.float32)
    np.savez(summary, weight=weight, bias=np.zeros(m, np.float32))
    np.save(table, log_gain)
    tensors = {
        name: value.half() if value.is_floating_point() else value
        for name, value in Recogniser(config).state_dict().items()
    }
    tensors["log_inverse"] = torch.from_numpy(-log_gain[1:]).half()
    return {
        "gains.npy": table.getvalue(),
        "recognise.npz": summary.getvalue(),
        "recogniser.safetensors": save(tensors),
    }
