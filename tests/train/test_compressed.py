from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch

from tests.train.scenes import make_folder
from train.codecs import CODECS
from train.compressed import QUALITIES, SCALES, CodedPictures, random_setting
from train.data import Augment, Canvases, CocoFolder
from train.machine import Recipe, train


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return CocoFolder(make_folder(tmp_path_factory.mktemp("scenes")), "train").samples


@pytest.fixture(scope="module")
def coded(samples, tmp_path_factory):
    return CodedPictures(samples, tmp_path_factory.mktemp("run") / "coded", copies=2)


def test_each_picture_stands_there_as_it_is_and_coded(samples, coded):
    assert len(coded) == 18
    for at, sample in enumerate(samples):
        first, *copies = (coded[3 * at + k] for k in range(3))
        assert first.pixels is sample.pixels
        for copy in copies:
            assert copy.pixels.shape == sample.pixels.shape
            assert (copy.boxes == sample.boxes).all()
            error = np.abs(copy.pixels.astype(float) - sample.pixels).mean()
            assert 0 < error < 60  # of another picture it would be alike but not the same


def test_a_second_run_codes_nothing_again(samples, coded):
    folder = coded._folder
    written = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    again = CodedPictures(samples, folder, copies=2)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == written
    assert not [path for path in written if path.name.endswith(".part")]
    assert all((a.pixels == b.pixels).all() for a, b in zip(coded, again, strict=True))


def test_canvases_are_made_of_them(coded):
    batch = next(iter(Canvases(coded, Augment(size=64, classes=2), 4, seed=0)))
    assert batch.x.shape == (4, 3, 64, 64)


def test_a_detector_trains_on_them(tmp_path):
    data = make_folder(tmp_path / "data")
    recipe = Recipe(
        bottleneck=False, compressed=True, minutes=0.02, batch=2, size=64, evaluate_images=1
    )
    run = train(recipe, data, tmp_path / "run", None, torch.device("cpu"))
    assert run.step > 0
    assert len(list((tmp_path / "run" / "coded").iterdir())) == 6 * 3


def test_every_codec_and_scale_is_drawn():
    rng = np.random.default_rng(0)
    drawn = list(islice((random_setting(rng) for _ in iter(int, 1)), 500))
    assert {s.codec for s in drawn} == set(QUALITIES) == set(CODECS)
    assert {s.scale for s in drawn} == set(SCALES)
    for s in drawn:
        low, high = sorted(QUALITIES[s.codec])
        assert low <= s.quality <= high
