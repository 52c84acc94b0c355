from __future__ import annotations

import json
from itertools import islice

import numpy as np
import pytest
import torch

from cloud.models.recogniser import Recogniser, RecogniserConfig
from tests.train.scenes import LABELS, make_folder
from train.data import CocoFolder
from train.glances import Glance, batches, collate, glances
from train.machine import Recipe as MachineRecipe
from train.machine import load_network
from train.machine import train as train_machine
from train.presence import presence
from train.recognise import (
    EVALUATED,
    Recipe,
    Recognition,
    RecognitionConfig,
    load_recognition,
    score,
    train,
)

CPU = torch.device("cpu")
CAR = LABELS.index("car")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="module")
def machine(folder, tmp_path_factory):
    """A machine run that has hardly begun."""
    run = tmp_path_factory.mktemp("machine")
    recipe = MachineRecipe(minutes=0.0, batch=2, size=64, evaluate_images=1)
    train_machine(recipe, folder, run, None, CPU)
    return run


@pytest.fixture(scope="module")
def seen(folder, machine):
    """Plain glances, and others."""
    encoder = load_network(machine)[0].machine.encoder
    samples = CocoFolder(folder, "train").samples
    return glances(encoder, samples, None, ""), glances(
        encoder, samples, np.random.default_rng(0), ""
    )


def test_a_run_trains_logs_saves_and_goes_on(folder, machine, tmp_path):
    recipe = Recipe(minutes=0.01, batch=4, views=2)
    run = train(recipe, folder, machine, tmp_path, CPU)
    assert run.step > 0
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert tuple(row["quality"] for row in log if "quality" in row) == EVALUATED
    assert all(0 <= row["presence_map"] <= 1 for row in log if "quality" in row)
    longer = Recipe(**(vars(recipe) | {"minutes": run.elapsed / 60 + 0.01, "views": 1}))
    again = train(longer, folder, machine, tmp_path, CPU)
    assert again.step > run.step
    kept, state = load_recognition(tmp_path)
    assert state["step"] == again.step
    y, inside = torch.rand(1, 64, 8, 8), torch.ones(1, 1, 8, 8)
    wanted = again.average(y, inside, torch.tensor([0.5]))
    assert all(map(torch.equal, kept(y, inside, torch.tensor([0.5])), wanted))


def test_a_plain_glance_is_the_latent_of_its_picture(folder, machine, seen):
    plain, _ = seen
    sample = CocoFolder(folder, "train").samples[0]
    y, present, known = plain[0].whole
    assert y.shape == (64, 4, 6)
    assert np.array_equal((present, known), presence(sample))


def test_other_glances_differ_in_size_and_keep_their_boxes_inside(seen):
    plain, other = seen
    assert {g.y.shape for g in other} != {g.y.shape for g in plain}
    for glance in other:
        height, width = (16 * n for n in glance.y.shape[1:])
        assert (glance.sample.boxes >= 0).all()
        assert (glance.sample.boxes <= [width, height, width, height]).all()


def test_a_window_has_the_car_that_it_shows(seen):
    sample = seen[0][0].sample
    places = np.indices((4, 6)).astype(np.int8)  # a latent that says where it is
    x1, y1, x2, y2 = sample.boxes[0]
    rng, found = np.random.default_rng(3), set()
    for _ in range(60):
        part, present, known = Glance(places, sample).window(rng, most=3)
        assert max(part.shape[1:]) <= 3
        top, left, low, right = 16 * np.array([*part[:, 0, 0], *(part[:, -1, -1] + 1)])
        wide, high = min(x2, right) - max(x1, left), min(y2, low) - max(y1, top)
        share = max(0, wide) * max(0, high) / ((x2 - x1) * (y2 - y1))
        assert present[CAR] == (share >= 0.4)
        assert known[CAR] == (share >= 0.4 or share == 0)
        found.add((bool(present[CAR]), bool(known[CAR])))
    assert len(found) > 1


def test_batches_pad_with_nothing(seen):
    plain, other = seen
    for batch in islice(batches(np.random.default_rng(0), plain + other, 8, most=6), 5):
        assert batch.y.shape[2:] == batch.inside.shape[2:]
        assert max(batch.y.shape[2:]) <= 6
        assert (batch.y * (1 - batch.inside)).abs().max() == 0
        assert batch.known.max() == 1


def test_what_is_padded_changes_nothing():
    """A picture alone, and the same beside a larger one in a batch: one answer, as many bits."""
    torch.manual_seed(0)
    network = Recognition(RecognitionConfig(), RecogniserConfig(latent=8, classes=2)).eval()
    with torch.no_grad():
        network.gains.log_gain.fill_(2.0)
    rng = np.random.default_rng(0)
    flags = np.ones(2, bool)
    small, large = (
        rng.integers(-40, 40, (8, *size)).astype(np.int8) for size in ((9, 6), (12, 14))
    )
    alone, both = (
        collate([(small, flags, flags)]),
        collate([(small, flags, flags), (large, flags, flags)]),
    )
    with torch.inference_mode():
        one = network(alone.y, alone.inside, torch.tensor([0.5]))
        two = network(both.y, both.inside, torch.tensor([0.5, 0.5]))
    assert torch.allclose(one[0][0], two[0][0], atol=1e-4)
    assert torch.allclose(one[1][0], two[1][0], rtol=1e-4)


def test_gradients_reach_the_summary_through_rounding_and_rate():
    torch.manual_seed(0)
    network = Recognition(RecognitionConfig(), RecogniserConfig(latent=8, classes=2)).train()
    y, inside = torch.randn(2, 8, 8, 8), torch.ones(2, 1, 8, 8)
    logits, bits = network(y, inside, torch.tensor([0.0, 1.0]))
    weight = network.summariser.evidence.weight
    for what in (logits, bits):
        (gradient,) = torch.autograd.grad(what.sum(), weight, retain_graph=True)
        assert gradient.abs().max() > 0
    network.eval()
    assert torch.allclose(
        network(y, inside, torch.tensor([0.0, 1.0]))[1], bits
    )  # those of integers


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (64, 64)])
def test_a_summary_of_any_size_is_recognised(size):
    network = Recogniser(RecogniserConfig(latent=4, classes=3)).eval()
    with torch.inference_mode():
        assert network(torch.rand(2, 4, *size)).shape == (2, 3)


def test_a_network_that_knows_scores_one(seen):
    """Scored on latents that say by themselves what is in view."""

    class Knows(Recognition):
        def forward(self, y, inside, quality):
            return y[:, :2].mean((2, 3)), torch.full((len(y),), 80.0)

    network = Knows(RecognitionConfig(), RecogniserConfig(latent=64, classes=2)).eval()

    def told(glance: Glance) -> Glance:
        y = np.full_like(glance.y, -9)
        y[CAR] = 9
        return Glance(y, glance.sample)

    figures = score(network, [told(g) for g in seen[0]], 0.5, CPU)
    assert figures == {"quality": 0.5, "bits_estimate": 80.0, "presence_map": 1.0}
