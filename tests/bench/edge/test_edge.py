from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bench.edge.detector import EdgeDetector, detector_onnx
from bench.edge.edge import edge
from cloud.models.detector import DetectorConfig
from cloud.models.machine import MachineConfig
from tests.weights import add_int8, encoder_onnx, photograph, tiny_weights
from train.machine import Network

FRAMES = 3


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    rng = np.random.default_rng(1)
    for i in range(FRAMES):
        Image.fromarray(photograph(rng, 120, 160)).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> dict[str, Any]:
    base = tmp_path_factory.mktemp("edge")
    tiny_weights(base)
    add_int8(base, encoder_onnx(np.random.default_rng(9)))
    found = edge(str(clip), base / "out", base, None, FRAMES, 1)
    assert json.loads((base / "out/edge.json").read_text()).items() >= found.items()
    return found


def test_stages_add_up(figures: dict[str, Any]) -> None:
    assert (figures["frames"], figures["threads"], figures["size"]) == (FRAMES, 1, "640x480")
    for of in (figures["encode_ms"], *(p["encode_ms"] for p in figures["precisions"].values())):
        assert set(of) >= {"preprocess", "network", "entropy", "total", "cpu"}
        for stage in of.values():
            assert 0 <= stage["p50"] <= stage["p95"]
        parts = sum(of[stage]["p50"] for stage in ("preprocess", "network", "entropy"))
        assert parts <= 1.5 * of["total"]["p95"] + 0.1
    assert figures["encode_ms"] == figures["precisions"][figures["precision"]]["encode_ms"]


def test_all_stand_side_by_side(figures: dict[str, Any]) -> None:
    codecs = ("jpeg", "webp", "avif")
    assert all(figures[f"{name}_encode_ms"]["p50"] > 0 for name in codecs)
    for ratios in (figures["ratios"], figures["cpu_ratios"]):
        assert set(ratios) == {"fp32", "int8"}
        assert all(set(row) == set(codecs) and min(row.values()) > 0 for row in ratios.values())
    assert figures["macs_per_pixel"] == 3 * 16  # one convolution of stride 16 with 16 channels
    assert 30 < figures["peak_rss_mb"] < 500
    assert "pixel_detector_ms" not in figures


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    return Network(
        MachineConfig(widths=(8, 8, 16, 16), depths=(1, 1, 1)),
        DetectorConfig(classes=2, widths=(16, 16, 16), head=16),
    ).eval()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, network: Network) -> Path:
    folder = tmp_path_factory.mktemp("run")
    state = {
        "average": network.state_dict(),
        "machine": asdict(network.machine.config),
        "detector": asdict(network.detector.config),
        "step": 0,
        "elapsed": 0.0,
    }
    torch.save(state, folder / "last.pt")
    return folder


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")  # torch's exporter warns about itself
def test_the_whole_detector_on_the_edge(run: Path, network: Network) -> None:
    x = photograph(np.random.default_rng(2), 96, 128)
    on_edge = EdgeDetector(detector_onnx(run, 96, 128), 1)
    logits, boxes = on_edge.infer(x)
    with torch.inference_mode():
        planes = torch.from_numpy(x).permute(2, 0, 1)[None].float() / 255
        wanted, corners, _ = network(planes, None)
    assert torch.allclose(logits, wanted[0], atol=1e-3)
    assert torch.allclose(boxes, corners[0], atol=1e-2)
    assert on_edge.boxes(torch.full_like(logits, 9.0), boxes) > 0
    assert on_edge.boxes(torch.full_like(logits, -9.0), boxes) == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")
def test_it_stands_beside_ours(run: Path, tmp_path: Path, clip: Path) -> None:
    tiny_weights(tmp_path / "weights")
    figures = edge(str(clip), tmp_path / "out", tmp_path / "weights", run, 2, 1)
    assert figures["pixel_detector_ms"]["p50"] > 0
    assert figures["pixel_detector"]["macs_per_pixel"] > figures["macs_per_pixel"]
    assert figures["ratios"]["fp32"]["detector fp32"] > 0
