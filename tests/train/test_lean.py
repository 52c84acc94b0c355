from __future__ import annotations

import json
import warnings
from typing import Any

import pytest
import torch

from tests.train.scenes import make_folder
from train.data import CocoFolder
from train.evaluate import to_input
from train.export import export
from train.lean import lean, with_fewer
from train.machine import Recipe, load_network, train
from train.restore import unfolded

CPU = torch.device("cpu")
SHORT: dict[str, Any] = {"batch": 2, "size": 64, "evaluate_images": 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A run whose norms know what their convolutions give: latents that say something."""
    folder = tmp_path_factory.mktemp("run")
    train(Recipe(minutes=0.0, **SHORT), data, folder, None, CPU)
    network, state = load_network(folder)
    for norm in (part for part in network.modules() if isinstance(part, torch.nn.BatchNorm2d)):
        norm.momentum = None  # the mean of all that was seen
        norm.reset_running_stats()
    samples = CocoFolder(data, "train").samples
    with torch.no_grad():
        for sample in samples:
            network.machine.encoder.train()(to_input(sample.pixels))
    torch.save(state | {"average": network.state_dict()}, folder / "last.pt")
    return folder


def latent(network, data):
    pixels = CocoFolder(data, "val").samples[0].pixels
    with torch.no_grad():
        return network.eval().machine.encoder(to_input(pixels))


def test_without_bottlenecks_that_did_nothing_it_is_the_same(data, run):
    network, _ = load_network(run)
    merge = network.get_parameter("machine.encoder.trunk.6.merge.0.weight")
    with torch.no_grad():
        merge[:, merge.shape[1] * 3 // 5 :] = 0  # nobody reads the second and the third
    fewer = with_fewer(network, (1, 2, 1))
    assert torch.allclose(latent(fewer, data), latent(network, data), atol=1e-5)
    assert len(list(fewer.parameters())) < len(list(network.parameters()))


@pytest.mark.parametrize("depths", [(2, 2, 3), (0, 0, -1)])
def test_it_says_what_cannot_be(run, depths):
    with pytest.raises(ValueError, match=r"0 to \(1, 2, 3\)"):
        with_fewer(load_network(run)[0], depths)


def test_it_learns_the_latent_and_is_trained_and_shipped_like_any_other(data, run, tmp_path):
    wanted = latent(load_network(run)[0], data)

    def error(network):
        return float((latent(network, data) - wanted).square().mean())

    begun = error(with_fewer(load_network(run)[0], (0, 1, 1)))
    recipe = Recipe(minutes=0.15, **SHORT)
    trained = lean(run, (0, 1, 1), recipe, data, tmp_path / "lean", CPU)
    assert trained.step > 20
    assert error(trained.network) < 0.8 * begun
    again = lean(run, (0, 1, 1), recipe, data, tmp_path / "lean", CPU)
    assert again.step == trained.step, "it was at its end"

    start = tmp_path / "lean" / "last.pt"
    on = train(Recipe(minutes=0.02, **SHORT), data, tmp_path / "on", start, CPU)
    train(Recipe(minutes=0.02, **SHORT), data, tmp_path / "on", None, CPU)  # it knows what it is
    assert on.network.machine.config.depths == (0, 1, 1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns about itself
        manifest = export(tmp_path / "on", data, tmp_path / "weights", "tiny", pictures=4)
    assert json.loads(manifest.trained["machine"])["depths"] == [0, 1, 1]
    before, after = load_network(tmp_path / "on")[0], unfolded(tmp_path / "weights")
    assert torch.allclose(latent(before, data), latent(after, data), atol=1e-4)
