"""One process that codes random latents and reads them again: `python -m bench.coder.recoded ...`.

Latents alone and in chains, by tables of several sizes, any quality and profile. Another process,
in other conditions, makes the same latents of the same seed and must make the same bytes.
"""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from functools import cache
from itertools import count, islice

import numpy as np

from bench.coder.latents import any_chain, drawn_tables
from bench.coder.shuffled import shuffled
from common.codec import Coded, MachineCodec
from common.errors import CorruptStream
from common.geometry import STRIDE

_CHANNELS = (1, 3, 8, 16, 64)
_LENGTHS = (1, 1, 1, 1, 6)  # layers: half of all are inter layers


def recoded(seed: int, latents: int, shuffle: int | None = None) -> tuple[list[int], int]:
    """Return the CRC-32 of each latent's layer, and how many did not come back as they were.

    shuffle  seed of the order in which sums are taken while layers are made; None: as usual
    """
    context = nullcontext() if shuffle is None else shuffled(np.random.default_rng(shuffle))
    with context:
        found = list(islice(_layers(seed), latents))
    return [crc for crc, _ in found], sum(not same for _, same in found)


def comes_back(codec: MachineCodec, coded: Coded, last: Coded | None) -> bool:
    """Return whether a layer is read as the integers that it was made of."""
    try:
        return np.array_equal(codec.decode(coded.data, last).y, coded.y)
    except CorruptStream:
        return False


def _layers(seed: int) -> Iterator[tuple[int, bool]]:
    for item in count():
        rng = np.random.default_rng([seed, item])
        length = _LENGTHS[item % len(_LENGTHS)]
        m = _CHANNELS[item // len(_LENGTHS) % len(_CHANNELS)]
        last: Coded | None = None
        for y in any_chain(rng, m, length, 2 if m == 64 else 4):
            quality, profile = (int(rng.integers(most)) for most in (256, 3))
            _, h, w = y.shape
            if last is None:
                size = {"width": STRIDE * w, "height": STRIDE * h, "side": STRIDE * 4}
                coded = _codec(m).encode(y, **size, quality=quality, profile=profile)
            else:
                coded = _codec(m).encode_inter(y, last, quality=quality)
            yield zlib.crc32(coded.data), comes_back(_codec(m), coded, last)
            last = coded


@cache
def _codec(m: int) -> MachineCodec:
    return MachineCodec(drawn_tables(np.random.default_rng(m), m, profiles=2), 0x5EED)


def main() -> None:
    seed, latents, *shuffle = map(int, sys.argv[1:])
    crcs, mismatches = recoded(seed, latents, *shuffle)
    json.dump({"crcs": crcs, "mismatches": mismatches}, sys.stdout)


if __name__ == "__main__":
    main()
