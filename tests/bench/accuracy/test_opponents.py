from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch

from bench.accuracy.opponents import GRID, Source, Uncompressed, image_codecs
from bench.accuracy.peer import SCALES, LearnedPeer
from common.errors import BadSettings
from edge.capture.picture import Picture
from tests.train.scenes import make_folder
from tests.weights import photograph
from train.codecs import CODECS
from train.peer import PeerConfig, PeerRecipe, train_peers

SOURCE = Source(12_345, Picture.whole(photograph(np.random.default_rng(0), 96, 128)))


def test_every_codec_has_a_grid_from_poor_to_good():
    assert set(GRID) == set(CODECS)
    for opponent in image_codecs():
        shown = opponent.show(SOURCE)
        assert len(shown) == len(opponent.settings) >= 10
        for scale, qualities in GRID[opponent.name].items():
            sizes = [one.size for one in shown if one.pixels.shape[0] == round(96 * scale)]
            assert sizes == sorted(set(sizes))
            assert len(sizes) == len(qualities)
        for one, (_, of_source) in zip(shown, opponent.settings, strict=True):
            assert one.payload <= one.size
            side = float(of_source)
            assert one.pixels.shape == (round(96 * side), round(128 * side), 3)


def test_uncompressed_is_the_file():
    (one,) = Uncompressed().show(SOURCE)
    assert one.size == one.payload == 12_345
    assert one.pixels is SOURCE.picture.pixels


@pytest.mark.skipif(
    find_spec("compressai") is None, reason="wheels for some Pythons only: the extra `peer`"
)
def test_the_learned_peer_codes_at_every_lambda_and_scale(tmp_path):
    recipe = PeerRecipe(minutes=0.0, config=PeerConfig(8, 12))
    data = make_folder(tmp_path / "data")
    assert train_peers(recipe, (0.01, 0.001), data, tmp_path / "run", torch.device("cpu"))
    peer = LearnedPeer(tmp_path / "run")
    shown = peer.show(SOURCE)
    assert len(shown) == len(peer.settings) == 2 * len(SCALES)
    assert peer.settings[0] == ("lambda 0.01", "1")
    assert shown[0].pixels.shape == (96, 128, 3)
    assert shown[2].pixels.shape == (48, 64, 3)
    assert all(one.size == one.payload > 6 for one in shown)
    before = peer.about()
    torch.save(torch.load(tmp_path / "run" / "0.01" / "last.pt") | {"step": 9}, tmp_path / "other")
    (tmp_path / "other").replace(tmp_path / "run" / "0.01" / "last.pt")
    assert peer.about() != before  # another network: what was kept of this one does not count


def test_no_peer_is_said(tmp_path):
    with pytest.raises(BadSettings, match="train peer"):
        LearnedPeer(tmp_path)
