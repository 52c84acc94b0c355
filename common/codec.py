"""The machine codec: a latent and its header <-> the bytes of a machine layer."""

from __future__ import annotations

from dataclasses import dataclass

from common.bitstream import Header, Kind, pack, unpack
from common.contexts import Ints
from common.entropy import EntropyModel
from common.errors import CorruptStream
from common.geometry import MAX_SIDE_PX


@dataclass(frozen=True, slots=True)
class MachineCodec:
    """The entropy tables of one model and the id that its layers carry.

    entropy   counted tables for M channels
    model_id  0..65535, Manifest.model_id
    max_side  longest side of a working picture, in pixels, that is decoded: it bounds the time
              that a stranger's layer can take (about a second at 1024, twelve at 4096)
    """

    entropy: EntropyModel
    model_id: int
    max_side: int = MAX_SIDE_PX

    def encode(
        self,
        y: Ints,
        *,
        width: int,
        height: int,
        side: int,
        quality: int,
        profile: int = 0,
        ivn: int = 0,
    ) -> bytes:
        """Return the layer of y, an integer array M h w, -32767..32767.

        width, height, side, quality, profile, ivn  as in Header

        Raises ValueError for a header out of range, or a y whose size is not the header's.
        """
        header = Header(
            kind=Kind.MACHINE_INTRA,
            model=self.model_id,
            profile=profile,
            quality=quality,
            ivn=ivn,
            width=width,
            height=height,
            side=side,
        )
        if y.shape[1:] != header.latent_size:
            raise ValueError(f"a latent of shape {y.shape}, not {header.latent_size} positions")
        return pack(header, self.entropy.encode(y, profile=profile, quality=quality))

    def open(self, data: bytes) -> tuple[Header, bytes]:
        """Return the header and the body, undecoded: all that can be judged at no cost.

        Raises as `decode` does.
        """
        header, body = unpack(data, self.model_id)
        if header.kind is not Kind.MACHINE_INTRA:
            raise CorruptStream(f"a layer of kind {header.kind.name} is not decoded here")
        width, height = header.working_size
        if max(width, height) > self.max_side:
            limit = f"more than {self.max_side} on a side is not decoded here"
            raise CorruptStream(f"a working picture of {width} x {height} pixels: {limit}")
        return header, body

    def decode(self, data: bytes) -> tuple[Header, Ints]:
        """Return the header and y, int16 M h w, of a machine layer.

        Raises CorruptStream for bytes that are no intra machine layer or one above max_side,
        ModelMismatch for a layer of another model.
        """
        header, body = self.open(data)
        y = self.entropy.decode(
            body, header.latent_size, profile=header.profile, quality=header.quality
        )
        return header, y
