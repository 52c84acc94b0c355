"""Pictures on disk: what was put comes back, and goes when it is old, too much, or damaged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cloud.pictures.cache import PictureCache
from cloud.pictures.values import Picture

PICTURE = Picture(b"png" * 100, 160, 120, "tiny-0d0d", ("a note",), (2, 1, b"\x00\xff"))
PLAIN = Picture(b"png", 16, 8, "tiny-0d0d")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def cache(folder: Path, clock: Clock, max_bytes: int = 10_000, keep_s: float = 60) -> PictureCache:
    return PictureCache(folder / "pictures", max_bytes=max_bytes, keep_s=keep_s, clock=clock)


@pytest.mark.parametrize("picture", [PICTURE, PLAIN], ids=["full", "plain"])
def test_what_was_put_comes_back(tmp_path: Path, clock: Clock, picture: Picture) -> None:
    cache(tmp_path, clock).put("a" * 64, picture)
    assert cache(tmp_path, clock).get("a" * 64) == picture
    assert cache(tmp_path, clock).get("b" * 64) is None


def test_it_ends_by_its_age_or_sooner_with_its_frame(tmp_path: Path, clock: Clock) -> None:
    kept = cache(tmp_path, clock)
    kept.put("a", PICTURE)
    kept.put("b", PICTURE, until=1030.0)
    kept.put("c", PICTURE, until=9999.0)
    clock.now = 1030.0
    assert [kept.get(key) is None for key in "abc"] == [False, True, False]
    clock.now = 1060.0
    kept.sweep()
    assert list((tmp_path / "pictures").iterdir()) == []


def test_the_one_used_longest_ago_makes_room(tmp_path: Path, clock: Clock) -> None:
    kept = cache(tmp_path, clock, max_bytes=1500)
    for n, key in enumerate("abc"):
        kept.put(key, PICTURE)
        os.utime(tmp_path / "pictures" / f"{key}.picture", (n, n))
    assert kept.get("a") is not None  # in use again, and now
    kept.put("d", PICTURE)
    kept.sweep()
    left = {path.stem for path in (tmp_path / "pictures").iterdir()}
    assert {"a", "d"} <= left
    assert sum(p.stat().st_size for p in (tmp_path / "pictures").iterdir()) <= 1500
    assert "b" not in left


@pytest.mark.parametrize("damage", [b"", b"{}", b"not json\npng", b"[1]\nx"], ids=repr)
def test_damage_is_as_if_it_had_never_been_there(
    tmp_path: Path, clock: Clock, damage: bytes
) -> None:
    kept = cache(tmp_path, clock)
    kept.put("a", PICTURE)
    path = tmp_path / "pictures" / "a.picture"
    path.write_bytes(damage)
    assert kept.get("a") is None
    assert not path.exists()
    whole = cache(tmp_path, clock)
    whole.put("a", PICTURE)
    path.write_bytes(path.read_bytes()[:-1])
    assert whole.get("a") is None


def test_a_cache_of_no_bytes_keeps_nothing(tmp_path: Path, clock: Clock) -> None:
    kept = cache(tmp_path, clock, max_bytes=0)
    kept.put("a", PICTURE)
    assert kept.get("a") is None
    assert not (tmp_path / "pictures").exists()


def test_a_disk_that_fails_is_no_failure(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "pictures").write_text("a file in the way")
    kept = cache(tmp_path, clock)
    kept.put("a", PICTURE)
    assert kept.get("a") is None
