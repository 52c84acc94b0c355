"""Which integers to code: the encoder's choice between error and bits.

Rate-distortion optimised quantisation, as encoders of video do it: of the nearest integer, the one
below it and zero, the one with the least error^2 + lambda * bits, in units of the step, with bits
from the very tables that code them. Any choice is a valid layer: the decoder knows nothing of it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.coding.blocks import PLANES, quantise, steps
from common.coding.coefficients import LARGEST, MOST, CoefficientModel, see
from common.coding.contexts import Ints

_LAMBDA = 0.14  # of a squared step, a bit


def chosen(
    model: CoefficientModel, coefficients: NDArray[np.float32], base: Ints, quality: int
) -> Ints:
    """Return integers h w 384 to code for coefficients h w 384.

    base  h w 2, what the machine layer says, as from coefficients.describe

    The contexts that bits are reckoned from are those of plain quantisation.
    """
    size = coefficients.shape[:2]
    seen = see(quantise(coefficients, quality), base)
    scaled = coefficients / steps(quality)
    out = np.empty(scaled.shape, np.int16)
    for number, plane in enumerate(PLANES):
        part = scaled[..., plane.start : plane.end].reshape(-1, plane.n * plane.n)
        cost = model.cost(number, model.expected(number, seen, base, quality))
        out[..., plane.start : plane.end] = _cheapest(part, cost).reshape(*size, -1)
    # the DC is coded as a difference, and is not to drift
    for plane in PLANES:
        out[..., plane.start] = np.rint(scaled[..., plane.start]).clip(-MOST, MOST)
    return out


def _cheapest(scaled: NDArray[np.float32], cost: NDArray[np.float32]) -> Ints:
    """scaled P n, cost P n 16 in bits: the integers with the least error^2 + lambda bits."""
    size = np.abs(scaled)
    nearest = np.minimum(np.rint(size), MOST).astype(np.int32)
    best, least = nearest, _price(size, nearest, cost)
    for other in (np.maximum(nearest - 1, 0), np.zeros_like(nearest)):
        price = _price(size, other, cost)
        best = np.where(price < least, other, best)
        least = np.minimum(price, least)
    out: Ints = np.where(scaled < 0, -best, best)
    return out


def _price(
    size: NDArray[np.float32], integers: Ints, cost: NDArray[np.float32]
) -> NDArray[np.float32]:
    symbol = np.minimum(integers, LARGEST + 1)[..., None]
    bits = np.take_along_axis(cost, symbol, -1)[..., 0]
    price: NDArray[np.float32] = (size - integers) ** 2 + np.float32(_LAMBDA) * bits
    return price
