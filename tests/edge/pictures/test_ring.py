from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import BadSettings, StoreFull
from common.types import FrameId
from edge.pictures.ring import Kept, Ring


class Clock:
    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        return self.now


def frame(seq: int, boot: str = "b-1_x") -> FrameId:
    return FrameId("gate", boot, seq)


def ring(folder: Path, **changes: float) -> Ring:
    clock = Clock()
    bounds = {"max_bytes": 1000, "max_age": 60.0} | changes
    return Ring(folder, max_bytes=int(bounds["max_bytes"]), max_age=bounds["max_age"], clock=clock)


def advance(kept: Ring, seconds: float) -> None:
    assert isinstance(kept._clock, Clock)
    kept._clock.now += seconds


def test_what_is_kept_is_there_after_a_restart(tmp_path: Path) -> None:
    first = ring(tmp_path)
    first.put(frame(1), Kept("layer", b"one"))
    first.put(frame(2, "b2"), Kept("picture", b""))
    again = ring(tmp_path)
    assert again.get(frame(1)) == first.get(frame(1)) == Kept("layer", b"one")
    assert again.get(frame(2, "b2")) == Kept("picture", b"")
    assert again.get(frame(2)) is None
    assert (len(again), again.bytes) == (2, 3 + 4 + 4)


def test_the_oldest_go_when_there_is_no_room(tmp_path: Path) -> None:
    kept = ring(tmp_path)
    for seq in range(10):
        advance(kept, 1.0)
        kept.put(frame(seq), Kept("layer", bytes(196)))
        assert kept.bytes <= 1000
    assert [seq for seq in range(10) if kept.get(frame(seq))] == [5, 6, 7, 8, 9]
    assert len(list(tmp_path.iterdir())) == 5
    kept.put(frame(99), Kept("layer", bytes(997)))  # larger than all there may be
    assert kept.get(frame(99)) is None
    smaller = ring(tmp_path, max_bytes=500)
    assert len(smaller) == 0 or smaller.bytes <= 500


def test_nothing_is_kept_for_longer_than_asked(tmp_path: Path) -> None:
    kept = ring(tmp_path)
    kept.put(frame(1), Kept("layer", b"x"))
    advance(kept, 59.0)
    assert kept.get(frame(1))
    advance(kept, 2.0)
    assert kept.get(frame(1)) is None
    assert list(tmp_path.iterdir()) == []


def test_a_frame_that_is_kept_again_is_there_once(tmp_path: Path) -> None:
    kept = ring(tmp_path)
    kept.put(frame(1), Kept("layer", b"old"))
    advance(kept, 1.0)
    kept.put(frame(1), Kept("picture", b"new"))
    assert kept.get(frame(1)) == ring(tmp_path).get(frame(1)) == Kept("picture", b"new")
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("damage", [b"", b"x", b"one\0\0\0\0", b"other bytes, and more of them"])
def test_a_damaged_file_is_set_aside(tmp_path: Path, damage: bytes) -> None:
    kept = ring(tmp_path)
    kept.put(frame(1), Kept("layer", b"one"))
    kept.put(frame(2), Kept("layer", b"two"))
    (file,) = tmp_path.glob("*.1.layer")
    file.write_bytes(damage)
    assert kept.get(frame(1)) is None
    assert kept.set_aside == 1
    assert file.with_name(file.name + ".corrupt").read_bytes() == damage
    assert kept.get(frame(2)) == Kept("layer", b"two")
    assert len(ring(tmp_path)) == 1


def test_a_file_that_somebody_deleted_is_gone(tmp_path: Path) -> None:
    kept = ring(tmp_path)
    kept.put(frame(1), Kept("layer", b"one"))
    next(tmp_path.iterdir()).unlink()
    assert kept.get(frame(1)) is None
    assert kept.bytes == 0


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    kept = ring(tmp_path, max_bytes=100)
    for seq in range(9):
        kept.put(frame(seq), Kept("layer", bytes(50)))
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadSettings, match="cannot keep frames"):
        ring(tmp_path / "file" / "ring")


def test_a_disk_that_takes_nothing(tmp_path: Path) -> None:
    kept = ring(tmp_path / "ring")
    (tmp_path / "ring").rmdir()
    with pytest.raises(StoreFull, match="cannot keep a frame"):
        kept.put(frame(1), Kept("layer", b"x"))
    assert len(kept) == 0


_WRITER = """
import itertools, sys
from pathlib import Path
from common.types import FrameId
from edge.pictures.ring import Kept, Ring
ring = Ring(Path(sys.argv[1]), max_bytes=1 << 20, max_age=3600)
for seq in itertools.count():
    ring.put(FrameId("gate", "b1", seq), Kept("layer", seq.to_bytes(4, "big") * 2000))
    print(seq, flush=True)
"""


def test_a_kill_leaves_every_frame_whole_or_not_there(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            if int(line) >= 60:
                break
        os.kill(writer.pid, signal.SIGKILL)
        told = int(line)
    kept = Ring(tmp_path, max_bytes=1 << 20, max_age=3600)
    assert all(kept.get(frame(seq, "b1")) for seq in range(told - 40, told + 1))
    found = [seq for seq in range(told + 200) if kept.get(frame(seq, "b1"))]
    for seq in found:
        assert kept.get(frame(seq, "b1")) == Kept("layer", seq.to_bytes(4, "big") * 2000)
    assert kept.set_aside == 0
    assert not list(tmp_path.glob("*.half"))
