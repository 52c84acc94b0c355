"""The bench of int8 weights on four pictures and a short clip, with the weights that ship."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from bench.accuracy.precision import precision
from common.errors import BadSettings
from edge.coding.weights import DEFAULT_WEIGHTS
from tests.train.scenes import make_folder
from tests.weights import photograph, tiny_weights

CLASSES = ("person", "car", "motorcycle", "bus", "truck")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four drawn scenes with the classes of the weights that ship, and a clip."""
    folder: Path = make_folder(tmp_path_factory.mktemp("scenes"), pictures=4)
    index = json.loads((folder / "val.json").read_text())
    index["categories"] = [{"id": i + 1, "name": name} for i, name in enumerate(CLASSES)]
    (folder / "val.json").write_text(json.dumps(index))
    scene = photograph(np.random.default_rng(1), 96, 160)
    with av.open(str(folder / "clip.avi"), "w") as container:
        stream = container.add_stream("mjpeg", rate=5)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuvj420p"
        for i in range(4):
            frame = av.VideoFrame.from_ndarray(scene[:, 8 * i : 8 * i + 128], format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return folder


@pytest.fixture(scope="module")
def figures(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("out")
    found = precision(
        data / "val.json",
        data / "val",
        out,
        DEFAULT_WEIGHTS,
        clips=[data / "clip.avi"],
        qualities=(0.0, 1.0),
        draw_count=5,
    )
    assert json.loads((out / "precision.json").read_text()).items() >= found.items()
    return found


def test_both_networks_are_close_and_not_the_same(figures: dict[str, Any]) -> None:
    assert (figures["dataset"], figures["images"]) == ("val.json", 4)
    assert [p["quality"] for p in figures["points"]] == [0.0, 1.0]
    best = figures["points"][-1]
    assert 0 < best["changed_of_all"] < 0.05
    assert best["changed_of_all"] < best["changed_of_nonzero"] < 0.25
    assert best["bytes_ratio"] == pytest.approx(best["bytes"]["int8"] / best["bytes"]["fp32"], 0.01)
    assert 0.8 < best["bytes_ratio"] < 1.25
    for p in figures["points"]:
        low, high = p["map_difference_95"]
        assert -1 <= low <= high <= 1
        assert p["map_difference"] == pytest.approx(p["map"]["int8"] - p["map"]["fp32"], abs=2e-4)


def test_chains(figures: dict[str, Any]) -> None:
    (chain,) = figures["chains"]
    assert (chain["clip"], chain["layers"]) == ("clip.avi", 4)
    assert all(0.8 < p["bytes_ratio"] < 1.25 for p in chain["points"])


def test_weights_without_int8(data: Path, tmp_path: Path) -> None:
    tiny_weights(tmp_path)
    with pytest.raises(BadSettings, match=r"no encoder\.int8\.onnx"):
        precision(data / "val.json", data / "val", tmp_path, tmp_path)
