"""A picture <-> coefficients: the transform of the auxiliary layer.

    pixels H W 3 ── Y Cb Cr, chroma halved ──> 16 x 16 luma and 8 x 8 chroma DCT of every 16 x 16
    pixels ──> coefficients h w 384, h = H/16, w = W/16: one row of them over each position of the
    machine latent

The DCT is orthonormal, so that a step of s costs s^2 / 12 of squared error wherever it is taken.
Each plane's coefficients stand in scan order, low frequencies first: Y 0..255, Cb 256..319,
Cr 320..383. Colours are those of JFIF (BT.601, full range). Nothing here has to be exact: what must
agree on two machines is coefficients.py, on integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.geometry import STRIDE

Floats = NDArray[np.float32]

_COARSE, _FINE = 128.0, 4.0  # luma steps at quality 0 and 255
_CHROMA = 0.95  # of them, for colours
_COLOUR = 0.45  # of them, for a block's mean colour: 5 % more bytes at quality 0 are worth 0.8 dB
_GREY = 128.0
_ROUNDING = 0.38
_PULL = 0.06  # of a step: where most of what a step holds is


@dataclass(frozen=True, slots=True)
class Plane:
    """One plane's place among the coefficients of a position: n x n of them from `start` on."""

    start: int
    n: int

    @property
    def end(self) -> int:
        return self.start + self.n * self.n


PLANES = (Plane(0, 16), Plane(256, 8), Plane(320, 8))  # Y, Cb, Cr
COEFFICIENTS = PLANES[-1].end

_FROM_RGB = np.array(
    [
        [0.299, 0.587, 0.114],
        [-0.299 / 1.772, -0.587 / 1.772, 0.5],
        [0.5, -0.587 / 1.402, -0.114 / 1.402],
    ],
    np.float32,
)
_TO_RGB = np.linalg.inv(_FROM_RGB.astype(np.float64)).astype(np.float32)


def steps(quality: int) -> Floats:
    """Return the quantiser's steps, 384, at quality 0..255; geometric between coarse and fine."""
    luma = _COARSE * (_FINE / _COARSE) ** (quality / 255)
    out = np.full(COEFFICIENTS, luma * _CHROMA, np.float32)
    out[: PLANES[0].end] = luma
    for plane in PLANES[1:]:
        out[plane.start] = luma * _COLOUR
    return out


def analyse(pixels: NDArray[Any]) -> Floats:
    """Return coefficients h w 384 of pixels H W 3 in 0..255; H and W are multiples of 16."""
    if pixels.ndim != 3 or pixels.shape[2] != 3 or any(side % STRIDE for side in pixels.shape[:2]):
        raise ValueError(f"pixels of shape {pixels.shape}")
    planes = (pixels.astype(np.float32) - _GREY) @ _FROM_RGB.T
    halved = (planes[::2] + planes[1::2]) * 0.5
    halved = (halved[:, ::2] + halved[:, 1::2]) * 0.5
    parts = [planes[..., 0], halved[..., 1], halved[..., 2]]
    return np.concatenate(
        [_forward(part, plane.n) for part, plane in zip(parts, PLANES, strict=True)], axis=2
    )


def synthesise(coefficients: Floats) -> Floats:
    """Return pixels H W 3, about 0..255 and not clipped, of coefficients h w 384."""
    y, cb, cr = (_backward(coefficients[..., plane.start : plane.end], plane.n) for plane in PLANES)
    planes = np.stack([y, _doubled(cb), _doubled(cr)], axis=-1)
    pixels: Floats = planes @ _TO_RGB.T + np.float32(_GREY)
    return pixels


def quantise(coefficients: Floats, quality: int, rounding: float = _ROUNDING) -> NDArray[np.int16]:
    """Return integers h w 384 of coefficients.

    rounding  of a step, added before the fraction is cut: below 1/2 zeros are preferred
    """
    scaled = coefficients / steps(quality)
    q = np.sign(scaled) * np.floor(np.abs(scaled) + rounding)
    integers: NDArray[np.int16] = q.astype(np.int16)
    return integers


def dequantise(q: NDArray[np.int16], quality: int) -> Floats:
    """Return coefficients of integers, a little nearer to zero than the middle of each step."""
    pulled = np.sign(q) * np.maximum(np.abs(q) - _PULL, 0)
    values: Floats = (pulled * steps(quality)).astype(np.float32)
    return values


@cache
def scan(n: int) -> tuple[tuple[int, int], ...]:
    """Return (row, column) of every coefficient of an n x n block, low frequencies first."""
    every = ((u, v) for u in range(n) for v in range(n))
    return tuple(sorted(every, key=lambda at: (at[0] + at[1], at[0])))


@cache
def _basis(n: int) -> Floats:
    """The orthonormal DCT-II of blocks as one matrix: coefficients in scan order by pixels."""
    k, i = np.arange(n)[:, None], np.arange(n)[None]
    one = np.sqrt(2 / n) * np.cos(np.pi * (2 * i + 1) * k / (2 * n))
    one[0] /= np.sqrt(2)
    rows = [np.outer(one[u], one[v]).ravel() for u, v in scan(n)]
    return np.array(rows, np.float32)


def _forward(plane: Floats, n: int) -> Floats:
    h, w = plane.shape[0] // n, plane.shape[1] // n
    pixels = plane.reshape(h, n, w, n).transpose(0, 2, 1, 3).reshape(h, w, n * n)
    return np.ascontiguousarray(pixels) @ _basis(n).T


def _backward(rows: Floats, n: int) -> Floats:
    h, w = rows.shape[:2]
    pixels = np.ascontiguousarray(rows) @ _basis(n)
    return pixels.reshape(h, w, n, n).transpose(0, 2, 1, 3).reshape(h * n, w * n)


def _doubled(plane: Floats) -> Floats:
    """Twice as large, linear between the centres of the small plane's pixels."""
    return _doubled_rows(_doubled_rows(plane).T).T


def _doubled_rows(plane: Floats) -> Floats:
    above = np.concatenate([plane[:1], plane[:-1]])
    below = np.concatenate([plane[1:], plane[-1:]])
    out = np.empty((2 * plane.shape[0], plane.shape[1]), np.float32)
    out[::2], out[1::2] = 0.75 * plane + 0.25 * above, 0.75 * plane + 0.25 * below
    return out
