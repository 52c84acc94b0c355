"""The layer container: one format for file, wire and store. Golden files hold it still.

    byte 0        version (high four bits, now 1), kind (low four bits)
    bytes 1..2    model id, big endian: the first 16 bits of the manifest's hash
    byte 3        task profile (high four bits), reserved, zero (low four bits)
    byte 4        quality, 0..255
    byte 5        normalisation scale (IVN), 0 = off
    1..2 bytes    width of the source in pixels, 1..4096, as a varint
    1..2 bytes    height, likewise
    1 byte        longer side of the working picture / 32, 1..128
    ...           body: the range coder's bytes
    2 bytes       CRC-32C of everything before, its high 16 bits, big endian

An inter layer takes what it does not say from the layer before it, which it names:

    byte 0        version and kind, as above
    byte 1        quality
    bytes 2..3    link of the layer before, big endian
    ...           body
    2 bytes       checksum

A layer's link is the low 16 bits of the CRC-32C whose high 16 bits are its checksum. It covers the
link to the layer before, and so the whole chain back to its intra layer: integers never come out
of a chain with a layer lost, changed or out of place, at a cost of two bytes.

A varint holds 7 bits a byte, least significant first; the high bit says that another byte
follows; the shortest form is the only valid one, so that a header has one spelling.

The checksum is read before anything else but the length: a damaged header must not pass for a
layer of another model. The version is in front of it, as another version may check otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from common.errors import CorruptStream, ModelMismatch
from common.geometry import MAX_SIDE_PX, latent_size, working_size

VERSION = 1
MAX_LAYER_BYTES = 1 << 20
MAX_HEADER_BYTES = 11
SIDE_STEP_PX = 32
DETECT, RECOGNISE = 0, 1  # task profiles

MAX_CHAIN = 50  # layers: an intra layer and the inter layers that lean on it

_FIXED = 6  # bytes before the varints
_INTER_FIXED = 4
_CRC_BYTES = 2
_LEAST = _INTER_FIXED + _CRC_BYTES


class Kind(IntEnum):
    """What a layer is for, and whether it stands alone (intra) or leans on the last one."""

    MACHINE_INTRA = 0
    MACHINE_INTER = 1
    AUXILIARY_INTRA = 2
    AUXILIARY_INTER = 3


@dataclass(frozen=True, slots=True)
class Header:
    """Everything about a layer that is not its integers.

    kind     see Kind
    model    0..65535, Manifest.model_id
    profile  0..15, 0 = detect, 1 = recognise
    quality  0..255
    ivn      normalisation scale, 0..255, 0 = off
    width, height  source pixels, 1..4096
    side     longer side of the working picture in pixels, a multiple of 32 in 32..4096

    Raises ValueError for anything else: a header that cannot be written is the caller's bug.
    """

    kind: Kind
    model: int
    profile: int
    quality: int
    ivn: int
    width: int
    height: int
    side: int

    def __post_init__(self) -> None:
        Kind(self.kind)
        _check("model", self.model, 0, 0xFFFF)
        _check("profile", self.profile, 0, 15)
        _check("quality", self.quality, 0, 255)
        _check("ivn", self.ivn, 0, 255)
        _check("width", self.width, 1, MAX_SIDE_PX)
        _check("height", self.height, 1, MAX_SIDE_PX)
        _check("side", self.side, SIDE_STEP_PX, MAX_SIDE_PX)
        if self.side % SIDE_STEP_PX:
            raise ValueError(f"side {self.side} is no multiple of {SIDE_STEP_PX}")

    @property
    def working_size(self) -> tuple[int, int]:
        """(width, height) of the working picture in pixels."""
        return working_size(self.width, self.height, self.side)

    @property
    def latent_size(self) -> tuple[int, int]:
        """(h, w) of the latent: rows and columns, each 1..256."""
        return latent_size(*self.working_size)


def pack(header: Header, body: bytes) -> bytes:
    """Return an intra layer's bytes. Raises ValueError if they would pass MAX_LAYER_BYTES."""
    return _sealed(header_bytes(header) + body)


def pack_inter(kind: Kind, quality: int, before: int, body: bytes) -> bytes:
    """Return an inter layer's bytes; `before` is the link of the layer before. Raises as `pack`."""
    _check("quality", quality, 0, 255)
    _check("link", before, 0, 0xFFFF)
    start = bytes((VERSION << 4 | kind, quality)) + before.to_bytes(2, "big")
    return _sealed(start + body)


def kind_of(data: bytes) -> Kind:
    """Return a layer's kind; its checksum is not looked at.

    Raises CorruptStream for bytes that are no layer.
    """
    _check_start(data)
    try:
        return Kind(data[0] & 0x0F)
    except ValueError as error:
        raise CorruptStream(f"bad header: {error}") from error


def is_inter(data: bytes) -> bool:
    """Return whether a layer leans on the one before it. Raises as `kind_of`."""
    return kind_of(data) in (Kind.MACHINE_INTER, Kind.AUXILIARY_INTER)


