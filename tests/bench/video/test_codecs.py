from __future__ import annotations

import os

import av
import numpy as np
import pytest

from bench.video.codecs import (
    NEVER,
    VIDEO_CODECS,
    Stream,
    VideoSetting,
    coded_size,
    decode,
    encode,
)
from common.errors import BadSettings
from tests.weights import film
from train.codecs import resized

PRESETS = {"x265": "medium", "svt-av1": "8"}


def setting(codec, *, keyint=NEVER, side=192, crf=35):
    return VideoSetting(codec, PRESETS[codec], keyint, side, crf)


@pytest.fixture(scope="module")
def pictures():
    return film(np.random.default_rng(1), 6, 144, 192)


@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_a_clip_comes_back(codec, pictures):
    one = setting(codec, side=128)
    stream = encode(pictures, one, 5.0)
    shown = decode(stream, one)
    assert len(stream.packets) == len(shown) == len(pictures)
    for before, after in zip(pictures, shown, strict=True):
        assert after.shape == (96, 128, 3)
        error = np.mean((resized(before, 128, 96).astype(float) - after) ** 2)
        assert error < 255**2 / 10**2.4  # 24 dB; frames in a wrong order have 15 dB
    assert stream.file_bytes > sum(map(len, stream.packets))


@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_no_picture_waits_for_a_later_one(codec, pictures):
    one = setting(codec)
    stream = encode(pictures, one, 5.0)
    whole = decode(stream, one)
    part = decode(Stream(stream.packets[:3], 0), one)
    assert len(part) == 3
    assert all(np.array_equal(a, b) for a, b in zip(part, whole[:3], strict=True))


@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_settings_do_what_they_say(codec, pictures):
    def size(**knobs):
        return sum(map(len, encode(pictures, setting(codec, **knobs), 5.0).packets))

    assert size(crf=50) < size() < size(crf=20)
    assert size(side=96) < size()
    assert size() < size(keyint=2)


@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_whoever_encodes_keeps_their_priority(codec, pictures):
    before = os.sched_getscheduler(0)
    encode(pictures, setting(codec), 5.0)
    assert os.sched_getscheduler(0) == before


def test_sizes_are_even_and_keep_the_shape(pictures):
    assert coded_size(pictures[0], 640) == (192, 144)  # never enlarged
    assert coded_size(pictures[0], 101) == (100, 76)
    assert coded_size(np.zeros((300, 9, 3), np.uint8), 100) == (16, 100)


def test_an_unknown_codec_is_refused_by_name(pictures):
    with pytest.raises(BadSettings, match="no such video codec: h266; there are x265, svt-av1"):
        encode(pictures, VideoSetting("h266", "slow", NEVER, 192, 35), 5.0)


def test_a_codec_that_this_build_has_not_is_said(pictures, monkeypatch):
    monkeypatch.setattr(av.codec, "codecs_available", {"hevc", "libdav1d", "libsvtav1"})
    with pytest.raises(BadSettings, match="x265: this build of PyAV has no libx265"):
        encode(pictures, setting("x265"), 5.0)
    encode(pictures, setting("svt-av1"), 5.0)
