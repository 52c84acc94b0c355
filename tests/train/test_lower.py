from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.train.scenes import make_folder
from train.lower import lower
from train.machine import Recipe, load_network, train

CPU = torch.device("cpu")
SHORT: dict[str, Any] = {"minutes": 0.0, "batch": 2, "size": 64, "evaluate_images": 1}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    base = tmp_path_factory.mktemp("lower")
    folder = make_folder(base / "scenes")
    train(Recipe(**SHORT), folder, base / "run", None, CPU)
    train(Recipe(**SHORT, bottleneck=False), folder, base / "pixel", None, CPU)
    return base


def gains(network, quality):
    gain, inverse = network.machine.gains(0, torch.tensor([quality]))
    return torch.cat([gain, inverse]).flatten()


def test_quality_0_is_further_down_and_all_that_was_trained_is_there(runs, tmp_path):
    lower(runs / "run", 0.5, tmp_path)
    (trained, _), (lowered, _) = load_network(runs / "run"), load_network(tmp_path)
    for quality in (0.2, 0.5, 1.0):  # at 0.2 stands the next anchor
        assert torch.allclose(gains(trained, quality), gains(lowered, quality))
    bottom, above = gains(trained, 0.0), gains(trained, 0.2)
    assert torch.allclose(gains(lowered, 0.0), bottom * (bottom / above) ** 0.5, rtol=1e-5)
    assert torch.allclose(gains(lowered, 0.2 / 3), bottom, rtol=1e-5)


@pytest.mark.parametrize("levels", [-0.1, 1.1])
def test_it_says_what_cannot_be(runs, tmp_path, levels):
    with pytest.raises(ValueError, match="0 to 1"):
        lower(runs / "run", levels, tmp_path)
    with pytest.raises(ValueError, match="no bottleneck"):
        lower(runs / "pixel", 0.5, tmp_path)
