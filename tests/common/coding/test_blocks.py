from __future__ import annotations

import numpy as np
import pytest

from common.coding.blocks import (
    COEFFICIENTS,
    PLANES,
    analyse,
    dequantise,
    quantise,
    steps,
    synthesise,
)
from common.coding.contexts import Ints
from tests.human import made


def grey(rng: np.random.Generator) -> Ints:
    return np.repeat(made(rng)[..., :1], 3, axis=2)


def test_a_grey_picture_comes_back_exactly() -> None:
    pixels = grey(np.random.default_rng(1))
    assert np.abs(synthesise(analyse(pixels)) - pixels).max() < 0.01


def test_colour_comes_back_but_for_half_of_its_sharpness() -> None:
    pixels = made(np.random.default_rng(2))
    assert np.sqrt(((synthesise(analyse(pixels)) - pixels) ** 2).mean()) < 6
    flat = np.broadcast_to(np.array([200, 40, 90], np.uint8), (32, 48, 3))
    assert np.abs(synthesise(analyse(flat)) - flat).max() < 0.01


def test_the_transform_keeps_energy() -> None:
    pixels = grey(np.random.default_rng(3))
    c = analyse(pixels)
    assert c.shape == (6, 8, COEFFICIENTS)
    energy = ((pixels[..., 0].astype(float) - 128) ** 2).sum()
    assert (c[..., : PLANES[0].end] ** 2).sum() == pytest.approx(energy, rel=1e-4)


def test_one_coefficient_in_scan_order_is_one_frequency() -> None:
    x = np.cos(np.pi * (2 * np.arange(16) + 1) / 32)  # the first of a row
    pixels = np.repeat((128 + 50 * np.broadcast_to(x, (16, 16)))[..., None], 3, axis=2)
    c = analyse(pixels)[0, 0]
    assert np.abs(c).argmax() == 1  # (row 0, column 1) follows (0, 0)
    assert np.abs(np.delete(c, 1)).max() < 0.01


@pytest.mark.parametrize("quality", [0, 100, 255])
def test_quantising_errs_by_less_than_a_step(quality: int) -> None:
    c = analyse(made(np.random.default_rng(4)))
    error = np.abs(dequantise(quantise(c, quality), quality) - c)
    assert (error <= steps(quality) * 0.7).all()


def test_steps_fall_with_quality() -> None:
    luma = [float(steps(q)[0]) for q in range(256)]
    assert luma == sorted(luma, reverse=True)
    assert luma[0] == 128
    assert luma[-1] == pytest.approx(4)


@pytest.mark.parametrize("shape", [(16, 24, 3), (16, 16), (16, 16, 4), (8, 16, 3)])
def test_a_picture_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shape"):
        analyse(np.zeros(shape, np.uint8))
