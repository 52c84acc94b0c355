from __future__ import annotations

import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from common.errors import BadPicture, BadSettings
from edge.capture.file import open_source, paced


def make_video(path: Path, frames: int = 25, rate: int = 25) -> Path:
    """Frame i is of brightness 10 i."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(rate))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(frames):
            pixels = np.full((48, 64, 3), 10 * i, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def make_pictures(folder: Path, count: int) -> Path:
    folder.mkdir()
    for i in range(count):
        Image.new("RGB", (64, 48), (i, i, i)).save(folder / f"{i:03}.png")
    (folder / "notes.txt").write_text("not a picture, and not taken for one")
    return folder


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("video") / "clip.mp4")


@pytest.mark.parametrize(("fps", "count"), [(25, 25), (100, 25), (5, 5), (10, 10), (1, 1)])
def test_a_video_is_thinned_to_fps(video: Path, fps: float, count: int) -> None:
    frames = list(open_source(str(video), fps))
    assert len(frames) == count
    gaps = np.diff([frame.position for frame in frames])
    assert (np.abs(gaps - max(1 / fps, 1 / 25)) < 0.021).all()


def test_a_video_shows_its_frames_in_order(video: Path) -> None:
    brightness = [frame.read().pixels.mean() for frame in open_source(str(video), 5)]
    assert brightness == pytest.approx([0, 50, 100, 150, 200], abs=8)
    picture = next(iter(open_source(str(video), 5))).read()
    assert picture.pixels.shape == (48, 64, 3)
    assert picture.pixels.flags.c_contiguous
    assert (picture.width, picture.height) == (64, 48)


def test_a_folder_in_the_order_of_names(tmp_path: Path) -> None:
    frames = list(open_source(str(make_pictures(tmp_path / "p", 4)), 2))
    assert [int(frame.read().pixels[0, 0, 0]) for frame in frames] == [0, 1, 2, 3]
    assert [frame.position for frame in frames] == [0, 0.5, 1.0, 1.5]


def test_a_single_picture(tmp_path: Path) -> None:
    [frame] = open_source(str(make_pictures(tmp_path / "p", 1) / "000.png"), 2, side=32)
    picture = frame.read()
    assert (picture.pixels.shape, picture.width) == ((24, 32, 3), 64)


@pytest.mark.parametrize("name", ["gone", "empty", "text.mp4", "sound.wav", "cut.mp4"])
def test_bad_sources(tmp_path: Path, video: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("no video " * 100)
    (tmp_path / "cut.mp4").write_bytes(video.read_bytes()[:1000])
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        sound.rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(BadPicture, match=name):
        list(open_source(str(tmp_path / name), 5))


def test_fps_must_be_positive(video: Path) -> None:
    with pytest.raises(BadSettings):
        open_source(str(video), 0)


def test_paced_keeps_real_time(video: Path) -> None:
    start = time.monotonic()
    moments = [(frame.position, time.monotonic() - start) for frame in paced(str(video), 10)]
    assert len(moments) == 10
    assert all(now >= position - 0.01 for position, now in moments)


def test_paced_marks_what_comes_too_late(tmp_path: Path) -> None:
    source = str(make_pictures(tmp_path / "p", 20))
    late = []
    for frame in paced(source, 20):
        late.append(frame.late)
        if len(late) == 1:
            time.sleep(0.5)  # a consumer that is slow once
    assert len(late) == 20
    assert 7 <= sum(late) <= 12
    assert not late[0]
    assert not late[-1]


def test_paced_begins_again(tmp_path: Path) -> None:
    source = paced(str(make_pictures(tmp_path / "p", 3)), 200, loop=True)
    positions = [frame.position for _, frame in zip(range(8), source, strict=False)]
    assert positions == pytest.approx([i / 200 for i in range(8)])


def test_stopping_ends_a_wait(tmp_path: Path) -> None:
    stopping = threading.Event()
    source = paced(str(make_pictures(tmp_path / "p", 3)), 0.01, stopping=stopping)
    next(source)
    threading.Timer(0.05, stopping.set).start()
    start = time.monotonic()
    assert list(source) == []
    assert time.monotonic() - start < 5
