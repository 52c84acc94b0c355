"""What a picture becomes on its way through each opponent: bytes, and the picture that comes out.

All start from the working picture that our encoder starts from (longer side at most 640 pixels):
nobody codes pixels that no detector looks at. Scales are of that picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Protocol

from PIL import features

from edge.capture.picture import Picture
from train.codecs import CODECS, Setting, decode, encode, payload_bytes
from train.data import Pixels

SIDE = 640  # longer side of the working picture in pixels

# From far below what a detector needs to near its accuracy on uncompressed pictures. Where a pilot
# of 40 pictures saw no point near a codec's front (fine quality of a small one) none is taken.
GRID: dict[str, dict[float, tuple[int, ...]]] = {
    "jpeg": {1: (5, 15, 30, 60), 0.75: (5, 15), 0.5: (5, 15, 30), 0.35: (8, 20), 0.25: (8,)},
    "webp": {1: (0, 15, 40, 70), 0.75: (0, 15), 0.5: (0, 15, 40), 0.35: (0, 20), 0.25: (0,)},
    "avif": {1: (5, 20, 35, 55), 0.75: (5, 20, 35), 0.5: (5, 20), 0.35: (5, 20), 0.25: (5,)},
    "jxl": {1: (0, 20, 45, 75), 0.75: (0, 20), 0.5: (0, 25, 50), 0.35: (0, 30), 0.25: (0,)},
    "hevc": {1: (49, 43, 37, 31), 0.75: (49, 43, 37), 0.5: (49, 43), 0.35: (46, 40), 0.25: (46,)},
}


@dataclass(frozen=True)
class Source:
    """A picture's file, read."""

    file_bytes: int
    picture: Picture


@dataclass(frozen=True)
class Shown:
    """size: bytes of the file; payload: of these, bytes without its container."""

    size: int
    payload: int
    pixels: Pixels


class Opponent(Protocol):
    """name, and for each setting what it is called and at which resolution it codes."""

    @property
    def name(self) -> str: ...

    @property
    def settings(self) -> Sequence[tuple[str, str]]: ...

    def show(self, source: Source) -> list[Shown]:
        """The picture through every setting, in their order."""

    def about(self) -> dict[str, Any]:
        """All that its results depend on."""


class Uncompressed:
    """The picture as it is; its bytes are those of the file that it came in."""

    name = "uncompressed"
    settings = (("source file", "source"),)

    def show(self, source: Source) -> list[Shown]:
        return [Shown(source.file_bytes, source.file_bytes, source.picture.pixels)]

    def about(self) -> dict[str, Any]:
        return {}


class ImageCodec:
    """One of train.codecs.CODECS over its grid of scales and qualities."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._grid = [
            Setting(name, scale, quality)
            for scale, qualities in GRID[name].items()
            for quality in qualities
        ]

    @property
    def settings(self) -> Sequence[tuple[str, str]]:
        knob = "crf" if self.name == "hevc" else "quality"
        return [(f"{knob} {s.quality}", f"{s.scale:g}") for s in self._grid]

    def show(self, source: Source) -> list[Shown]:
        height, width = source.picture.pixels.shape[:2]
        shown = []
        for setting in self._grid:
            data = encode(source.picture.pixels, setting)
            pixels = decode(data, setting, width, height)
            shown.append(Shown(len(data), payload_bytes(data, self.name), pixels))
        return shown

    def about(self) -> dict[str, Any]:
        return {"settings": list(self.settings), "versions": versions()}


def image_codecs() -> list[ImageCodec]:
    """Every codec that there is a grid for."""
    return [ImageCodec(name) for name in CODECS]


def versions() -> dict[str, str]:
    """Of the libraries that code pictures."""
    inside = {name: str(features.version(name)) for name in ("libjpeg_turbo", "webp", "avif")}
    return {name: version(name) for name in ("pillow", "pillow-jxl-plugin", "av")} | inside
