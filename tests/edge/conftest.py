from __future__ import annotations

from pathlib import Path

import pytest

from edge.coding.weights import EdgeWeights, load_weights
from tests.weights import tiny_weights


@pytest.fixture(scope="session")
def weights_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    tiny_weights(folder)
    return folder


@pytest.fixture(scope="session")
def weights(weights_folder: Path) -> EdgeWeights:
    return load_weights(weights_folder)
