"""Layers that waited for too long, by clocks that jump and clocks that do not."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from common.bitstream import Header, Kind, pack, pack_inter
from common.types import FrameId, Layer
from edge.ledger import Ledger
from edge.spool import Expired, ExpiryReason, MemorySpool, Spool
from edge.spool.account import read_accounts
from edge.spool.age import Ages
from edge.spool.sqlite import SqliteSpool

DAY_S = 86_400.0
NOW = 1.8e9  # unix seconds
INTRA = pack(Header(Kind.MACHINE_INTRA, 1, 0, 100, 0, 640, 480, 640), bytes(20))
INTER = pack_inter(Kind.MACHINE_INTER, 100, 0, bytes(20))


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def layer(seq: int, data: bytes = INTRA, *, boot: str = "b1", at: float = NOW) -> Layer:
    return Layer(FrameId("gate", boot, seq), at, data)


def seqs(spool: Spool) -> list[int]:
    return [layer.frame.seq for layer in spool.peek(0, 10_000)[0]]


Make = Callable[[Clock], Spool]


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    def memory(clock: Clock) -> Spool:
        return MemorySpool("gate", max_bytes=1 << 20, max_age=DAY_S, clock=clock)

    def sqlite(clock: Clock) -> Spool:
        path = tmp_path / "gate.sqlite"
        return SqliteSpool(path, "gate", max_bytes=1 << 20, max_age=DAY_S, clock=clock)

    return memory if request.param == "memory" else sqlite


def test_what_waited_for_too_long_expires_and_is_named(make: Make) -> None:
    clock = Clock(50.0)
    spool = make(clock)
    spool.append([layer(0), layer(1)])
    clock.now += DAY_S / 2
    spool.append([layer(2)])
    clock.now += DAY_S / 2 - 1
    assert spool.append([layer(3)]) == ()
    clock.now += 0.02 * DAY_S
    assert spool.append([layer(4)]) == tuple(
        Expired(layer(seq).frame, ExpiryReason.TOO_OLD) for seq in (0, 1)
    )
    assert seqs(spool) == [2, 3, 4]
    clock.now += 2 * DAY_S
    assert len(spool.append(())) == 3  # no frame needs to come
    assert spool.status().frames == 0
    spool.close()


def test_what_leans_on_it_goes_along_however_young(make: Make) -> None:
    clock = Clock(50.0)
    spool = make(clock)
    spool.append([layer(0)])
    clock.now += DAY_S
    spool.append([layer(1, INTER), layer(2, INTER), layer(3)])
    clock.now += 0.02 * DAY_S
    assert [gone.frame.seq for gone in spool.append(())] == [0, 1, 2]
    assert seqs(spool) == [3]
    spool.close()


def test_a_capture_time_that_jumps_expires_nothing(make: Make) -> None:
    spool = make(Clock(50.0))
    moments = (NOW, 0.0, NOW - 300 * DAY_S, NOW + 300 * DAY_S)
    assert spool.append([layer(seq, at=at) for seq, at in enumerate(moments)]) == ()
    assert spool.append(()) == ()
    assert seqs(spool) == [0, 1, 2, 3]
    spool.close()


def test_what_an_earlier_process_left_is_as_old_as_its_capture(tmp_path: Path) -> None:
    path = tmp_path / "gate.sqlite"
    first = SqliteSpool(path, "gate", max_bytes=1 << 20)
    ages = (1.5, 0.5, -400.0)  # days; the last one's clock was ahead
    first.append([layer(seq, at=NOW - age * DAY_S) for seq, age in enumerate(ages)])
    first.append([layer(3, at=77.0)])  # without a clock nobody knows: as if of now
    first.close()

    clock, wall = Clock(9.0), Clock(NOW)
    spool = SqliteSpool(path, "gate", max_bytes=1 << 20, max_age=DAY_S, clock=clock, wall=wall)
    assert [gone.frame.seq for gone in spool.append(())] == [0]
    wall.now += 1000 * DAY_S  # set right, or wrong: it is not looked at again
    assert spool.append(()) == ()
    clock.now += 0.6 * DAY_S
    assert [gone.frame.seq for gone in spool.append(())] == [1]
    clock.now += 0.5 * DAY_S
    assert [gone.frame.seq for gone in spool.append(())] == [2, 3]
    spool.close()


def test_a_month_of_old_layers_goes_in_parts_and_the_account_adds_up(tmp_path: Path) -> None:
    path, clock = tmp_path / "gate.sqlite", Clock(1.0)
    spool = SqliteSpool(path, "gate", max_bytes=1 << 20, max_age=DAY_S, clock=clock)
    ledger = Ledger("b1", 0, 5.0)
    spool.keep_account("b1", ledger.rows)
    ledger.captured = 1000
    for seq in range(1000):
        ledger.on_coded(seq, 0.0, len(INTRA))
    spool.append([layer(seq) for seq in range(1000)])
    clock.now += 1.1 * DAY_S
    parts = []
    while expired := spool.append(()):
        parts.append(len(expired))
        ledger.on_expired(expired)
    assert (sum(parts), max(parts)) == (1000, 256)
    assert ledger.expired == {"too_old": 1000}
    assert ledger.adds_up(spool.status().frames)
    ledger.ended = True
    spool.close()
    [account] = read_accounts(path)
    assert account.adds_up
    assert account.expired == {"too_old": 1000}


def test_ages_remember_little_and_are_late_by_a_part_in_64() -> None:
    clock = Clock(0.0)
    ages = Ages(640.0, clock, Clock(NOW))
    for cursor in range(1, 6401):  # ten a second
        clock.now = cursor / 10
        ages.added(cursor)
    assert len(ages._marks) <= 65
    clock.now = 800.0
    old = [cursor for cursor in range(1, 6401) if ages.too_old(cursor, NOW)]
    assert old == list(range(1, len(old) + 1))
    oldest_left = (old[-1] + 1) / 10
    assert 640.0 <= clock.now - old[-1] / 10 < 651.0
    assert clock.now - oldest_left < 651.0


def test_without_a_bound_nothing_is_too_old() -> None:
    clock = Clock(0.0)
    ages = Ages(math.inf, clock, Clock(NOW))
    ages.found(5)
    ages.added(9)
    clock.now = 1e12
    assert not ages.too_old(1, 0.0)
    assert not ages.too_old(9, NOW)
