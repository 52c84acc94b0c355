"""The promise that a layer written once is read for ever.

`tables.npz` is a small entropy model, `layers.json` holds layers coded with it and, for each, the
SHA-256 of the integers inside. Both are read here, never made: whoever holds stored layers holds
bytes like these. **A byte that changes is a breaking release**: it needs a new bitstream version.
Only then, rewrite and review the difference:

    python -m tests.golden.test_bitstream --rewrite-golden
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.codec import MachineCodec
from common.coding.contexts import Ints
from common.coding.entropy import EntropyModel
from common.geometry import latent_size, working_size

HERE = Path(__file__).parent
TABLES = HERE / "tables.npz"
LAYERS = HERE / "layers.json"

MODEL_ID = 0x601D
CHANNELS = 6
CASES: dict[str, dict[str, int]] = {
    "empty": {"width": 640, "height": 480, "side": 320, "quality": 0, "density": 0},
    "sparse": {"width": 640, "height": 480, "side": 320, "quality": 20, "density": 40},
    "usual": {"width": 1920, "height": 1080, "side": 416, "quality": 128, "density": 120},
    "recognise": {"width": 333, "height": 77, "side": 512, "quality": 180, "density": 200}
    | {"profile": 1, "ivn": 9},
    "dense": {"width": 64, "height": 128, "side": 96, "quality": 255, "density": 1000},
    "one position": {"width": 1, "height": 1, "side": 32, "quality": 64, "density": 1000},
    "extremes": {"width": 80, "height": 48, "side": 96, "quality": 200, "density": 1000}
    | {"shift": 15},
}


def golden_latent(name: str, size: tuple[int, int], density: int, shift: int = 3) -> Ints:
    """int16 M h w from integer arithmetic only (a linear congruential generator).

    density  nonzeros per thousand, shift  magnitudes stay below 2**shift
    """
    state = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    values = []
    for _ in range(CHANNELS * size[0] * size[1]):
        state = (state * 1664525 + 1013904223) % 2**32
        hit = (state >> 8) % 1000 < density
        magnitude = 1 + (state >> 18) % (2**shift - 1) if state >> 5 & 7 == 0 else 1
        values.append((-magnitude if state >> 16 & 1 else magnitude) if hit else 0)
    return np.array(values, dtype=np.int16).reshape(CHANNELS, *size)


def golden_codec() -> MachineCodec:
    with np.load(TABLES) as arrays:
        return MachineCodec(EntropyModel.from_arrays(dict(arrays)), MODEL_ID)


def latent_of(case: dict[str, int], name: str) -> tuple[Ints, dict[str, int]]:
    """Return y and the header's fields."""
    fields = {k: v for k, v in case.items() if k not in ("density", "shift")}
    size = latent_size(*working_size(case["width"], case["height"], case["side"]))
    return golden_latent(name, size, case["density"], case.get("shift", 3)), fields


def digest(y: Ints) -> str:
    return hashlib.sha256(y.astype(">i2").tobytes()).hexdigest()


@pytest.mark.parametrize("name", CASES)
def test_a_stored_layer_reads_as_it_always_did(name: str) -> None:
    want = json.loads(LAYERS.read_text())[name]
    coded = golden_codec().decode(bytes.fromhex(want["layer"]))
    header, y = coded.header, coded.y
    for key, value in want["header"].items():
        assert getattr(header, key) == value
    assert y.shape == (CHANNELS, *header.latent_size)
    assert digest(y) == want["integers_sha256"]


@pytest.mark.parametrize("name", CASES)
def test_a_layer_is_written_as_it_always_was(name: str) -> None:
    y, fields = latent_of(CASES[name], name)
    layer = golden_codec().encode(y, **fields).data
    assert layer.hex() == json.loads(LAYERS.read_text())[name]["layer"]


def test_no_golden_layer_is_without_a_case() -> None:
    assert list(json.loads(LAYERS.read_text())) == list(CASES)


def rewrite() -> None:
    """Make tables.npz and layers.json anew. This breaks every stored layer: see the head."""
    training = [
        (profile, quality, golden_latent(f"train {profile} {quality} {i}", (8, 10), 20 + quality))
        for profile in (0, 1)
        for quality in range(16, 256, 32)
        for i in range(3)
    ]
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **EntropyModel.count(training, CHANNELS).to_arrays())
    TABLES.write_bytes(buffer.getvalue())
    layers: dict[str, Any] = {}
    for name, case in CASES.items():
        y, fields = latent_of(case, name)
        layers[name] = {
            "header": fields,
            "integers_sha256": digest(y),
            "layer": golden_codec().encode(y, **fields).data.hex(),
        }
    LAYERS.write_text(json.dumps(layers, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="golden layers")
    parser.add_argument("--rewrite-golden", action="store_true", required=True)
    parser.parse_args()
    rewrite()
