"""Fuzz the machine layer's reader: `python -m tests.fuzz.bitstream --seconds 60 [--seed 1]`.

Layers are mutated by bit flips, cuts, splices, and random bytes; half of the results get a right
checksum again, else nothing behind it would ever be reached. Every input must end in a typed
error or in a latent of the header's size. Anything else stops the run with the input in hex.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from functools import cache

import numpy as np

from common.bitstream import crc32c
from common.codec import MachineCodec
from common.errors import CorruptStream, ModelMismatch
from tests.common.latents import any_latent, model

SLOWEST_S = 20.0  # the largest header, every channel read, on a slow machine

_CHANNELS = 8


@cache
def codec() -> MachineCodec:
    """A small codec to fuzz."""
    return MachineCodec(model(_CHANNELS), 0xA55A)


def fuzz(seconds: float, seed: int) -> Counter[str]:
    """Return how many inputs ended how. Raises AssertionError on the first that ended badly."""
    rng = random.Random(seed)
    corpus = _corpus(seed)
    outcomes: Counter[str] = Counter()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        data = _mutated(rng, corpus)
        start = time.monotonic()
        outcomes[_outcome(data)] += 1
        if time.monotonic() - start > SLOWEST_S:
            raise AssertionError(f"too slow: {data.hex()}")
    return outcomes


def _corpus(seed: int) -> list[bytes]:
    numbers = np.random.default_rng(seed)
    layers = []
    for quality in range(0, 256, 16):
        y = any_latent(numbers, _CHANNELS)
        h, w = y.shape[1:]
        layers.append(codec().encode(y, width=16 * w, height=16 * h, side=96, quality=quality))
    return layers


def _mutated(rng: random.Random, corpus: list[bytes]) -> bytes:
    data = bytearray(rng.choice(corpus))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0 if data:
                data[at % len(data)] ^= 1 << rng.randrange(8)
            case 1 if data:
                data[at % len(data)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            case 2:
                del data[at:]
            case 3:
                other = rng.choice(corpus)
                data[at:] = other[rng.randrange(len(other)) :]
            case 4:
                data[at:at] = rng.randbytes(rng.randint(1, 40))
            case _ if rng.random() < 0.2:
                data = bytearray(rng.randbytes(rng.randint(0, 80)))
    if rng.random() < 0.5:
        data += (crc32c(bytes(data)) >> 16).to_bytes(2, "big")
    elif rng.random() < 0.5:
        data[-2:] = (crc32c(bytes(data[:-2])) >> 16).to_bytes(2, "big")
    return bytes(data)


def _outcome(data: bytes) -> str:
    try:
        header, y = codec().decode(data)
    except (CorruptStream, ModelMismatch) as error:
        return type(error).__name__
    except Exception as error:
        raise AssertionError(f"{error!r} from {data.hex()}") from error
    if y.shape != (_CHANNELS, *header.latent_size):
        raise AssertionError(f"a latent of shape {y.shape} from {data.hex()}")
    return "decoded"


def main() -> None:
    parser = argparse.ArgumentParser(description="fuzz the machine layer's reader")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    options = parser.parse_args()
    print(f"seed {options.seed}")
    print(dict(fuzz(options.seconds, options.seed)))


if __name__ == "__main__":
    main()
