"""Real full disks: what cannot be kept is counted, and the spool goes on when there is room."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from common.errors import StoreFull
from common.types import FrameId, Layer
from edge.ledger import Ledger
from edge.spool import Expired, ExpiryReason, Found, MemorySpool
from edge.spool.account import read_accounts
from edge.spool.sqlite import SqliteSpool
from edge.spool.steady import REST_S, SteadySpool
from tests.edge.disks import Disk, disk

__all__ = ["disk"]


def layer(seq: int, size: int = 300) -> Layer:
    return Layer(FrameId("gate", "b1", seq), 1000.0 + seq, bytes([seq % 256]) * size)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Rig:
    """A spool on a disk, the ledger that listens to it, and time."""

    def __init__(self, path: Path, boot: str = "b1") -> None:
        self.path = path
        self.clock = Clock()
        self.sqlite = SqliteSpool(path, "gate", max_bytes=1 << 20)
        self.spool = SteadySpool(self.sqlite, self.clock)
        self.ledger = Ledger(boot, self.spool.status().frames, 5.0)
        self.spool.keep_account(boot, self.ledger.rows)
        self.seq = 0

    def frame(self) -> tuple[Expired, ...]:
        self.ledger.captured += 1
        self.ledger.on_coded(self.seq, 0.0, 300)
        expired = self.spool.append([layer(self.seq)])
        self.ledger.on_expired(expired)
        self.seq += 1
        return expired

    def ack(self, *seqs: int) -> None:
        count = self.spool.drop([layer(seq).frame for seq in seqs])
        self.ledger.on_settled("b1", count, refused=False)

    def rest(self) -> None:
        self.clock.now += REST_S + 0.1

    @property
    def adds_up(self) -> bool:
        spooled = self.spool.status().frames
        for boot, frames in self.spool.take_late().items():
            self.ledger.on_settled(boot, frames, refused=False)
        for reason, frames in self.spool.take_arrived().items():
            self.ledger.on_arrived(reason, frames)
        self.ledger.on_found(self.spool.take_found())
        return self.ledger.adds_up(spooled)

    def waiting(self) -> list[int]:
        return [found.frame.seq for found in self.spool.peek(0, 10_000)[0]]


@pytest.fixture
def rig(disk: Disk) -> Iterator[Rig]:
    rig = Rig(disk.folder / "gate.sqlite")
    yield rig
    disk.free() if (disk.folder / "filler").exists() else None
    rig.spool.close()


def test_frames_of_a_full_disk_are_counted_and_it_goes_on_by_itself(rig: Rig, disk: Disk) -> None:
    for _ in range(5):
        assert rig.frame() == ()
    disk.fill()
    with capture_logs() as told:
        while not (expired := rig.frame()):  # what is in the log's file already has room
            assert rig.seq < 2000
        first = rig.seq - 1
        assert expired == (Expired(layer(first).frame, ExpiryReason(disk.reason)),)
        for _ in range(10):
            rig.rest()
            assert rig.frame()
        assert [entry["event"] for entry in told] == ["frames cannot be spooled, trying again"]
        assert rig.waiting() == list(range(first))  # what was kept can still be read
        assert rig.ledger.expired == {disk.reason: 11}
        assert rig.adds_up

        disk.free()
        rig.rest()
        assert rig.frame() == ()
        assert told[-1]["event"] == "the spool's disk works again"
        assert told[-1]["expired"] == 11
    assert rig.waiting() == [*range(first), first + 11]
    assert rig.spool.trouble is None
    assert rig.adds_up


def test_what_cannot_be_let_go_of_is_dropped_later(rig: Rig, disk: Disk) -> None:
    for _ in range(3):
        rig.frame()
    disk.fill()
    while not rig.frame():
        assert rig.seq < 2000
    rig.ack(0, 1)
    assert rig.ledger.acked == 0
    assert rig.adds_up  # as waiting
    disk.free()
    rig.rest()
    assert rig.adds_up
    assert rig.ledger.acked == 2
    assert rig.waiting()[0] == 2
    rig.ledger.ended = True
    rig.spool.append(())
    [account] = read_accounts(rig.path)
    assert account.adds_up
    assert (account.began, account.acked, account.lost) == (5, 2, {disk.reason: 1})


def test_what_was_sent_without_the_disk_and_arrived_is_no_loss(rig: Rig, disk: Disk) -> None:
    disk.fill()
    while len(rig.spool.peek(0, 2000)[0]) + 3 > rig.seq:
        rig.rest()
        rig.frame()
        assert rig.seq < 2000
    lost = rig.ledger.expired[disk.reason]
    assert lost == 3
    rig.ack(rig.seq - 1, rig.seq - 2)
    assert rig.adds_up
    assert (rig.ledger.acked, rig.ledger.expired) == (2, {disk.reason: 1})
    rig.ack(rig.seq - 3)
    assert rig.adds_up
    assert (rig.ledger.acked, rig.ledger.expired) == (3, {})
    disk.free()
    rig.rest()
    rig.spool.append(())
    [account] = read_accounts(rig.path)
    assert account.adds_up
    assert (account.acked, account.unspooled, account.lost) == (3, 3, {})


def test_a_camera_can_begin_on_a_full_disk(disk: Disk) -> None:
    before = Rig(disk.folder / "gate.sqlite")
    before.frame()
    before.spool.close()
    disk.fill()
    rig = Rig(disk.folder / "gate.sqlite", boot="b2")
    rig.spool.append([layer(0)])
    disk.free()
    rig.rest()
    assert rig.spool.append([Layer(FrameId("gate", "b2", 1), 1.0, b"x")]) == ()
    rig.ledger.on_found(rig.spool.take_found())
    assert rig.ledger.waiting(rig.spool.status().frames) == 1
    assert rig.spool.peek(0, 1)[0] == (layer(0),)
    rig.spool.close()


def test_a_failing_disk_is_left_alone_between_two_tries() -> None:
    class Failing(MemorySpool):
        tries = 0

        def append(self, layers: object) -> tuple[Expired, ...]:
            self.tries += 1
            raise StoreFull("no room")

    clock, failing = Clock(), Failing("gate", max_bytes=1000)
    spool = SteadySpool(failing, clock)
    for n in range(30):
        clock.now = n / 10
        assert spool.append([layer(n)])[0].reason is ExpiryReason.DISK_FULL
    assert failing.tries == 3


def test_a_file_that_rots_is_set_aside_and_its_frames_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "gate.sqlite"
    earlier = Rig(path, boot="b0")
    earlier.spool.append([Layer(FrameId("gate", "b0", n), 1.0, bytes(500)) for n in range(40)])
    earlier.spool.close()
    rig = Rig(path)
    for _ in range(300):
        rig.frame()
    rig.ack(*range(100))
    assert rig.adds_up
    assert rig.sqlite._db is not None
    rig.sqlite._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    rig.sqlite._db.execute("PRAGMA shrink_memory")
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    assert rig.frame() == ()
    assert rig.sqlite.set_aside == 1
    assert rig.waiting() == [300]
    assert rig.adds_up
    assert rig.ledger.expired == {"spool_set_aside": 200}
    assert rig.ledger.earlier_lost == 40
    rig.ledger.ended = True
    rig.spool.close()
    [account] = read_accounts(path)
    assert account.adds_up
    assert (account.captured, account.acked, account.waiting) == (301, 100, 1)
    assert account.expired == {"spool_set_aside": 200}


def test_a_spool_without_trouble_found_nothing(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "gate.sqlite")
    rig.frame()
    assert rig.spool.take_found() == Found()
    rig.spool.close()


@pytest.mark.parametrize("what", ["file", "folder", "replaced"])
def test_a_file_that_is_removed_is_begun_anew_and_its_frames_are_counted(
    tmp_path: Path, what: str
) -> None:
    path = tmp_path / "spool" / "gate.sqlite"
    earlier = Rig(path, boot="b0")
    earlier.spool.append([Layer(FrameId("gate", "b0", n), 1.0, bytes(500)) for n in range(40)])
    earlier.spool.close()
    rig = Rig(path)
    for _ in range(30):
        rig.frame()
    rig.ack(*range(10))
    _, cursor = rig.spool.peek(0, 1000)
    if what == "folder":
        shutil.rmtree(path.parent)
    else:
        path.unlink()
        if what == "replaced":
            SqliteSpool(path, "gate", max_bytes=1 << 20).close()
    assert rig.adds_up  # it is seen without a frame
    assert rig.ledger.expired == {"spool_removed": 20}
    assert rig.ledger.earlier_lost == 40
    assert rig.frame() == ()
    assert rig.waiting() == [30]
    assert rig.spool.peek(cursor, 10)[0] == (layer(30),)  # who reads on misses nothing
    assert rig.adds_up
    assert rig.spool.trouble is None
    rig.ledger.ended = True
    rig.spool.close()
    [account] = read_accounts(path)
    assert account.adds_up
    assert (account.captured, account.acked, account.waiting) == (31, 10, 1)
    assert account.expired == {"spool_removed": 20}


def test_a_file_that_comes_back_brings_its_frames(tmp_path: Path) -> None:
    folder, away = tmp_path / "spool", tmp_path / "away"
    rig = Rig(folder / "gate.sqlite")
    for _ in range(20):
        rig.frame()
    folder.rename(away)
    rig.frame()
    assert rig.adds_up
    assert rig.ledger.expired == {"spool_removed": 20}
    shutil.rmtree(folder)
    away.rename(folder)
    rig.frame()
    assert rig.adds_up
    assert rig.ledger.expired == {"spool_removed": 1}
    assert rig.waiting() == [*range(20), 21]
    rig.spool.close()


def test_a_new_file_that_no_disk_takes_is_told_when_one_does(rig: Rig, disk: Disk) -> None:
    for _ in range(5):
        rig.frame()
    disk.fill()
    for file in disk.folder.glob("gate.sqlite*"):
        file.unlink()
    rig.rest()
    while not rig.frame():
        assert rig.seq < 2000
    assert rig.adds_up
    disk.free()
    rig.rest()
    assert rig.frame() == ()
    assert rig.adds_up
    assert rig.ledger.expired["spool_removed"] >= 5
