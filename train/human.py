"""Finished runs -> the human decoder's folder (cloud/pictures/human.py says what its files are)."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from cloud.models.prior_files import PRIOR, prior_files
from common.coding.coefficients import CoefficientModel
from common.manifest import Manifest
from train.fusion import TABLES, load_fusion
from train.machine import load_network
from train.prior import load_prior

FUSION = "fusion.safetensors"


def write_tables(model: CoefficientModel, folder: Path) -> None:
    """What `train auxiliary` leaves behind."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TABLES).write_bytes(_npz(model))


def export(
    machine: Path, auxiliary: Path, fusion: Path, prior: Path | None, weights: Path, name: str
) -> Manifest:
    """Writes weights/human over the machine codec in `weights`, and returns its manifest.

    machine, auxiliary, fusion, prior  folders of runs; no prior: the decoder has no steps
    """
    below = Manifest.parse((weights / "manifest.json").read_bytes())
    network, _ = load_network(machine)
    fused, state = load_fusion(fusion)
    tensors = dict(fused.state_dict()) | {"log_inverse": network.machine.gains.log_inverse.detach()}
    files = {
        TABLES: (auxiliary / TABLES).read_bytes(),
        FUSION: save({k: v.to(torch.float16).contiguous() for k, v in tensors.items()}),
    }
    refining = None if prior is None else load_prior(prior)[0].half()
    out = weights / "human"
    shutil.rmtree(out / PRIOR, ignore_errors=True)  # of an earlier model
    out.mkdir(parents=True, exist_ok=True)
    if refining is not None:
        refining.save(out / PRIOR)
    manifest = Manifest.build(
        files,
        name=name,
        codec={"base": below.model_id},
        labels=(),
        profiles=("picture",),
        trained={
            "fusion": json.dumps(state["fusion"]),
            "minutes": f"{state['elapsed'] / 60:.0f}",
            "steps": str(state["step"]),
        },
        beside=prior_files(out),
    )
    for file, data in files.items():
        (out / file).write_bytes(data)
    (out / "manifest.json").write_bytes(manifest.to_json())
    return manifest


def _npz(model: CoefficientModel) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **model.to_arrays())
    return file.getvalue()
