from __future__ import annotations

import numpy as np
import pytest

from tests.weights import photograph
from train.codecs import CODECS, Setting, coded_size, decode, encode, payload_bytes, resized

PICTURE = photograph(np.random.default_rng(0), 121, 163)  # odd sides: x265 takes none
GOOD = {"jpeg": 90, "webp": 90, "avif": 85, "jxl": 90, "hevc": 18}
POOR = {"jpeg": 10, "webp": 5, "avif": 15, "jxl": 10, "hevc": 42}


@pytest.mark.parametrize("codec", CODECS)
def test_a_good_picture_comes_back_and_a_poor_one_is_smaller(codec):
    good, poor = Setting(codec, 1.0, GOOD[codec]), Setting(codec, 1.0, POOR[codec])
    data, small = encode(PICTURE, good), encode(PICTURE, poor)
    shown = decode(data, good, 163, 121)
    assert shown.shape == PICTURE.shape
    assert shown.dtype == np.uint8
    assert psnr(shown) > 30
    assert len(small) < len(data) / 2
    assert 14 < psnr(decode(small, poor, 163, 121)) < psnr(shown)


@pytest.mark.parametrize("codec", CODECS)
def test_a_scaled_picture_is_coded_smaller_and_shown_at_its_size(codec):
    setting = Setting(codec, 0.35, GOOD[codec])
    data = encode(PICTURE, setting)
    shown = decode(data, setting, 163, 121)
    assert shown.shape == (42, 57, 3)
    assert resized(shown, 163, 121).shape == PICTURE.shape
    assert len(data) < len(encode(PICTURE, Setting(codec, 1.0, GOOD[codec]))) / 2


@pytest.mark.parametrize("codec", CODECS)
def test_a_container_is_the_smaller_part(codec):
    data = encode(PICTURE, Setting(codec, 1.0, GOOD[codec]))
    overhead = len(data) - payload_bytes(data, codec)
    low, high = {"avif": (200, 400), "webp": (20, 20)}.get(codec, (0, 0))
    assert low <= overhead <= high


def test_tiny_pictures_can_be_coded():
    assert coded_size(20, 30, 0.25) == (16, 16)
    for codec in CODECS:
        setting = Setting(codec, 0.25, GOOD[codec])
        assert decode(encode(PICTURE[:30, :20], setting), setting, 20, 30).shape == (16, 16, 3)


def psnr(shown):
    return -10 * np.log10(np.square((shown.astype(float) - PICTURE) / 255).mean())
