"""The human decoder's training, from pictures to a folder that the cloud loads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cloud.models.fusion import FusionConfig
from cloud.pictures.human import HumanDecoder
from common.codec import MachineCodec
from common.coding.coefficients import CoefficientModel
from common.coding.entropy import EntropyModel
from edge.pictures.auxiliary import AuxiliaryEncoder
from tests.human import made, tiny_tables
from tests.train.scenes import make_folder
from tests.weights import tiny_weights
from train import auxiliary, crops, fusion, human, machine, prior
from train.seen import EDGES, apart

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for i in range(4):
        Image.fromarray(made(rng, 280, 300)).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def below(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine run that has hardly begun."""
    root = tmp_path_factory.mktemp("machine")
    data = make_folder(root / "data")
    recipe = machine.Recipe(minutes=1e-4, batch=2, size=64, evaluate_images=1)
    machine.train(recipe, data, root / "run", None, CPU)
    return root / "run"


def test_a_crop_has_what_the_cloud_would_have(pictures: Path) -> None:
    files = crops.pictures([pictures])
    batch = next(iter(crops.CropStream(files, [], size=128, batch=3, seed=0, model=tiny_tables())))
    assert batch.now.shape == batch.decoded.shape == batch.before.shape == (3, 3, 128, 128)
    assert batch.now.dtype == torch.uint8
    again = next(iter(crops.CropStream(files, [], size=128, batch=3, seed=0, model=tiny_tables())))
    assert torch.equal(batch.before, again.before)


def test_what_is_marked_comes_and_goes_and_nothing_else_changes(tmp_path: Path) -> None:
    data = make_folder(tmp_path / "data", pictures=24, size=(160, 96))
    marked = crops.marked(data)
    assert sorted(marked) == crops.pictures([data / "train"])  # each has a car
    rng = np.random.default_rng(0)
    gone = 0
    for path, boxes in marked.items():
        now = crops.read(path)
        before = crops.without(rng, now, boxes)
        [(x, y, right, low)] = boxes.astype(int)
        changed = (before != now).any(2)
        gone += changed[y + 4 : low - 4, x + 4 : right - 4].all()
        changed[max(y - 12, 0) : low + 12, max(x - 50, 0) : right + 50] = False
        assert not changed.any()  # far from it
    assert 8 <= gone <= 20  # of 24; some were elsewhere, some where they are


def test_a_better_auxiliary_layer_is_nearer_in_training_too() -> None:
    pixels = made(np.random.default_rng(1), 128, 128)
    errors = [
        np.abs(crops.coded(pixels, q, tiny_tables()).astype(float) - pixels).mean()
        for q in (0, 120, 255)
    ]
    assert errors == sorted(errors, reverse=True)


def test_a_folder_without_pictures_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no pictures"):
        crops.pictures([tmp_path])


