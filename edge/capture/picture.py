"""Any photograph -> RGB pixels, or a clear reason why not.

Turns what EXIF says is rotated, flattens transparency onto white, scales 16-bit grey to 8 bits and
converts CMYK, palettes and grey. Nothing here guesses: a file that is cut short is refused.

A picture is scaled down while it is still in its file's own form, so that one of 4096 x 4096 pixels
needs little more memory than that form takes.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from common.errors import BadPicture
from common.geometry import MAX_SIDE_PX, working_size

Pixels = NDArray[np.uint8]
"""H W 3, RGB."""

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".avif"})

_ORIENTATION = 0x0112  # EXIF: 1 is upright
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class Picture:
    """pixels H W 3 uint8, perhaps scaled down already; width, height of the source, upright."""

    pixels: Pixels
    width: int
    height: int

    @classmethod
    def whole(cls, pixels: Pixels) -> Picture:
        """A picture that is its own source."""
        return cls(pixels, pixels.shape[1], pixels.shape[0])


def read_picture(path: Path, side: int = MAX_SIDE_PX) -> Picture:
    """The picture in a file, its longer side at most `side` pixels.

    Raises BadPicture naming the file and what is wrong with it.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadPicture(f"{path}: {error.strerror or error}") from error
    try:
        return decode_picture(data, side)
    except BadPicture as error:
        raise BadPicture(f"{path}: {error}") from error


def decode_picture(data: bytes, side: int = MAX_SIDE_PX) -> Picture:
    """The same for bytes in memory. Raises BadPicture."""
    if not data:
        raise BadPicture("the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about large pictures and odd metadata
            with Image.open(io.BytesIO(data)) as picture:
                return _decode(picture, side)
    except UnidentifiedImageError as error:
        raise BadPicture("not a picture in a format that is known here") from error
    except Image.DecompressionBombError as error:
        raise BadPicture(f"larger than {MAX_SIDE_PX} x {MAX_SIDE_PX} pixels") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # what Pillow's parsers raise
        raise BadPicture(f"damaged or cut short ({error})") from error


def scale(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture at (width, height) pixels: as the networks were trained."""
    if picture.size == size:
        return picture
    return picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)


def _decode(picture: Image.Image, side: int) -> Picture:
    width, height = picture.size
    if not (1 <= width <= MAX_SIDE_PX and 1 <= height <= MAX_SIDE_PX):
        raise BadPicture(
            f"{width} x {height} pixels; each side must have 1 to {MAX_SIDE_PX}: scale it first"
        )
    picture.load()
    turn = _UPRIGHT.get(picture.getexif().get(_ORIENTATION, 1))
    size = working_size(width, height, side)
    small = _to_rgb(scale(_scalable(picture), size), deepest=_deepest(picture))
    if turn is not None:
        small = small.transpose(turn)
        if turn.name not in ("FLIP_LEFT_RIGHT", "FLIP_TOP_BOTTOM", "ROTATE_180"):
            width, height = height, width
    return Picture(np.asarray(small), width, height)


def _is_deep(picture: Image.Image) -> bool:
    return picture.mode in ("I", "F") or picture.mode.startswith("I;16")


def _deepest(picture: Image.Image) -> float:
    """The largest value of a deep grey picture; of another, nothing that matters."""
    extrema = picture.getextrema() if _is_deep(picture) else None
    return float(extrema[1]) if extrema and not isinstance(extrema[1], tuple) else 255.0


def _scalable(picture: Image.Image) -> Image.Image:
    """The picture in a mode in which neighbours can be averaged, transparency kept."""
    if _is_deep(picture):
        return picture if picture.mode in ("I", "F") else picture.convert("I")
    if "transparency" in picture.info or picture.mode == "PA":
        return picture.convert("RGBA")
    if picture.mode in ("L", "LA", "RGB", "RGBA", "CMYK"):
        return picture
    return picture.convert("RGB")


def _to_rgb(picture: Image.Image, deepest: float) -> Image.Image:
    if _is_deep(picture):
        return _from_deep_grey(picture, deepest)
    if "A" in picture.getbands():
        clear = picture.convert("RGBA")
        white = Image.new("RGBA", clear.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(white, clear)
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _from_deep_grey(picture: Image.Image, deepest: float) -> Image.Image:
    """16-bit files fill 0..65535; one whose values are all below 256 was 8-bit to begin with."""
    factor = 1.0 if deepest <= 255 else 255 / 65535
    values = np.asarray(picture, dtype=np.float32)
    grey = (values * np.float32(factor)).clip(0, 255).round().astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")
