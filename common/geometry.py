"""Sizes: source picture -> working picture -> latent. Integers only, so that both sides agree."""

from __future__ import annotations

from common.errors import BadPicture

STRIDE = 16  # source pixels per latent position, along each side
MAX_SIDE_PX = 4096  # the longest side, of the source and of the working picture
MAX_LATENT_SIDE = MAX_SIDE_PX // STRIDE


def working_size(width: int, height: int, side: int) -> tuple[int, int]:
    """Return (width, height) of the picture that the encoder reads.

    width, height  source pixels, 1..4096
    side           the longer side of the working picture, at most, in pixels, 1..4096

    The source is scaled so that its longer side is `side`; it is never enlarged. The shorter
    side is rounded half up and is at least 1. Raises BadPicture outside these ranges.
    """
    for name, value in (("width", width), ("height", height), ("side", side)):
        if not 1 <= value <= MAX_SIDE_PX:
            raise BadPicture(f"{name} {value} is outside 1..{MAX_SIDE_PX}")
    longer = max(width, height)
    if longer <= side:
        return width, height
    return _scaled(width, side, longer), _scaled(height, side, longer)


def latent_size(width: int, height: int) -> tuple[int, int]:
    """Return (h, w), the latent's rows and columns, for a working picture in pixels (1..4096).

    A picture that is no multiple of 16 is padded to the right and below. Raises BadPicture.
    """
    for name, value in (("width", width), ("height", height)):
        if not 1 <= value <= MAX_SIDE_PX:
            raise BadPicture(f"{name} {value} is outside 1..{MAX_SIDE_PX}")
    return -(-height // STRIDE), -(-width // STRIDE)


def pooled_size(size: tuple[int, int], factor: int) -> tuple[int, int]:
    """Return (h, w) of a summary (summary.py) of a latent of this (h, w); factor: 1 or more."""
    return -(-size[0] // factor), -(-size[1] // factor)


def _scaled(length: int, side: int, longer: int) -> int:
    return max(1, (2 * length * side + longer) // (2 * longer))
