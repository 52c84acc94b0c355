from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from cloud.models.detector import DetectorConfig, select
from cloud.models.machine import Gains, MachineConfig, MachineModel, RateProxy
from tests.train.scenes import make_folder
from train.data import Augment, Canvases, CocoFolder
from train.evaluate import score
from train.machine import Network, Recipe, load_network, prepared, step, train

CPU = torch.device("cpu")
SMALL = Recipe(minutes=0.03, batch=2, size=64, evaluate_images=2, save_every=10, evaluate_every=10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("scenes"))


def test_a_run_trains_logs_saves_and_goes_on(folder, tmp_path):
    run = train(SMALL, folder, tmp_path, None, CPU)
    assert run.step > 0
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["quality"] for row in log if "quality" in row] == [0.0, 0.4, 1.0]
    longer = Recipe(**(vars(SMALL) | {"minutes": run.elapsed / 60 + 0.02}))
    again = train(longer, folder, tmp_path, None, CPU)
    assert again.step > run.step
    assert again.elapsed > run.elapsed
    network, state = load_network(tmp_path)
    assert state["step"] == again.step
    x = torch.rand(1, 3, 64, 96)
    first = network(x, torch.tensor([0.5]))[0]
    assert torch.equal(first, network(x, torch.tensor([0.5]))[0])


def test_a_pixel_run_starts_a_machine_run(folder, tmp_path):
    pixel = Recipe(**(vars(SMALL) | {"bottleneck": False}))
    train(pixel, folder, tmp_path / "pixel", None, CPU)
    start = tmp_path / "pixel" / "last.pt"
    machine = Recipe(**(vars(SMALL) | {"minutes": 0.0}))
    run = train(machine, folder, tmp_path / "machine", start, CPU)
    wanted = torch.load(start, weights_only=True)["average"]
    for name, value in run.network.state_dict().items():
        assert torch.equal(value, wanted[name]), name


def test_a_run_goes_on_with_data_of_other_classes(folder, tmp_path):
    pixel = Recipe(**(vars(SMALL) | {"bottleneck": False}))
    run = train(pixel, folder, tmp_path / "two", None, CPU)
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    for split in ("train", "val"):
        index = json.loads((other / f"{split}.json").read_text())
        index["categories"].append({"id": 9, "name": "horse"})
        (other / f"{split}.json").write_text(json.dumps(index))
    nothing = Recipe(**(vars(pixel) | {"minutes": 0.0}))
    onward = train(nothing, other, tmp_path / "three", tmp_path / "two" / "last.pt", CPU)
    assert onward.network.detector.config.classes == 3
    wanted = run.average.state_dict()
    anew = {k for k, v in onward.network.state_dict().items() if not torch.equal(v, wanted[k])}
    assert {k.split(".")[3:][0] for k in anew} == {"score"}
    assert len(anew) == 6  # weight and bias of three heads


def test_a_codec_comes_to_find_what_its_teacher_finds(folder, tmp_path):
    torch.manual_seed(0)
    data = CocoFolder(folder, "train")
    run = prepared(
        Recipe(**(vars(SMALL) | {"learning_rate": 0.02})), tmp_path, len(data.labels), None, CPU
    )
    teacher = Network(MachineConfig(), DetectorConfig(classes=len(data.labels))).eval()
    bias = teacher.get_parameter("detector.heads.1.score.1.bias")
    bias.data[0] = 2.0  # it sees the first class at every anchor of this head
    batch = next(iter(Canvases(data.samples, Augment(64, 0.0, len(data.labels)), 2, seed=0)))
    its_anchors = slice(64, 80)

    def seen():
        x = batch.x.float() / 255
        with torch.no_grad():
            return run.network(x, torch.ones(len(x)))[0][:, its_anchors, 0].sigmoid().mean()

    before = seen()
    for _ in range(40):
        step(run, batch, teacher)
    assert before < 0.02
    assert seen() > 0.2


def test_a_single_rate_model_trains_at_one_quality_from_a_codec_with_its_rate_kept(
    folder, tmp_path
):
    train(SMALL, folder, tmp_path / "all", None, CPU)
    one = Recipe(**(vars(SMALL) | {"quality": 0.25}))
    run = train(one, folder, tmp_path / "one", tmp_path / "all" / "last.pt", CPU)
    log = [json.loads(line) for line in (tmp_path / "one/log.jsonl").read_text().splitlines()]
    assert [row["quality"] for row in log if "quality" in row] == [0.25]
    moved = (run.network.machine.gains.log_gain - _gains(tmp_path / "all")).detach().abs()
    assert moved[0, 3:].max() < moved[0, 1:3].max()  # 0.25 lies between the second and third
    assert run.recipe.rate_ramp == 0  # a codec that goes on is not let loose
    begun, ended = (
        network.state_dict()["machine.encoder.normalise.running_var"]
        for network in (load_network(tmp_path / "all")[0], run.network)
    )
    assert torch.equal(begun, ended)  # and its latents keep their scale


def _gains(folder):
    state = torch.load(folder / "last.pt", weights_only=True)
    return state["average"]["machine.gains.log_gain"]


def test_rounding_passes_gradients_and_counts_real_integers():
    torch.manual_seed(0)
    model = MachineModel(MachineConfig(latent=8)).train()
    y = torch.randn(2, 8, 4, 6, requires_grad=True)
    y_hat, bits, integers = model.quantise(y, 0, torch.tensor([0.0, 1.0]))
    assert torch.equal(integers, integers.round())
    (y_hat.sum() + bits.sum()).backward()
    assert y.grad is not None
    assert (y.grad != 0).any()
    model.eval()
    again = model.quantise(y, 0, torch.tensor([0.0, 1.0]))
    assert torch.equal(again[2], integers)
    assert torch.allclose(again[1], bits)  # the value in training is that of the hard bits


