"""Integers of real pictures through the coder: read back, coded twice, and weighed.

Each picture goes through each precision of the network at several sizes and qualities. Its layers
are coded alone and as one chain, in which precisions and qualities change. With 2 and 4 threads the
network may round otherwise: the integers that this moves are other integers, coded as well as any.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from bench.coder.real_bits import Excess, excess, summary
from bench.coder.recoded import comes_back
from bench.coder.shuffled import shuffled
from common.codec import Coded, MachineCodec
from common.coding.contexts import Ints
from edge.capture.picture import Picture, read_picture
from edge.coding.encoder import Encoder
from edge.coding.providers import Precision
from edge.coding.weights import EdgeWeights

SIDES = (640, 320, 160)
QUALITIES = (0, 51, 102, 153, 204, 255)
THREADS = (1, 2, 4)
_AGAIN = 0.25  # share of layers that are coded a second time, with sums in another order


def code_pictures(weights: EdgeWeights, pictures: Sequence[Path], seed: int) -> dict[str, Any]:
    """Return the figures `encoders` and `real_bits`."""
    networks = _Networks(weights)
    coder = _Coder(codec_of(weights), seed)
    for path in track(pictures, "pictures"):
        picture = read_picture(path, SIDES[0])
        for side in SIDES:
            coder.code(picture, side, networks.integers(picture, side))
    return {
        "encoders": {
            "pictures": len(pictures),
            "precisions": networks.precisions,
            "threads": list(THREADS),
            "integers": networks.compared,
            "integers_that_threads_move": networks.moved,
            "layers": coder.layers,
            "coded_twice": coder.coded_twice,
            "mismatches": coder.mismatches,
        },
        "real_bits": coder.real_bits(),
    }


def codec_of(weights: EdgeWeights) -> MachineCodec:
    """The codec of these weights, as an edge has it."""
    manifest = weights.manifest
    return MachineCodec(weights.entropy, manifest.model_id, factors=manifest.factors)


class _Networks:
    """All ways in which a picture becomes integers."""

    def __init__(self, weights: EdgeWeights) -> None:
        self.precisions: list[Precision] = ["fp32"]
        if weights.encoder_int8 is not None:
            self.precisions.append("int8")
        self.compared = self.moved = 0
        self._encoders = {
            (precision, side, threads): Encoder(
                weights, threads=threads, side=side, precision=precision
            )
            for precision, side in product(self.precisions, SIDES)
            for threads in self._threads(side)
        }

    def integers(self, picture: Picture, side: int) -> list[tuple[int, Ints]]:
        """Return (quality, y) of each precision and quality; of more threads only what differs."""
        found: list[tuple[int, Ints]] = []
        for precision in self.precisions:
            by_threads = []
            for threads in self._threads(side):
                encoder = self._encoders[precision, side, threads]
                analysis = encoder.analyse(picture)
                by_threads.append([encoder.integers(analysis, q / 255) for q in QUALITIES])
            first, *others = by_threads
            found += zip(QUALITIES, first, strict=True)
            for other in others:
                for quality, had, has in zip(QUALITIES, first, other, strict=True):
                    moved = np.count_nonzero(had != has)
                    self.compared += had.size
                    self.moved += moved
                    if moved:
                        found.append((quality, has))
        return found

    def _threads(self, side: int) -> tuple[int, ...]:
        return THREADS if side == SIDES[0] else THREADS[:1]


class _Coder:
    """Codes layers, reads them back, and keeps the books."""

    def __init__(self, codec: MachineCodec, seed: int) -> None:
        self.layers = self.coded_twice = self.mismatches = 0
        self._codec = codec
        self._rng = np.random.default_rng(seed)
        self._excess: dict[tuple[str, int, int], list[Excess]] = {}

    def code(self, picture: Picture, side: int, integers: Sequence[tuple[int, Ints]]) -> None:
        """Code each latent alone, and all in turn as one chain."""
        last: Coded | None = None
        for quality, y in integers:

            def alone(quality: int = quality, y: Ints = y) -> Coded:
                return self._codec.encode(
                    y, width=picture.width, height=picture.height, side=side, quality=quality
                )

            intra = self._checked(alone, None, side)
            if last is None or not self._codec.entropy.codes_inter:
                last = intra
                continue

            def after(quality: int = quality, y: Ints = y, last: Coded = last) -> Coded:
                return self._codec.encode_inter(y, last, quality=quality)

            last = self._checked(after, last, side)

    def real_bits(self) -> dict[str, Any]:
        """Excess over the ideal, of all layers and by size and quality."""
        every = [one for group in self._excess.values() for one in group]
        return {
            "floor": "at most 2 % above the estimate and the header",
            "all": summary(every),
            "groups": [
                {"kind": kind, "side": side, "quality": round(quality / 255, 2), **summary(group)}
                for (kind, side, quality), group in sorted(self._excess.items())
            ],
        }

    def _checked(self, make: Callable[[], Coded], last: Coded | None, side: int) -> Coded:
        coded = make()
        self.layers += 1
        same = comes_back(self._codec, coded, last)
        if self._rng.random() < _AGAIN:
            self.coded_twice += 1
            with shuffled(self._rng):
                same = same and make().data == coded.data
        self.mismatches += not same
        kind = "intra" if coded.place == 1 else "inter"
        group = self._excess.setdefault((kind, side, coded.header.quality), [])
        group.append(excess(self._codec, coded, last))
        return coded