def test_from_pictures_to_a_decoder(pictures: Path, below: Path, tmp_path: Path) -> None:
    sights = list(auxiliary.sights([pictures], below, 3))
    model = auxiliary.fit(sights)
    CoefficientModel.from_arrays(model.to_arrays())
    human.write_tables(model, tmp_path / "auxiliary")

    recipe = fusion.Recipe(minutes=1e-4, batch=2, size=192)
    runs = below, tmp_path / "auxiliary"
    data = make_folder(tmp_path / "marked")
    folders = [pictures, data / "train"]
    run = fusion.train(recipe, folders, [], *runs, tmp_path / "fusion", CPU, data=data)
    assert run.step >= 1
    recipe = fusion.Recipe(minutes=1e-4, batch=2, size=192)
    again = fusion.train(recipe, [pictures], [], *runs, run.folder, CPU)
    assert again.step == run.step  # it was finished, and is taken up there

    refining = prior.Recipe(minutes=1e-4, batch=2, size=64, crops=2, crop_size=192, finish=0.0)
    refined = prior.train(refining, [pictures], [], *runs, run.folder, tmp_path / "prior", CPU)
    still = prior.Recipe(**(vars(refining) | {"minutes": 0.0}))
    start = refined.folder / "last.pt"
    refining_on = prior.train(still, [pictures], [], *runs, run.folder, tmp_path / "on", CPU, start)
    for name, value in refining_on.network.state_dict().items():
        assert torch.equal(value, refined.average.state_dict()[name]), name
    assert refined.step >= 1

    weights = tmp_path / "weights"
    tiny_weights(weights)
    manifest = human.export(
        below, tmp_path / "auxiliary", run.folder, refined.folder, weights, "made-in-a-test"
    )
    assert any(name.startswith("prior/unet/") for name in manifest.beside)
    decoder = HumanDecoder.load(weights / "human", "cpu")
    assert decoder.refines
    assert decoder.model_id == manifest.model_id
    assert decoder.version == "made-in-a-test"
    shipped = weights / "human" / "fusion.safetensors"
    nothing = fusion.Recipe(minutes=0, batch=2, size=192)
    onward = fusion.train(nothing, [pictures], [], *runs, tmp_path / "onward", CPU, shipped)
    wanted = run.average.state_dict()
    for name, value in onward.network.state_dict().items():
        assert torch.allclose(value, wanted[name], atol=1e-3), name
    own = weights / "human" / "prior"
    refining_on = prior.train(still, [pictures], [], *runs, run.folder, tmp_path / "own", CPU, own)
    for name, value in refining_on.network.prior.state_dict().items():
        assert torch.allclose(value, refined.average.prior.state_dict()[name], atol=1e-3), name
    network, _ = machine.load_network(below)
    channels = network.machine.config.latent
    codec = MachineCodec(
        EntropyModel.count([(0, 0, np.zeros((channels, 4, 4), np.int16))], channels),
        decoder.machine_id,
    )
    base = codec.encode(
        np.zeros((channels, 6, 8), np.int16), width=128, height=96, side=128, quality=50
    )
    encoder = AuxiliaryEncoder.load(weights, side=128)
    assert encoder is not None
    pixels = made(np.random.default_rng(2))
    layer = encoder.encode(pixels, base, 240)
    restored = decoder.restore(base, layer, steps=1, fidelity=1.0)
    assert restored.pixels.shape == pixels.shape
    assert np.abs(restored.pixels.astype(float) - pixels).mean() < 12


def test_fusion_learns(pictures: Path, below: Path, tmp_path: Path) -> None:
    """Some steps on one batch, machine latents alone, lower its loss."""
    torch.manual_seed(0)
    recipe = fusion.Recipe(learning_rate=1e-3, auxiliary=0.0, alone=1.0)
    network = fusion.Restorer(FusionConfig(widths=(16, 16, 16), depths=(1, 1, 1)))
    optimizer = torch.optim.AdamW(network.parameters())
    run = fusion.FusionRun(tmp_path, recipe, network, network, optimizer, CPU, step=200)
    base = machine.load_network(below)[0].machine
    files = crops.pictures([pictures])
    stream = crops.CropStream(files, [], size=192, batch=2, seed=0, model=tiny_tables())
    batch = next(iter(stream))
    losses = [float(fusion._step(run, base, batch)[0]) for _ in range(30)]
    assert losses[-1] < losses[0] - 0.05


def test_likeness_is_one_for_the_same_and_falls() -> None:
    rng = np.random.default_rng(3)
    x = torch.from_numpy(made(rng, 128, 128)).permute(2, 0, 1)[None, :1].float() / 255
    assert float(fusion.likeness(x, x)) == pytest.approx(1, abs=1e-4)
    noisy = [float(fusion.likeness(x, x + s * torch.randn_like(x))) for s in (0.02, 0.1, 0.4)]
    assert 1 > noisy[0] > noisy[1] > noisy[2]


@pytest.mark.parametrize("ends", [EDGES, None])
def test_the_same_is_seen_alike_and_less_the_more_it_differs(
    ends: tuple[int, ...] | None, below: Path
) -> None:
    encoder = machine.load_network(below)[0].machine.encoder.requires_grad_(False)
    only = {} if ends is None else {"ends": ends}
    x = torch.from_numpy(made(np.random.default_rng(4), 128, 128)).permute(2, 0, 1)[None] / 255
    assert float(apart(encoder, x, x, **only)) == 0
    noise = torch.randn_like(x)
    seen = [float(apart(encoder, x + s * noise, x, **only)) for s in (0.01, 0.05, 0.2)]
    assert 0 < seen[0] < seen[1] < seen[2]
    picture = (x + 0.1 * noise).requires_grad_()
    apart(encoder, picture, x, **only).backward()
    assert picture.grad is not None
    assert picture.grad.abs().max() > 0
