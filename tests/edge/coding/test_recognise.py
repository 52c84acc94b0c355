"""The task profile `recognise` on the edge: a summary of the latent is what is coded."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from common.bitstream import RECOGNISE, unpack
from common.codec import MachineCodec
from common.errors import BadSettings, ModelMismatch
from common.geometry import pooled_size
from common.manifest import Manifest
from edge.capture.picture import Picture
from edge.coding.chain import Chain
from edge.coding.encoder import Encoder, quantise
from edge.coding.weights import EdgeWeights, load_weights
from edge.rate import Plan
from tests.recogniser import FACTOR, add_recogniser
from tests.weights import photograph


@pytest.fixture(scope="module")
def folder(weights_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("recognise") / "weights"
    add_recogniser(weights_folder, made)
    return made


@pytest.fixture(scope="module")
def both(folder: Path) -> EdgeWeights:
    return load_weights(folder)


@pytest.fixture(scope="module")
def encoder(both: EdgeWeights) -> Encoder:
    return Encoder(both, threads=1, side=320)


def picture(height: int, width: int, seed: int = 1) -> Picture:
    return Picture.whole(photograph(np.random.default_rng(seed), height, width))


@pytest.mark.parametrize("size", [(240, 320), (16, 16), (1, 1), (100, 333)])
def test_a_layer_holds_the_rounded_summary(
    encoder: Encoder, both: EdgeWeights, size: tuple[int, int]
) -> None:
    manifest = both.manifest
    codec = MachineCodec(both.entropy, manifest.model_id, factors=manifest.factors)
    analysis = encoder.analyse(picture(*size))
    for quality in (0.0, 0.5, 1.0):
        coded = codec.decode(encoder.layer(analysis, quality, RECOGNISE))
        summary = both.summaries[RECOGNISE].of(analysis.y)
        wanted = quantise(summary, both.log_gain[RECOGNISE], round(quality * 255))
        np.testing.assert_array_equal(coded.y, wanted)
        np.testing.assert_array_equal(coded.y, encoder.integers(analysis, quality, RECOGNISE))
        assert coded.header.profile == RECOGNISE
        assert coded.y.shape[1:] == pooled_size((analysis.y.shape[1], analysis.y.shape[2]), FACTOR)


def test_detect_layers_are_as_they_would_be_without_it(
    encoder: Encoder, weights: EdgeWeights
) -> None:
    plain = Encoder(weights, threads=1, side=320)
    analysis = encoder.analyse(picture(240, 320))
    with_it, without = (e.layer(analysis, 0.5) for e in (encoder, plain))
    assert unpack(with_it, None)[1] == unpack(without, None)[1]


def test_the_best_layer_within_so_many_bytes(encoder: Encoder) -> None:
    analysis = encoder.analyse(picture(240, 320))
    least, most = (len(encoder.layer(analysis, q, RECOGNISE)) for q in (0.0, 1.0))
    for room in (least, (least + most) // 2, most):
        layer = encoder.layer_within(analysis, room, RECOGNISE)
        assert len(layer) <= room
        better = unpack(layer, None)[0].quality + 1
        assert better > 255 or len(encoder.layer(analysis, better / 255, RECOGNISE)) > room


def test_a_chain_leans_on_layers_of_its_own_profile_only(encoder: Encoder) -> None:
    chain, plan = Chain(encoder), Plan(128, 128)
    analysis = encoder.analyse(picture(240, 320))
    assert chain.code(analysis, plan, RECOGNISE).place == 1
    assert chain.code(analysis, plan, 0).place == 1
    assert chain.code(analysis, plan, RECOGNISE).place == 1


def test_profiles_go_by_name(encoder: Encoder, weights: EdgeWeights) -> None:
    assert (encoder.profile("detect"), encoder.profile("recognise")) == (0, RECOGNISE)
    with pytest.raises(BadSettings, match=r"recognise: these weights have detect"):
        Encoder(weights, threads=1).profile("recognise")


def rebuilt(folder: Path, target: Path, **files: bytes) -> Path:
    """The folder with some files' contents changed and a manifest that says so."""
    old = Manifest.parse((folder / "manifest.json").read_bytes())
    contents = {name: (folder / name).read_bytes() for name in old.files} | {
        name.replace("_", "."): data for name, data in files.items()
    }
    made = Manifest.build(
        contents, name="x", codec=old.codec, labels=old.labels, profiles=old.profiles
    )
    target.mkdir()
    for name, data in contents.items():
        (target / name).write_bytes(data)
    (target / "manifest.json").write_bytes(made.to_json())
    return target


def arrays(**named: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **named)
    return buffer.getvalue()


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no archive",
        npy(np.zeros((16, 16))),
        arrays(weight=np.zeros((16, 16))),
        arrays(weight=np.zeros((16, 15)), bias=np.zeros(16)),
        arrays(weight=np.zeros((8, 8)), bias=np.zeros(8)),
    ],
    ids=["empty", "text", "one array", "no bias", "another shape", "another latent"],
)
def test_a_summary_that_does_not_fit_is_named(folder: Path, tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ModelMismatch, match=r"recognise\.npz"):
        load_weights(rebuilt(folder, tmp_path / "bad", recognise_npz=content))


def test_gains_of_one_profile_do_not_do_for_two(folder: Path, tmp_path: Path) -> None:
    bad = rebuilt(folder, tmp_path / "bad", gains_npy=npy(np.zeros((1, 4, 16), np.float32)))
    with pytest.raises(ModelMismatch, match="2 profiles"):
        load_weights(bad)


def edge(*arguments: object, weights: Path) -> subprocess.CompletedProcess[str]:
    own = {name: v for name, v in os.environ.items() if not name.startswith("GLIMPSE_")}
    return subprocess.run(
        [sys.executable, "-m", "edge.main", *map(str, arguments)],
        cwd=Path(__file__).parents[3],
        env=own | {"GLIMPSE_EDGE_WEIGHTS": str(weights)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_encode_and_inspect_by_profile(folder: Path, weights_folder: Path, tmp_path: Path) -> None:
    photo = tmp_path / "a.png"
    Image.fromarray(photograph(np.random.default_rng(5), 120, 160)).save(photo)
    options = ["--profile", "recognise", "-o", tmp_path]
    done = edge("encode", photo, *options, weights=folder)
    assert (done.returncode, done.stderr) == (0, "")
    done = edge("inspect", tmp_path / "a.glimpse", "--json", weights=folder)
    found = json.loads(done.stdout)
    assert (found["profile"], found["latent"]) == (RECOGNISE, [2, 3])
    assert found["nonzero"] is not None
    done = edge("encode", photo, *options, weights=weights_folder)
    assert done.returncode == 2
    assert "these weights have detect" in done.stderr
