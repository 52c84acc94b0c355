"""A weights folder is read whole and as its manifest says, or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cloud.folder import DEFAULT_WEIGHTS
from cloud.weights import CloudWeights, load_weights
from common.errors import ModelMismatch
from common.manifest import Manifest
from edge.coding.weights import load_weights as load_edge_weights
from tests.weights import tiny_weights


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEFAULT_WEIGHTS, tmp_path / "weights"))


def rebuilt(folder: Path, **trained: str) -> None:
    """The manifest of the files as they are now, so that every hash matches."""
    raw = json.loads((folder / "manifest.json").read_text())
    files = {name: (folder / name).read_bytes() for name in raw["files"]}
    made = Manifest.build(
        files,
        name=raw["name"],
        codec=raw["codec"],
        labels=tuple(raw["labels"]),
        profiles=tuple(raw["profiles"]),
        trained=raw["trained"] | trained,
    )
    (folder / "manifest.json").write_bytes(made.to_json())


def test_both_processes_read_one_model(weights: CloudWeights) -> None:
    edge = load_edge_weights()
    assert weights.manifest.model_id == edge.manifest.model_id == weights.codec.model_id
    assert weights.log_inverse.shape == edge.log_gain.shape
    assert not weights.detector.training


@pytest.mark.parametrize("name", ["detector.safetensors", "tables.npz"])
def test_a_changed_file_is_named(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(ModelMismatch, match=name.replace(".", r"\.")):
        load_weights(folder)


@pytest.mark.parametrize("name", ["manifest.json", "detector.safetensors", "tables.npz"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelMismatch, match=name.replace(".", r"\.")):
        load_weights(folder)


def test_the_cloud_needs_no_encoder(folder: Path) -> None:
    (folder / "encoder.onnx").unlink()
    load_weights(folder)


def test_a_folder_for_cameras_only(tmp_path: Path) -> None:
    tiny_weights(tmp_path)
    with pytest.raises(ModelMismatch, match="detector"):
        load_weights(tmp_path)


@pytest.mark.parametrize(
    "config", ["", "[]", '{"width": 3}', '{"head": 8}', '{"classes": 4}'], ids=str
)
def test_a_detector_that_the_tensors_do_not_fit(folder: Path, config: str) -> None:
    rebuilt(folder, detector=config)
    with pytest.raises(ModelMismatch):
        load_weights(folder)


def test_tensors_that_are_none(folder: Path) -> None:
    (folder / "detector.safetensors").write_bytes(b"not a safetensors file")
    rebuilt(folder)
    with pytest.raises(ModelMismatch):
        load_weights(folder)
