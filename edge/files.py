"""`glimpse-edge encode` and `inspect`: pictures to layers on disk, and what is in such a file."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.bitstream import MAX_LAYER_BYTES, Header, Kind, unpack
from common.codec import MachineCodec
from common.errors import BadPicture, BadSettings, CorruptStream

if TYPE_CHECKING:
    from edge.coding.encoder import Encoder
    from edge.pictures.auxiliary import AuxiliaryEncoder

SUFFIX, AUXILIARY_SUFFIX = ".glimpse", ".auxiliary"


@dataclass(frozen=True, slots=True)
class Encoded:
    """One picture that was coded; bpp by the source's pixels, quality 0..1.

    auxiliary  file of its auxiliary layer, if one was made
    """

    file: str
    out: str
    width: int
    height: int
    bytes: int
    bpp: float
    quality: float
    ms: float
    auxiliary: str | None = None
    auxiliary_bytes: int = 0

    def line(self) -> str:
        first = (
            f"{self.out}  {self.width} x {self.height}  {self.bytes} bytes  {self.bpp:.4f} bpp"
            f"  quality {self.quality:.2f}  {self.ms:.0f} ms"
        )
        if self.auxiliary is None:
            return first
        bpp = self.auxiliary_bytes * 8 / (self.width * self.height)
        return f"{first}\n{self.auxiliary}  {self.auxiliary_bytes} bytes  {bpp:.4f} bpp"


@dataclass(frozen=True, slots=True)
class Inspected:
    """One layer file.

    nonzero and positions are None, and latent is that of the picture, where this side has not the
    layer's model.
    """

    file: str
    bytes: int
    header_bytes: int
    body_bytes: int
    checksum_bytes: int
    kind: str
    model: str
    profile: int
    quality: int
    ivn: int
    width: int
    height: int
    side: int
    latent: tuple[int, int]
    bpp: float
    nonzero: int | None
    positions: int | None

    def line(self) -> str:
        found = "integers unknown: another model"
        if self.nonzero is not None:
            found = f"{self.nonzero} nonzero integers at {self.positions} positions"
        return (
            f"{self.file}  {self.bytes} bytes ({self.header_bytes} header, {self.body_bytes} body,"
            f" {self.checksum_bytes} checksum)  {self.bpp:.4f} bpp\n"
            f"  {self.kind}, model {self.model}, profile {self.profile},"
            f" quality {self.quality}/255, ivn {self.ivn}\n"
            f"  source {self.width} x {self.height}, working side {self.side},"
            f" latent {self.latent[1]} x {self.latent[0]}: {found}"
        )


def outputs(photos: Sequence[Path], folder: Path) -> list[Path]:
    """Where each photo's layer goes. Raises BadSettings if two would go to one file."""
    targets = [folder / (photo.stem + SUFFIX) for photo in photos]
    twice = [target for target, count in Counter(targets).items() if count > 1]
    if twice:
        raise BadSettings(f"two pictures would both become {twice[0]}: encode them one by one")
    return targets


def encode_file(
    encoder: Encoder,
    photo: Path,
    out: Path,
    *,
    quality: float,
    most: int | None,
    profile: int = 0,
    auxiliary: tuple[AuxiliaryEncoder, float] | None = None,
) -> Encoded:
    """Writes `out`, whole or not at all.

    quality    0..1, unless `most` is given: the best layer of at most so many bytes
    auxiliary  makes the auxiliary layer, and its quality 0..1; it is written beside `out`

    Raises BadPicture naming the file, also if no layer is so small.
    """
    from edge.capture.picture import read_picture

    started = time.perf_counter()
    picture = read_picture(photo, encoder.side)
    analysis = encoder.analyse(picture)
    if most is None:
        layer = encoder.layer(analysis, quality, profile)
    else:
        layer = encoder.layer_within(analysis, most, profile)
        if len(layer) > most:
            raise BadPicture(f"{photo}: {len(layer)} bytes at the least, not {most}")
    more, beside = b"", None
    if auxiliary is not None:
        maker, finer = auxiliary
        more = maker.encode(picture.pixels, encoder.codec.decode(layer), round(255 * finer))
        beside = out.with_suffix(AUXILIARY_SUFFIX)
        _write(beside, more)
    ms = (time.perf_counter() - started) * 1000
    _write(out, layer)
    bpp = len(layer) * 8 / (picture.width * picture.height)
    used = unpack(layer, None)[0].quality / 255
    size = picture.width, picture.height
    told = None if beside is None else str(beside)
    return Encoded(str(photo), str(out), *size, len(layer), bpp, used, ms, told, len(more))


def _write(path: Path, data: bytes) -> None:
    partial = path.with_suffix(path.suffix + ".part")
    partial.write_bytes(data)
    partial.replace(path)


def inspect_file(path: Path, codec: MachineCodec | None) -> Inspected:
    """What is in a layer file; its integers only if `codec` is the layer's model.

    Raises CorruptStream naming the file.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_LAYER_BYTES + 1)
        header, body = unpack(data, None)
        latent, nonzero, positions = _integers(data, header, codec)
    except OSError as error:
        raise CorruptStream(f"{path}: {error.strerror or error}") from error
    except CorruptStream as error:
        raise CorruptStream(f"{path}: {error}") from error
    checksum = 2
    return Inspected(
        file=str(path),
        bytes=len(data),
        header_bytes=len(data) - len(body) - checksum,
        body_bytes=len(body),
        checksum_bytes=checksum,
        kind=header.kind.name.lower().replace("_", " "),
        model=f"{header.model:04x}",
        profile=header.profile,
        quality=header.quality,
        ivn=header.ivn,
        width=header.width,
        height=header.height,
        side=header.side,
        latent=latent,
        bpp=len(data) * 8 / (header.width * header.height),
        nonzero=nonzero,
        positions=positions,
    )


def _integers(
    data: bytes, header: Header, codec: MachineCodec | None
) -> tuple[tuple[int, int], int | None, int | None]:
    """(rows, columns), how many integers are not zero, at how many positions there is one."""
    if codec is None or header.model != codec.model_id or header.kind is not Kind.MACHINE_INTRA:
        return header.latent_size, None, None
    y = codec.decode(data).y
    return codec.size(header), int(np.count_nonzero(y)), int(np.count_nonzero(y.any(axis=0)))
