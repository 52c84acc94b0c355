from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch

from common.errors import BadSettings
from tests.train.scenes import make_folder
from tests.weights import photograph
from train.peer import (
    Crops,
    Peer,
    PeerConfig,
    PeerRecipe,
    compress,
    decompress,
    load_peers,
    shares,
    train_peers,
)

pytestmark = pytest.mark.skipif(
    find_spec("compressai") is None, reason="wheels for some Pythons only: the extra `peer`"
)

CPU = torch.device("cpu")
SMALL = PeerRecipe(minutes=0.04, batch=2, size=64, config=PeerConfig(8, 12))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("peer")
    assert train_peers(SMALL, (0.01, 0.001), data, folder, CPU)
    return folder


def test_a_run_makes_a_network_for_each_lambda(run):
    assert list(load_peers(run)) == [0.01, 0.001]
    states = [torch.load(run / name / "last.pt", weights_only=True) for name in ("0.01", "0.001")]
    assert all(state["step"] > 0 for state in states)
    assert [state["recipe"]["lmbda"] for state in states] == [0.01, 0.001]


def test_real_bytes_come_back_as_the_network_sees_them():
    """The coder's bytes hold what the forward pass estimates, and decode to what it shows."""
    model = _after(300)
    picture = photograph(np.random.default_rng(0), 100, 150)
    data = compress(model, picture)
    shown = decompress(model, data)
    assert shown.shape == picture.shape
    padded = np.pad(picture, ((0, 28), (0, 42), (0, 0)), mode="edge")
    x = torch.from_numpy(padded).permute(2, 0, 1)[None].float().div(255)
    with torch.inference_mode():
        x_hat, bits = model(x)
    estimate, ends = float(bits) / 8, 2 * (8 + 4)  # two strings: the coder's state, in whole words
    assert 0.98 * estimate <= len(data) - 6 <= 1.02 * estimate + ends
    wanted = x_hat.clamp(0, 1)[0, :, :100, :150].permute(1, 2, 0).mul(255)
    assert np.abs(wanted.numpy() - shown).max() <= 3  # bfloat16 inside


def _after(steps: int) -> Peer:
    """A peer after so many steps, whatever the machine's speed: a fresh one's tables are too short
    for its latents, and what is beyond them takes other bytes than are estimated."""
    torch.manual_seed(0)
    peer = Peer(SMALL.config)
    optimizer = torch.optim.Adam(peer.parameters(), lr=SMALL.learning_rate)
    pictures = [photograph(np.random.default_rng(seed), 96, 128) for seed in range(8)]
    for _, crops in zip(range(steps), Crops(pictures, SMALL.batch, SMALL.size, 0), strict=False):
        x = crops.float().div(255)
        x_hat, bits = peer(x)
        loss = SMALL.lmbda * 255**2 * (x_hat - x).square().mean() + bits.mean() / SMALL.size**2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return peer.ready()


def test_a_stopped_run_goes_on_and_an_unfinished_one_is_refused(data, run, tmp_path):
    state = torch.load(run / "0.01" / "last.pt", weights_only=True)
    (tmp_path / "0.01").mkdir()
    torch.save(state | {"elapsed": 0.0}, tmp_path / "0.01" / "last.pt")
    with pytest.raises(BadSettings, match="not finished"):
        load_peers(tmp_path)
    assert train_peers(SMALL, [0.01], data, tmp_path, CPU)
    again = torch.load(tmp_path / "0.01" / "last.pt", weights_only=True)
    assert again["step"] > state["step"]
    assert list(load_peers(tmp_path)) == [0.01]


def test_no_run_is_said(tmp_path):
    with pytest.raises(BadSettings, match="train peer"):
        load_peers(tmp_path)


def test_crops_are_parts_of_pictures_at_many_scales():
    rng = np.random.default_rng(0)
    pictures = [photograph(rng, 100, 140), photograph(rng, 40, 90)]  # one smaller than a crop
    x = next(iter(Crops(pictures, 16, 64, 0)))
    assert x.shape == (16, 3, 64, 64)
    assert x.dtype == torch.uint8
    assert len({crop.numpy().tobytes() for crop in x}) == 16


def test_the_minutes_are_shared_out():
    assert shares(1) == [1.0]
    assert shares(3) == [0.5, 0.25, 0.25]


def test_the_architecture_is_the_zoos():
    peer = Peer(PeerConfig())
    assert peer.codec.g_a[0].weight.shape == (128, 3, 5, 5)
    assert peer.codec.g_a[6].weight.shape[0] == 192
    assert 6e6 < sum(p.numel() for p in peer.parameters()) < 8e6
