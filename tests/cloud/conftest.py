from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cloud.detector import LayerDetector
from cloud.weights import CloudWeights, load_weights
from edge.capture.picture import Picture
from edge.coding.encoder import Encoder
from edge.coding.weights import load_weights as load_edge_weights
from tests.cloud.films import Film, filmed
from tests.weights import photograph, tiny_weights


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Small pictures gain nothing from more, and a busy machine makes them wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def weights() -> CloudWeights:
    """Those that ship."""
    return load_weights()


@pytest.fixture(scope="session")
def detector(weights: CloudWeights) -> LayerDetector:
    """Reports even what it hardly believes, so that there are boxes whatever the weights."""
    return LayerDetector(weights, threads=1, min_score=0.0)


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    return Encoder(load_edge_weights(), threads=1)


@pytest.fixture(scope="session")
def layers(encoder: Encoder) -> list[bytes]:
    """Small pictures as a camera codes them, 160 x 120."""
    rng = np.random.default_rng(8)
    pictures = [photograph(rng, 120, 160) for _ in range(6)]
    return [encoder.layer(encoder.analyse(Picture.whole(p)), 0.4) for p in pictures]


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that code inter layers, and see things anywhere."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny_weights(folder, detector=True)
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> LayerDetector:
    return LayerDetector(load_weights(tiny_folder), threads=1, min_score=0.0)


@pytest.fixture(scope="session")
def film(tiny_folder: Path, tiny: LayerDetector) -> Film:
    """Twelve frames of 160 x 120, one chain of tiny weights."""
    return filmed(tiny_folder, 12)


@pytest.fixture(scope="session")
def corrupt(layers: list[bytes], weights: CloudWeights) -> bytes:
    """Its header and its checksum are right, and its body is not a latent."""
    from common.bitstream import pack, unpack
    from common.errors import CorruptStream

    header, body = unpack(layers[0], None)
    rng = np.random.default_rng(9)
    for _ in range(100):
        layer = pack(header, rng.bytes(len(body) // 2))
        try:
            weights.codec.decode(layer)
        except CorruptStream:
            return layer
    raise AssertionError("a hundred random bodies decode")
