from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from common.errors import BadPicture
from edge.capture import demo_camera
from edge.capture.demo_camera import find_clip

CLIP = b"a clip"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the fetching is replaced: what these tests are about is the order and the check."""
    monkeypatch.setattr(demo_camera, "CLIP_SHA256", hashlib.sha256(CLIP).hexdigest())
    monkeypatch.setattr(demo_camera, "_download", fail)
    monkeypatch.setattr(demo_camera, "_from_package", fail)


def fail() -> bytes:
    raise OSError("no network here")


def test_what_the_user_names_comes_first(tmp_path: Path) -> None:
    assert find_clip("street.mp4", tmp_path) == ("street.mp4", "street.mp4 (as asked for)")


def test_the_download_is_checked_and_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_camera, "_download", lambda: CLIP)
    clip, origin = find_clip(None, tmp_path / "cache")
    assert "https://" in origin
    assert Path(clip).read_bytes() == CLIP
    monkeypatch.setattr(demo_camera, "_download", fail)
    assert find_clip(None, tmp_path / "cache") == (clip, f"{clip} (cached)")


def test_another_file_is_not_taken_and_the_package_is_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_camera, "_download", lambda: b"something else")
    monkeypatch.setattr(demo_camera, "_from_package", lambda: CLIP)
    assert "opencv-doc" in find_clip(None, tmp_path)[1]


def test_a_damaged_cache_is_fetched_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vtest.avi").write_bytes(b"half a clip")
    monkeypatch.setattr(demo_camera, "_download", lambda: CLIP)
    clip, _ = find_clip(None, tmp_path)
    assert Path(clip).read_bytes() == CLIP


def test_without_any_it_says_what_was_tried(tmp_path: Path) -> None:
    with pytest.raises(BadPicture, match="GLIMPSE_DEMO_CLIP") as caught:
        find_clip(None, tmp_path)
    assert str(caught.value).count("no network here") == 2