def link(data: bytes) -> int:
    """Return the link of a layer, 0..65535: what the layer after it names."""
    return crc32c(data[:-_CRC_BYTES]) & 0xFFFF


def unpack(data: bytes, model: int | None) -> tuple[Header, bytes]:
    """Return the header and the body of an intra layer; the body is not looked into.

    model  the model id that the reader has; None reads layers of any model

    Raises CorruptStream for bytes that are no intra layer, ModelMismatch for another model's.
    """
    if is_inter(data):
        raise CorruptStream("an inter layer is not read without the layers before it")
    check(data)
    header, start = _read_header(data[:-_CRC_BYTES])
    if model is not None and header.model != model:
        raise ModelMismatch(f"layer of model {header.model:04x}, this side has {model:04x}")
    return header, data[start:-_CRC_BYTES]


def unpack_inter(data: bytes) -> tuple[int, int, bytes]:
    """Return (quality, link of the layer before, body) of an inter layer.

    Raises CorruptStream for bytes that are no inter layer.
    """
    if not is_inter(data):
        raise CorruptStream("an intra layer has no layer before it")
    check(data)
    return data[1], int.from_bytes(data[2:4], "big"), data[_INTER_FIXED:-_CRC_BYTES]


def check(data: bytes) -> None:
    """Raise CorruptStream unless these bytes are a layer whose checksum is right."""
    _check_start(data)
    if _checksum(data[:-_CRC_BYTES]) != data[-_CRC_BYTES:]:
        raise CorruptStream("the checksum does not match")


def header_bytes(header: Header) -> bytes:
    """Return a header as an intra layer begins, whatever its kind."""
    return (
        bytes((VERSION << 4 | header.kind,))
        + header.model.to_bytes(2, "big")
        + bytes((header.profile << 4, header.quality, header.ivn))
        + _varint(header.width)
        + _varint(header.height)
        + bytes((header.side // SIDE_STEP_PX,))
    )


def read_header(data: bytes) -> Header:
    """Return the header that these bytes begin with (`header_bytes`, or an intra layer).

    No checksum is looked at. Raises CorruptStream for bytes that begin with no header.
    """
    if len(data) < _FIXED:
        raise CorruptStream("the header ends early")
    if data[0] >> 4 != VERSION:
        raise CorruptStream(f"bitstream version {data[0] >> 4} is not known, only {VERSION}")
    return _read_header(data)[0]


def crc32c(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli, RFC 3720 B.4) of `data`."""
    crc = 0xFFFFFFFF
    table = _CRC_TABLE
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _check_start(data: bytes) -> None:
    if len(data) > MAX_LAYER_BYTES:
        raise CorruptStream(f"a layer of {len(data)} bytes is over the limit")
    if len(data) < _LEAST:
        raise CorruptStream(f"a layer of {len(data)} bytes is too short")
    if data[0] >> 4 != VERSION:
        raise CorruptStream(f"bitstream version {data[0] >> 4} is not known, only {VERSION}")


def _sealed(data: bytes) -> bytes:
    if len(data) + _CRC_BYTES > MAX_LAYER_BYTES:
        raise ValueError(f"a layer of {len(data) + _CRC_BYTES} bytes is too long")
    return data + _checksum(data)


def _read_header(data: bytes) -> tuple[Header, int]:
    if len(data) <= _FIXED:
        raise CorruptStream("the header ends early")
    if data[3] & 0x0F:
        raise CorruptStream("reserved bits are set")
    width, at = _read_varint(data, _FIXED)
    height, at = _read_varint(data, at)
    if at >= len(data):
        raise CorruptStream("the header ends early")
    try:
        header = Header(
            kind=Kind(data[0] & 0x0F),
            model=int.from_bytes(data[1:3], "big"),
            profile=data[3] >> 4,
            quality=data[4],
            ivn=data[5],
            width=width,
            height=height,
            side=data[at] * SIDE_STEP_PX,
        )
    except ValueError as error:
        raise CorruptStream(f"bad header: {error}") from error
    return header, at + 1


def _varint(value: int) -> bytes:
    return bytes((value,)) if value < 0x80 else bytes((value & 0x7F | 0x80, value >> 7))


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return (value, index after it). Two bytes hold 14 bits, more than any dimension needs."""
    pair = data[at : at + 2]
    if pair and pair[0] < 0x80:
        return pair[0], at + 1
    if len(pair) < 2:
        raise CorruptStream("the header ends early")
    if not 0 < pair[1] < 0x80:
        raise CorruptStream("a dimension is not in its shortest form, or too large")
    return pair[0] & 0x7F | pair[1] << 7, at + 2


def _check(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise ValueError(f"{name} {value} is outside {least}..{most}")


def _checksum(data: bytes) -> bytes:
    return (crc32c(data) >> 16).to_bytes(_CRC_BYTES, "big")


def _crc_entry(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_CRC_TABLE = tuple(_crc_entry(byte) for byte in range(256))
