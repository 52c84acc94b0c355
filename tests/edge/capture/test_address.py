from __future__ import annotations

import pytest

from edge.capture.address import is_device, is_live, shown


@pytest.mark.parametrize(
    ("source", "live"),
    [
        ("rtsp://10.0.0.7/live", True),
        ("RTSPS://10.0.0.7/live", True),
        ("http://camera/video.mjpg", True),
        ("tcp://camera:5000", True),
        ("/dev/video0", True),
        ("clip.mp4", False),
        ("/data/dev/video0", False),
        ("ftp://camera/clip.mp4", False),
        ("", False),
    ],
)
def test_what_is_live(source: str, live: bool) -> None:
    assert is_live(source) == live
    assert is_device(source) == (source == "/dev/video0")


@pytest.mark.parametrize(
    ("source", "safe"),
    [
        ("rtsp://camera/live", "rtsp://camera/live"),
        ("rtsp://me:secret@camera:554/live", "rtsp://***@camera:554/live"),
        ("rtsp://me:se/cr@et@camera/live", "rtsp://***@camera/live"),
        ("http://camera/mjpg?user=me&password=secret", "http://camera/mjpg?***"),
        ("who@home?.mp4", "who@home?.mp4"),
    ],
)
def test_no_secret_is_shown(source: str, safe: str) -> None:
    assert shown(source) == safe
