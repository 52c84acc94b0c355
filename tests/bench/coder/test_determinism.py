"""The whole measurement, small: real processes, real bytes, weights of a random network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.coder.determinism import determinism
from tests.weights import photograph, tiny_weights


def test_nothing_differs_and_every_damaged_layer_ends_well(tmp_path: Path) -> None:
    weights, images = tmp_path / "weights", tmp_path / "images"
    tiny_weights(weights)
    images.mkdir()
    pixels = photograph(np.random.default_rng(1), 96, 128)
    Image.fromarray(pixels).save(images / "a.png")
    (images / "notes.txt").write_text("not a picture")
    determinism(images, tmp_path, weights, latents=40, mutations=200, jobs=1)
    figures = json.loads((tmp_path / "determinism.json").read_text())
    assert figures["latents"]["layers"] == 40
    assert figures["latents"]["mismatches"] == 0
    assert [row["threads"] for row in figures["latents"]["processes"]] == [1, 2, 4]
    assert figures["mutated"]["layers"] == sum(figures["mutated"]["outcomes"].values()) >= 200
    assert figures["mutated"]["outcomes"]["CorruptStream"] > 0
    assert 0 < figures["mutated"]["share_of_memory_bound"] < 1
    encoders = figures["encoders"]
    assert encoders["pictures"] == 1
    assert encoders["layers"] == 3 * (6 + 5)  # sizes, qualities alone, qualities in the chain
    assert encoders["coded_twice"] > 0
    assert encoders["mismatches"] == 0
    assert figures["real_bits"]["all"]["layers"] == encoders["layers"]
    assert figures["real_bits"]["all"]["worst_excess_bytes"] < 1
    assert {group["kind"] for group in figures["real_bits"]["groups"]} == {"intra", "inter"}


def test_a_folder_without_pictures_is_named(tmp_path: Path) -> None:
    tiny_weights(tmp_path / "weights")
    with pytest.raises(FileNotFoundError, match="no pictures in"):
        determinism(tmp_path, tmp_path, tmp_path / "weights", latents=10, mutations=1)
