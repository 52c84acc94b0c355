"""The machine codec: a latent and its header <-> the bytes of a machine layer.

Layers of one camera are a chain: an intra layer, then inter layers that each lean on the one
before. Who codes or decodes it keeps one `Coded`, the last layer with its integers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from common.bitstream import (
    MAX_CHAIN,
    Header,
    Kind,
    check,
    kind_of,
    link,
    pack,
    pack_inter,
    unpack,
    unpack_inter,
)
from common.coding.contexts import Ints
from common.coding.entropy import EntropyModel
from common.coding.temporal import Past
from common.errors import BrokenChain, CorruptStream, ModelMismatch
from common.geometry import MAX_SIDE_PX, pooled_size


@dataclass(frozen=True, slots=True)
class Coded:
    """A machine layer with what is in it.

    header  of an inter layer: that of its chain, with the kind and the quality of its own
    y       integers, M h w
    before  those of the layer before; y itself for an intra layer
    link    what the next layer names it by, 0..65535
    place   its place in its chain, 1 (the intra layer) to MAX_CHAIN
    """

    data: bytes
    header: Header
    y: Ints
    before: Ints
    link: int
    place: int


@dataclass(frozen=True, slots=True)
class MachineCodec:
    """The entropy tables of one model and the id that its layers carry.

    entropy   counted tables for M channels
    model_id  0..65535, Manifest.model_id
    max_side  longest side of a working picture, in pixels, that is decoded: it bounds the time
              that a stranger's layer can take (some two seconds at 1024, five at 4096)
    factors   Manifest.factors
    """

    entropy: EntropyModel
    model_id: int
    max_side: int = MAX_SIDE_PX
    factors: tuple[int, ...] = ()

    def size(self, header: Header) -> tuple[int, int]:
        """Return (h, w) of the integers under this header: of the latent, or of its summary."""
        known = header.profile < len(self.factors)
        return pooled_size(header.latent_size, self.factors[header.profile] if known else 1)

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
    ) -> Coded:
        """Return the intra layer of y, an integer array M h w, -32767..32767.

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
        if y.shape[1:] != self.size(header):
            raise ValueError(f"a latent of shape {y.shape}, not {self.size(header)} positions")
        data = pack(header, self.entropy.encode(y, profile=profile, quality=quality))
        return Coded(data, header, y, y, link(data), 1)

    def encode_inter(self, y: Ints, last: Coded, *, quality: int) -> Coded:
        """Return the inter layer of y after `last`; what else there is to say is as it was there.

        Raises ValueError for a y of another shape, a quality outside 0..255, a chain that is full,
        or a model without tables for inter layers.
        """
        if last.place >= MAX_CHAIN:
            raise ValueError(f"a chain of more than {MAX_CHAIN} layers")
        body = self.entropy.encode(
            y, profile=last.header.profile, quality=quality, past=Past(last.y, last.before)
        )
        data = pack_inter(Kind.MACHINE_INTER, quality, last.link, body)
        return _after(last, data, quality, y)

    def inspect(self, data: bytes) -> Kind:
        """Judge a layer by itself, undecoded, at no cost; return its kind.

        Whether an inter layer fits to those before it is not seen here. Raises CorruptStream for
        bytes that are no machine layer or one above max_side, ModelMismatch for another model's.
        """
        kind = kind_of(data)
        if kind is Kind.MACHINE_INTER:
            check(data)
            if not self.entropy.codes_inter:
                raise ModelMismatch("this model codes no inter layers")
        else:
            self._open(data)
        return kind

    def decode(self, data: bytes, last: Coded | None = None) -> Coded:
        """Return what is in a machine layer; `last`, the layer before, is for inter layers.

        Raises as `inspect` does, CorruptStream for a body that cannot be read, and BrokenChain for
        an inter layer without the very layer that it leans on.
        """
        if self.inspect(data) is Kind.MACHINE_INTRA:
            header, body = self._open(data)
            y = self.entropy.decode(
                body, self.size(header), profile=header.profile, quality=header.quality
            )
            return Coded(data, header, y, y, link(data), 1)
        quality, before, body = unpack_inter(data)
        if last is None or last.link != before:
            raise BrokenChain("the layer before it is missing")
        if last.place >= MAX_CHAIN:
            raise CorruptStream(f"a chain of more than {MAX_CHAIN} layers")
        y = self.entropy.decode(
            body,
            self.size(last.header),
            profile=last.header.profile,
            quality=quality,
            past=Past(last.y, last.before),
        )
        return _after(last, data, quality, y)

    def alone(self, coded: Coded) -> bytes:
        """Return an intra layer of the same integers: one that needs no other."""
        if coded.header.kind is Kind.MACHINE_INTRA:
            return coded.data
        header = replace(coded.header, kind=Kind.MACHINE_INTRA)
        body = self.entropy.encode(coded.y, profile=header.profile, quality=header.quality)
        return pack(header, body)

    def _open(self, data: bytes) -> tuple[Header, bytes]:
        header, body = unpack(data, self.model_id)
        if header.kind is not Kind.MACHINE_INTRA:
            raise CorruptStream(f"a layer of kind {header.kind.name} is not decoded here")
        width, height = header.working_size
        if max(width, height) > self.max_side:
            limit = f"more than {self.max_side} on a side is not decoded here"
            raise CorruptStream(f"a working picture of {width} x {height} pixels: {limit}")
        return header, body


def _after(last: Coded, data: bytes, quality: int, y: Ints) -> Coded:
    header = replace(last.header, kind=Kind.MACHINE_INTER, quality=quality)
    return Coded(data, header, y, last.y, link(data), last.place + 1)
