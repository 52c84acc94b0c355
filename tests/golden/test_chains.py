"""The promise of test_bitstream.py for inter layers: a chain written once is read for ever.

`chain_tables.npz` is a small entropy model with tables for inter layers, `chains.json` holds
chains coded with it and, for each layer, the SHA-256 of the integers inside. The rule is the same:
**a byte that changes is a breaking release**. Only then, rewrite and review the difference:

    python -m tests.golden.test_chains --rewrite-golden
"""

from __future__ import annotations

import argparse
import io
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.bitstream import MAX_CHAIN, Kind
from common.codec import Coded, MachineCodec
from common.coding.contexts import MOST, Ints
from common.coding.entropy import EntropyModel
from common.geometry import latent_size, working_size
from tests.golden.test_bitstream import CHANNELS, digest, golden_latent

HERE = Path(__file__).parent
TABLES = HERE / "chain_tables.npz"
CHAINS = HERE / "chains.json"

MODEL_ID = 0x601E


@dataclass(frozen=True)
class Case:
    """A chain: its header, its qualities, and per mille of integers that change a layer."""

    width: int
    height: int
    side: int
    qualities: tuple[int, ...]
    density: int
    change: int
    shift: int = 3
    profile: int = 0
    ivn: int = 0


CASES = {
    "still": Case(640, 480, 320, (128, 128, 128), 30, 0),
    "usual": Case(1920, 1080, 320, (102, 102, 102, 90, 110, 102), 40, 15),
    "qualities": Case(640, 480, 160, (0, 32, 64, 96, 128, 160, 192, 224, 255), 100, 60),
    "recognise": Case(333, 77, 512, (180, 10, 240), 200, 100, profile=1, ivn=9),
    "empty": Case(64, 48, 64, (20, 20), 0, 0),
    "extremes": Case(80, 48, 96, (200, 0, 255, 200), 1000, 1000, shift=15),
    "long": Case(1, 1, 32, tuple(5 * i for i in range(MAX_CHAIN)), 700, 300),
}


def golden_frames(name: str, case: Case) -> list[Ints]:
    """int16 M h w each, from integer arithmetic only; extremes swing from one end to the other."""
    size = latent_size(*working_size(case.width, case.height, case.side))
    frames = [golden_latent(f"chain {name}", size, case.density, case.shift)]
    for i in range(1, len(case.qualities)):
        if case.shift == 15:
            frames.append(np.where(frames[-1] < 0, MOST, -MOST).astype(np.int16))
        else:
            step = golden_latent(f"chain {name} {i}", size, case.change, 2)
            frames.append(frames[-1] + step)
    return frames


@cache
def golden_codec() -> MachineCodec:
    with np.load(TABLES) as arrays:
        return MachineCodec(EntropyModel.from_arrays(dict(arrays)), MODEL_ID)


def coded(name: str) -> list[Coded]:
    case = CASES[name]
    first, *others = golden_frames(name, case)
    chain = [
        golden_codec().encode(
            first, width=case.width, height=case.height, side=case.side,
            quality=case.qualities[0], profile=case.profile, ivn=case.ivn,
        )
    ]  # fmt: skip
    for y, quality in zip(others, case.qualities[1:], strict=True):
        chain.append(golden_codec().encode_inter(y, chain[-1], quality=quality))
    return chain


@pytest.mark.parametrize("name", CASES)
def test_a_stored_chain_reads_as_it_always_did(name: str) -> None:
    case = CASES[name]
    last: Coded | None = None
    stored = json.loads(CHAINS.read_text())[name]
    for place, (want, quality) in enumerate(zip(stored, case.qualities, strict=True), 1):
        last = golden_codec().decode(bytes.fromhex(want["layer"]), last)
        header = last.header
        assert (header.width, header.height, header.side) == (case.width, case.height, case.side)
        assert (header.quality, header.profile, header.ivn) == (quality, case.profile, case.ivn)
        assert header.kind is (Kind.MACHINE_INTRA if place == 1 else Kind.MACHINE_INTER)
        assert last.y.shape == (CHANNELS, *header.latent_size)
        assert (last.place, last.link) == (place, want["link"])
        assert digest(last.y) == want["integers_sha256"]


@pytest.mark.parametrize("name", CASES)
def test_a_chain_is_written_as_it_always_was(name: str) -> None:
    layers = [layer.data.hex() for layer in coded(name)]
    assert layers == [want["layer"] for want in json.loads(CHAINS.read_text())[name]]


def test_no_golden_chain_is_without_a_case() -> None:
    assert list(json.loads(CHAINS.read_text())) == list(CASES)


def rewrite() -> None:
    """Make chain_tables.npz and chains.json anew. This breaks every stored chain: see the head."""
    scenes = []
    for quality in range(16, 256, 32):
        name = f"train {quality}"
        case = Case(160, 128, 160, (quality,) * 5, 20 + quality, 40)
        scenes.append((0, quality, golden_frames(name, case)))
    latents = [(profile, quality, y) for profile, quality, seen in scenes for y in seen[::2]]
    buffer = io.BytesIO()
    tables = EntropyModel.count(latents, CHANNELS, scenes)
    np.savez_compressed(buffer, **tables.to_arrays())
    TABLES.write_bytes(buffer.getvalue())
    golden_codec.cache_clear()
    chains: dict[str, Any] = {
        name: [
            {"layer": layer.data.hex(), "link": layer.link, "integers_sha256": digest(layer.y)}
            for layer in coded(name)
        ]
        for name in CASES
    }
    CHAINS.write_text(json.dumps(chains, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="golden chains")
    parser.add_argument("--rewrite-golden", action="store_true", required=True)
    parser.parse_args()
    rewrite()
