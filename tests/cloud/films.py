"""What a camera that stands still sends: a chain of layers, and each frame's layer alone beside."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.bitstream import crc32c
from common.codec import Coded, MachineCodec
from common.types import FrameId, Layer
from edge.capture.picture import Picture
from edge.coding.encoder import Encoder
from edge.coding.weights import load_weights
from tests.weights import film

QUALITY = 0.6


@dataclass(frozen=True)
class Film:
    """One chain. alone: intra layers of the same integers."""

    coded: list[Coded]
    alone: list[bytes]

    @property
    def chained(self) -> list[bytes]:
        """An intra layer, then inter layers."""
        return [coded.data for coded in self.coded]

    def layers(self, camera: str = "gate", boot: str = "b1", first: int = 0) -> list[Layer]:
        """The chain as a camera's; seqs from `first` on."""
        return [
            Layer(FrameId(camera, boot, seq), 1000.0 + seq, data)
            for seq, data in enumerate(self.chained, first)
        ]


def filmed(weights: Path, frames: int, seed: int = 5) -> Film:
    """A film of so many frames, 160 x 120, coded with the folder's weights."""
    edge = load_weights(weights)
    encoder = Encoder(edge, threads=1)
    codec = MachineCodec(edge.entropy, edge.manifest.model_id)
    quality = round(255 * QUALITY)
    coded: list[Coded] = []
    alone: list[bytes] = []
    for pixels in film(np.random.default_rng(seed), frames, 120, 160):
        analysis = encoder.analyse(Picture.whole(pixels))
        y = encoder.integers(analysis, QUALITY)
        key = codec.encode(y, width=160, height=120, side=analysis.side, quality=quality)
        coded.append(codec.encode_inter(y, coded[-1], quality=quality) if coded else key)
        alone.append(key.data)
    return Film(coded, alone)


def sealed(data: bytes) -> bytes:
    """`data` with a right checksum in place of its own."""
    return data[:-2] + (crc32c(data[:-2]) >> 16).to_bytes(2, "big")
