"""The measures: what they say of equal pictures, of worse ones, of other sizes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from cloud.pictures.likeness import likeness
from common.errors import BadPicture
from tests.human import made

PHOTO = made(np.random.default_rng(3), 176, 192)


def noisy(sigma: float) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    noise = np.random.default_rng(4).normal(0, sigma, PHOTO.shape)
    return (PHOTO + noise).clip(0, 255).astype(np.uint8)


def test_a_picture_is_most_like_itself() -> None:
    same = likeness(Image.fromarray(PHOTO), PHOTO)
    assert same.psnr == math.inf
    assert same.ms_ssim == pytest.approx(1.0)
    assert same.ssimulacra2 == pytest.approx(100.0)


def test_each_falls_with_noise() -> None:
    original = Image.fromarray(PHOTO)
    little, much = likeness(original, noisy(2)), likeness(original, noisy(20))
    assert little.psnr > much.psnr
    assert little.ms_ssim is not None
    assert much.ms_ssim is not None
    assert little.ms_ssim > much.ms_ssim
    assert little.ssimulacra2 > much.ssimulacra2
    flat = np.full_like(PHOTO, 128)
    assert likeness(Image.fromarray(flat), flat + np.uint8(16)).psnr == pytest.approx(
        20 * math.log10(255 / 16)
    )


def test_a_small_picture_has_no_five_scales() -> None:
    small = PHOTO[:64, :64]
    assert likeness(Image.fromarray(small), small).ms_ssim is None


def test_sizes_that_differ() -> None:
    with pytest.raises(BadPicture, match="192 x 176 and 64 x 64"):
        likeness(Image.fromarray(PHOTO), PHOTO[:64, :64])
