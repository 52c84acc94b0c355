"""Stills as cameras send them: AVIF files that carry a machine layer, and not to be trusted."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from cloud.pictures.values import Pixels
from common.errors import BadPicture
from common.geometry import MAX_SIDE_PX
from common.stills import EXIF_IFD, MAKER_NOTE

_FORMATS = ("AVIF",)


def check_still(data: bytes) -> None:
    """Looks at the file's header alone. Raises BadPicture for what cannot be a still."""
    _opened(data)


def layer_of(data: bytes) -> bytes | None:
    """The machine layer of what a still shows; None: it carries none. Raises BadPicture."""
    try:
        layer = _opened(data).getexif().get_ifd(EXIF_IFD).get(MAKER_NOTE)
    except (OSError, SyntaxError, ValueError, EOFError, RuntimeError) as error:  # Pillow's
        raise BadPicture(f"damaged Exif data ({error})") from error
    return layer if isinstance(layer, bytes) else None


def read_still(data: bytes) -> Pixels:
    """H W 3. Raises BadPicture for a file that is no still, or damaged."""
    picture = _opened(data)
    try:
        return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, EOFError, RuntimeError) as error:  # Pillow's
        raise BadPicture(f"damaged or cut short ({error})") from error


def _opened(data: bytes) -> Image.Image:
    try:
        picture = Image.open(io.BytesIO(data), formats=_FORMATS)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise BadPicture("not an AVIF file") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadPicture(f"larger than {MAX_SIDE_PX} x {MAX_SIDE_PX} pixels") from error
    if max(picture.size) > MAX_SIDE_PX:
        width, height = picture.size
        raise BadPicture(f"{width} x {height} pixels; each side may have {MAX_SIDE_PX}")
    return picture