def test_what_drifts_within_the_hold_stays_and_costs_next_to_nothing():
    torch.manual_seed(0)
    model = MachineModel(MachineConfig(latent=8)).train()
    y, quality = torch.randn(1, 8, 4, 6), torch.tensor([1.0])
    gain, _ = model.gains(0, quality)
    last = (y * gain).round()
    near = (last + 0.65 * torch.sign(torch.randn_like(y))) / gain
    assert torch.equal(model.quantise_inter(near, last, 0.7, 0, quality)[2], last)
    assert not torch.equal(model.quantise_inter(near, last, 0.5, 0, quality)[2], last)
    changed = near.detach().clone().requires_grad_()
    y_hat, bits, _ = model.quantise_inter(changed, last, 0.6, 0, quality)
    (y_hat.sum() + bits.sum()).backward()
    assert (changed.grad != 0).all()
    still = model.quantise_inter(last / gain, last, 0.7, 0, quality)[1]
    assert still < 0.5 * bits


def test_gains_are_exponential_between_anchors():
    gains = Gains(MachineConfig(latent=3, levels=3))
    with torch.no_grad():
        gains.log_gain[0, :, 0] = torch.tensor([0.0, 2.0, 4.0])
    gain, inverse = gains(0, torch.tensor([0.0, 0.25, 1.0]))
    assert torch.allclose(gain[:, 0, 0, 0].log(), torch.tensor([0.0, 1.0, 4.0]), atol=1e-5)
    assert gain.shape == inverse.shape == (3, 3, 1, 1)


def test_the_rate_proxy_is_a_distribution_and_causal():
    values = torch.arange(-200.0, 201)
    for scale in (0.1, 1.0, 10.0):
        mass = torch.exp2(-RateProxy.bits(values, torch.tensor(scale))).sum()
        assert torch.isclose(mass, torch.tensor(1.0), atol=1e-4), scale
    proxy = RateProxy(2)
    torch.nn.init.normal_(proxy.context.weight)
    one, two = torch.zeros(1, 2, 5, 5), torch.zeros(1, 2, 5, 5)
    two[0, 0, 2, 2] = 7
    same = (proxy.scales(one) == proxy.scales(two)).all(1)[0].flatten()
    assert same[: 2 * 5 + 3].all()  # nothing up to and including the place itself
    assert not same[2 * 5 + 3]


@pytest.mark.parametrize("size", [(16, 16), (48, 80), (368, 640)])
def test_any_multiple_of_sixteen_goes_through(size):
    network = Network(MachineConfig(latent=4), DetectorConfig(latent=4, classes=2)).eval()
    with torch.inference_mode():
        logits, boxes, _ = network(torch.rand(1, 3, *size), None)
    assert logits.shape[1] == boxes.shape[1]
    assert logits.shape[2] == 2


def test_select_keeps_the_best_of_overlapping_boxes_of_one_label():
    logits = torch.tensor([[3.0, -9], [2.0, -9], [-9, 2.5], [1.0, -9]])
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 10], [50, 50, 60, 60]])
    scores, labels, corners = select(logits, boxes)
    assert labels.tolist() == [0, 1, 0]
    assert corners.tolist() == [[0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 60, 60]]
    assert sorted(scores, reverse=True) == list(scores)


def test_select_of_nothing_is_empty():
    scores, labels, corners = select(torch.full((3, 2), -20.0), torch.zeros(3, 4))
    assert len(scores) == len(labels) == len(corners) == 0


def test_a_class_is_not_scored_where_it_is_not_labelled(folder):
    """Perfect boxes score 1; a false person on the picture without person labels costs nothing."""
    index = json.loads((folder / "val.json").read_text())
    truth = [
        {"image_id": a["image_id"], "category_id": 1, "bbox": a["bbox"], "score": 0.9}
        for a in index["annotations"]
        if not a["iscrowd"]
    ]
    ids = [image["id"] for image in index["images"]]
    assert score(folder / "val.json", ids, truth, [1, 2])["map"] == pytest.approx(1.0)
    false = {"image_id": 2, "category_id": 0, "bbox": [0, 0, 9, 9], "score": 0.99}
    assert score(folder / "val.json", ids, [*truth, false], [1, 2])["map"] == pytest.approx(1.0)
    wrong = [row | {"bbox": [60, 40, 9, 9]} for row in truth]
    assert score(folder / "val.json", ids, wrong, [1, 2])["map"] < 0.01


@pytest.mark.parametrize("name", ["SIGTERM", pytest.param("SIGINT", marks=pytest.mark.slow)])
def test_a_signal_to_all_its_processes_ends_a_run_in_order(folder, tmp_path, name):
    """Ctrl-C in a terminal, or a service that is stopped: workers get it too."""
    out = tmp_path / "run"
    words = ["pixel", "--data", folder, "--out", out, "--minutes", "60", "--batch", "2"]
    with subprocess.Popen(
        [sys.executable, "-m", "train", *map(str, words)], start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            until = time.monotonic() + 100
            while not (out / "log.jsonl").exists() and time.monotonic() < until:
                time.sleep(0.2)
            os.killpg(process.pid, getattr(signal, name))
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, err
    assert load_network(out)[1]["step"] >= 50  # when the first line was logged
