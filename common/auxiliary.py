"""The auxiliary codec: coefficients of a picture and the machine layer below <-> bytes.

The container is that of every layer (bitstream.py), of kind AUXILIARY_INTRA. Its body begins with
two bytes that name the base: the low 16 bits of the CRC-32 (zlib's) of the machine layer's profile,
quality and integers. The rest is coefficients.py's, coded with the base's integers as context.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from common.bitstream import Header, Kind, pack, unpack
from common.codec import Coded
from common.coding.coefficients import CoefficientModel, describe
from common.coding.contexts import Ints
from common.errors import CorruptStream, WrongBase
from common.geometry import MAX_SIDE_PX

_NAME_BYTES = 2


@dataclass(frozen=True, slots=True)
class AuxiliaryCodec:
    """The tables of one human decoder and the id that its layers carry.

    model     counted weights and tables
    model_id  0..65535, that of the human decoder's manifest
    max_side  longest side of a working picture, in pixels, that is decoded
    """

    model: CoefficientModel
    model_id: int
    max_side: int = MAX_SIDE_PX

    def encode(self, q: Ints, base: Coded, *, side: int, quality: int) -> bytes:
        """Return the auxiliary layer of q, integers h w 384, over the machine layer `base`.

        side     longer side of the picture that q is of, at most, as in Header
        quality  0..255

        Raises ValueError for a q that is not of that size.
        """
        header = Header(
            kind=Kind.AUXILIARY_INTRA,
            model=self.model_id,
            profile=0,
            quality=quality,
            ivn=0,
            width=base.header.width,
            height=base.header.height,
            side=side,
        )
        if q.shape[:2] != header.latent_size:
            raise ValueError(f"coefficients of shape {q.shape}, not {header.latent_size} positions")
        body = self.model.encode(q, describe(base.y, header.latent_size), quality)
        return pack(header, name_of(base) + body)

    def decode(self, data: bytes, base: Coded) -> tuple[Header, Ints]:
        """Return the header and the integers, h w 384, of an auxiliary layer over `base`.

        Raises CorruptStream for bytes that are none or a picture above max_side, ModelMismatch for
        those of another model, WrongBase for those of another frame.
        """
        header, body = unpack(data, self.model_id)
        if header.kind is not Kind.AUXILIARY_INTRA:
            raise CorruptStream(f"a layer of kind {header.kind.name} is no auxiliary layer")
        width, height = header.working_size
        if max(width, height) > self.max_side:
            raise CorruptStream(f"{width} x {height} pixels: over {self.max_side} on a side")
        if body[:_NAME_BYTES] != name_of(base):
            raise WrongBase("this auxiliary layer belongs to another machine layer")
        described = describe(base.y, header.latent_size)
        return header, self.model.decode(body[_NAME_BYTES:], described, header.quality)


def name_of(base: Coded) -> bytes:
    """Return the two bytes that name a machine layer: the same for one sent as an inter layer."""
    start = bytes((base.header.profile, base.header.quality))
    digest = zlib.crc32(start + base.y.astype("<i2").tobytes())
    return (digest & 0xFFFF).to_bytes(_NAME_BYTES, "big")
