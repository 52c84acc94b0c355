"""The promise of test_bitstream.py for auxiliary layers: one written once is read for ever.

`auxiliary_tables.npz` is a model counted on a few made pictures, `auxiliary.json` holds layers
coded with it over golden machine layers, and the SHA-256 of the integers inside. **A byte that
changes is a breaking release**. Only then, rewrite and review the difference:

    python -m tests.golden.test_auxiliary --rewrite-golden
"""

from __future__ import annotations

import argparse
import io
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from common.auxiliary import AuxiliaryCodec
from common.codec import Coded
from common.coding.blocks import COEFFICIENTS
from common.coding.coefficients import CoefficientModel
from common.coding.contexts import Ints
from common.geometry import latent_size, working_size
from tests.golden.test_bitstream import CHANNELS, digest, golden_codec, golden_latent
from tests.human import tiny_tables

HERE = Path(__file__).parent
TABLES = HERE / "auxiliary_tables.npz"
LAYERS = HERE / "auxiliary.json"
MODEL_ID = 0xA0A0


@dataclass(frozen=True)
class Case:
    """A layer: sizes, quality, per mille of integers that are not zero, how large they get."""

    width: int
    height: int
    side: int
    quality: int
    density: int
    shift: int = 3


CASES = {
    "empty": Case(64, 48, 64, 0, 0),
    "coarse": Case(160, 120, 160, 20, 10),
    "usual": Case(160, 120, 96, 110, 60),
    "fine": Case(100, 70, 128, 250, 400, 5),
    "extremes": Case(40, 30, 64, 130, 1000, 14),
    "one block": Case(1, 1, 32, 64, 300),
}


def base(name: str, case: Case) -> Coded:
    size = latent_size(*working_size(case.width, case.height, 128))
    y = golden_latent(f"base {name}", size, 40, 3)
    return golden_codec().encode(y, width=case.width, height=case.height, side=128, quality=100)


def integers(name: str, case: Case) -> Ints:
    """h w 384 from integer arithmetic only."""
    h, w = latent_size(*working_size(case.width, case.height, case.side))
    parts = -(-COEFFICIENTS // CHANNELS)
    rows = [
        golden_latent(f"auxiliary {name} {i}", (h, w), case.density, case.shift)
        for i in range(parts)
    ]
    return np.concatenate(rows)[:COEFFICIENTS].transpose(1, 2, 0)


@cache
def codec() -> AuxiliaryCodec:
    with np.load(TABLES) as arrays:
        return AuxiliaryCodec(CoefficientModel.from_arrays(dict(arrays)), MODEL_ID)


def coded(name: str) -> bytes:
    case = CASES[name]
    q = integers(name, case)
    return codec().encode(q, base(name, case), side=case.side, quality=case.quality)


@pytest.mark.parametrize("name", CASES)
def test_a_stored_layer_reads_as_it_always_did(name: str) -> None:
    want = json.loads(LAYERS.read_text())[name]
    header, q = codec().decode(bytes.fromhex(want["layer"]), base(name, CASES[name]))
    case = CASES[name]
    assert (header.width, header.height, header.side) == (case.width, case.height, case.side)
    assert header.quality == case.quality
    assert digest(q) == want["integers_sha256"]


@pytest.mark.parametrize("name", CASES)
def test_a_layer_is_written_as_it_always_was(name: str) -> None:
    assert coded(name).hex() == json.loads(LAYERS.read_text())[name]["layer"]


def test_no_golden_layer_is_without_a_case() -> None:
    assert list(json.loads(LAYERS.read_text())) == list(CASES)


def rewrite() -> None:
    """Make auxiliary_tables.npz and auxiliary.json anew. This breaks every stored layer."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **tiny_tables().to_arrays())
    TABLES.write_bytes(buffer.getvalue())
    codec.cache_clear()
    layers = {
        name: {"layer": coded(name).hex(), "integers_sha256": digest(integers(name, case))}
        for name, case in CASES.items()
    }
    LAYERS.write_text(json.dumps(layers, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="golden auxiliary layers")
    parser.add_argument("--rewrite-golden", action="store_true", required=True)
    parser.parse_args()
    rewrite()
