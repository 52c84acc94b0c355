from __future__ import annotations

import warnings

import numpy as np
import onnxruntime
import pytest
import torch

from cloud.models.detector import DetectorConfig
from cloud.models.machine import MachineConfig
from cloud.weights import load_weights as load_for_cloud
from edge.encoder import Encoder
from edge.pictures import Picture
from edge.weights import load_weights as load_for_edge
from tests.train.scenes import make_folder
from train.export import encoder_onnx, export
from train.machine import Network, Recipe, train


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    base = tmp_path_factory.mktemp("export")
    folder = make_folder(base / "scenes")
    recipe = Recipe(minutes=0.02, batch=2, size=64, evaluate_images=1)
    train(recipe, folder, base / "run", None, torch.device("cpu"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns about itself
        export(base / "run", folder, base / "weights", "tiny", pictures=4)
    return base / "weights"


def test_the_edge_codes_what_the_cloud_reads_bit_for_bit(exported):
    edge, cloud = load_for_edge(exported), load_for_cloud(exported)
    assert edge.manifest == cloud.manifest
    encoder = Encoder(edge, threads=1)
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    analysis = encoder.analyse(Picture.whole(pixels))
    for quality in (0.0, 0.5, 1.0):
        layer = encoder.layer(analysis, quality)
        header, integers = cloud.codec.decode(layer)
        assert (header.width, header.height) == (70, 50)
        assert integers.shape == analysis.y.shape
        assert cloud.codec.encode(
            integers, width=70, height=50, side=header.side, quality=header.quality
        ) == layer  # fmt: skip


def test_onnx_runtime_computes_what_torch_does_at_any_size():
    torch.manual_seed(0)
    network = Network(MachineConfig(), DetectorConfig(classes=2)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = encoder_onnx(network.machine.encoder)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for height, width in ((16, 16), (48, 112), (160, 64)):
        x = np.random.default_rng(height).integers(0, 256, (1, height, width, 3), np.uint8)
        (y,) = session.run(["y"], {"x": x})
        with torch.inference_mode():
            wanted = network.machine.encoder(torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255)
        assert np.abs(y - wanted.numpy()).max() < 1e-3
        assert y.shape == (1, 64, height // 16, width // 16)
