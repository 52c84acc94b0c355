from __future__ import annotations

import io
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.errors import BadPicture, BadSettings
from edge.capture.masks import GREY
from edge.capture.picture import Picture, Pixels
from edge.capture.sources import camera_frames
from edge.coding.encoder import Analysis, Encoder
from edge.display import Display
from edge.run import run
from edge.settings import read_settings
from tests.edge.rtsp import rtsp_server

UPPER_HALF = [[0, 0], [1, 0], [1, 0.5], [0, 0.5]]


def white_pictures(folder: Path, count: int = 3) -> str:
    for i in range(count):
        Image.new("RGB", (64, 48), "white").save(folder / f"{i}.png")
    return str(folder)


def assert_masked(pixels: Pixels) -> None:
    assert (pixels[:24] == GREY).all()
    assert (pixels[26:] == 255).all()


def test_masks_are_on_every_frame_before_it_is_seen(tmp_path: Path) -> None:
    settings = read_settings(masks=[UPPER_HALF], fps=100)
    frames = list(camera_frames(settings, white_pictures(tmp_path), threading.Event()))
    assert len(frames) == 3
    for frame in frames:
        assert_masked(frame.read().pixels)


async def test_the_encoder_gets_what_is_masked(
    tmp_path: Path, weights_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen from inside a whole run, at the encoder's door."""
    seen: list[Pixels] = []
    analyse = Encoder.analyse

    def spy(encoder: Encoder, picture: Picture) -> Analysis:
        seen.append(picture.pixels)
        return analyse(encoder, picture)

    monkeypatch.setattr(Encoder, "analyse", spy)
    settings = read_settings(
        masks=[UPPER_HALF], fps=20, weights=weights_folder, server="127.0.0.1:9", drain_s=0
    )
    out = io.StringIO()
    await run(settings, white_pictures(tmp_path), Display(out, out))
    assert seen
    for pixels in seen:
        assert_masked(pixels)


def test_masks_are_on_live_sources_too() -> None:
    settings = read_settings(masks=[UPPER_HALF], fps=20)
    with rtsp_server() as server:
        frames = camera_frames(settings, server.url, threading.Event())
        pictures = [frame.read().pixels for _, frame in zip(range(4), frames, strict=False)]
        frames.close()
    assert len(pictures) == 4
    for pixels in pictures:
        assert (pixels[:24] == GREY).all()
        assert np.ptp(pixels[26:]) < 8


def test_without_masks_nothing_is_changed(tmp_path: Path) -> None:
    settings = read_settings(fps=100)
    for frame in camera_frames(settings, white_pictures(tmp_path), threading.Event()):
        assert (frame.read().pixels == 255).all()


def test_what_cannot_work_is_told_at_the_first_frame() -> None:
    with pytest.raises(BadPicture, match="/dev/video999"):
        next(camera_frames(read_settings(), "/dev/video999", threading.Event()))
    with pytest.raises(BadPicture, match="no such file"):
        next(camera_frames(read_settings(), "gone.mp4", threading.Event()))
    with pytest.raises(BadSettings, match="masks: mask 1: 2 corners"):
        read_settings(masks=[[[0, 0], [1, 1]]])
