"""Fuzz the machine layer's reader: `python -m tests.fuzz.bitstream --seconds 60 [--seed 1]`.

See bench/coder/hostile.py for what is done to the layers and what must come of it. Anything else
stops the run with the layer in hex.
"""

from __future__ import annotations

import argparse
import time
from functools import cache

from bench.coder.hostile import Outcomes, attack
from common.codec import MachineCodec
from tests.common.latents import scene_model

_CHANNELS = 8


@cache
def codec() -> MachineCodec:
    """A small codec to fuzz."""
    return MachineCodec(scene_model(_CHANNELS), 0xA55A)


def fuzz(seconds: float, seed: int) -> Outcomes:
    """Return how the layers ended. Raises AssertionError on the first that ended badly."""
    return attack(codec(), seed, seconds=seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description="fuzz the machine layer's reader")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    options = parser.parse_args()
    print(f"seed {options.seed}")
    found = fuzz(options.seconds, options.seed)
    print(dict(found.counts))
    print(f"slowest {found.slowest_s:.3f} s, {found.time_share:.0%} of what it may take")
    print(f"peak memory {found.peak_bytes} bytes, {found.memory_share:.0%} of what it may take")


if __name__ == "__main__":
    main()
