from __future__ import annotations

import itertools
import json
import warnings

import pytest
import torch
from typer.testing import CliRunner

from common.errors import ModelMismatch
from tests.train.scenes import make_folder
from train.__main__ import app
from train.data import Augment, Canvases, CocoFolder
from train.evaluate import to_input
from train.export import export
from train.machine import Recipe, load_network, train
from train.restore import fit, measure, restore, unfolded

CPU = torch.device("cpu")
SMALL = Recipe(minutes=0.05, batch=2, size=64, evaluate_images=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A run's folder, and the weights made of it."""
    base = tmp_path_factory.mktemp("trained")
    train(SMALL, data, base / "run", None, CPU)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns about itself
        export(base / "run", data, base / "weights", "tiny", pictures=4)
    return base / "run", base / "weights"


def test_what_ships_comes_back_as_what_was_trained(data, trained):
    run, weights = trained
    before, after = load_network(run)[0], unfolded(weights)
    pixels = CocoFolder(data, "val").samples[0].pixels
    for measured in (False, True):
        if measured:
            measure(after.machine.encoder, [pixels])
        with torch.no_grad():
            y, again = (n.machine.encoder(to_input(pixels)) for n in (before, after))
            found, found_again = (n(to_input(pixels), torch.tensor([0.3])) for n in (before, after))
        assert torch.allclose(y, again, atol=1e-4)
        assert torch.allclose(found[0], found_again[0], atol=0.05)  # it ships in half precision
        assert torch.allclose(found[1], found_again[1], atol=0.5)


def test_norms_expect_what_their_batch_has(data, trained):
    encoder, other = (unfolded(trained[1]).machine.encoder for _ in range(2))
    pixels = CocoFolder(data, "val").samples[0].pixels[:64, :96]
    x = to_input(pixels) - 0.5
    with torch.no_grad():
        wanted = encoder.trunk(x)
        folded = other.trunk.train()(x)
        measure(encoder, [pixels])
        unfolded_again = encoder.trunk.train()(x)
    assert torch.allclose(unfolded_again, wanted, atol=1e-3)
    assert not torch.allclose(folded, wanted, atol=1e-1)


def test_fitted_rate_proxies_know_what_integers_cost_and_nothing_else_moves(data, trained):
    network = unfolded(trained[1])
    samples = CocoFolder(data, "train").samples
    stream = iter(Canvases(samples, Augment(64, 0.0, 2), 2, seed=0))
    x = torch.cat([b.x for b in itertools.islice(stream, 3)]).float() / 255
    before = {name: value.clone() for name, value in network.state_dict().items()}

    def estimate():
        with torch.no_grad():
            return float(network(x, torch.full((len(x),), 0.5))[2].mean())

    unfitted = estimate()
    fit(network, itertools.islice(stream, 30), SMALL)
    assert estimate() < 0.8 * unfitted
    moved = {k for k, v in network.state_dict().items() if not torch.equal(v, before[k])}
    assert moved <= {k for k in before if "rate." in k}
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_a_restored_run_starts_another(data, trained, tmp_path):
    out = tmp_path / "shipped"
    command = ["restore", "--data", data, "--weights", trained[1], "--out", out, "--steps", 1]
    result = CliRunner().invoke(app, list(map(str, command)))
    assert result.exit_code == 0, result.output
    recipe = Recipe(**(vars(SMALL) | {"minutes": 0.0}))
    run = train(recipe, data, tmp_path / "on", out / "last.pt", CPU)
    wanted = torch.load(out / "last.pt", weights_only=True)["average"]
    assert all(torch.equal(v, wanted[k]) for k, v in run.network.state_dict().items())
    assert run.recipe.rate_ramp == 0  # its rate was learnt


def test_weights_that_do_not_fit_are_named(data, trained, tmp_path):
    with pytest.raises(ModelMismatch, match=r"manifest\.json"):
        restore(tmp_path, data, tmp_path / "out")
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in trained[1].iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "encoder.onnx").write_bytes(b"\0")
    with pytest.raises(ModelMismatch, match=r"encoder\.onnx has 1 bytes"):
        restore(broken, data, tmp_path / "out")
    manifest = json.loads((trained[1] / "manifest.json").read_text())
    manifest["trained"].pop("detector")
    (broken / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelMismatch, match="not the weights of this network"):
        restore(broken, data, tmp_path / "out")
    assert not (tmp_path / "out").exists()
