"""The outbox: in order, once by key, bounded, still there after a restart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud.events.outbox import Outbox


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    outbox = Outbox(tmp_path / "outbox.sqlite3", clock=lambda: 1000.0)
    yield outbox
    outbox.close()


def drain(outbox: Outbox, receiver: str = "office") -> list[bytes]:
    bodies = []
    while message := outbox.first(receiver):
        bodies.append(message.body)
        outbox.done(message)
    return bodies


def test_in_the_order_in_which_they_came(outbox: Outbox) -> None:
    for n in range(3):
        assert outbox.put("office", f"k{n}", b"%d" % n, most=10) == 0
    outbox.put("home", "k0", b"other", most=10)
    first = outbox.first("office")
    assert first is not None
    assert (first.key, first.body, first.put_at) == ("k0", b"0", 1000.0)
    assert outbox.first("office") == first
    assert (outbox.waiting("office"), outbox.waiting("home"), outbox.waiting("x")) == (3, 1, 0)
    assert drain(outbox) == [b"0", b"1", b"2"]
    outbox.done(first)  # again
    assert outbox.waiting("home") == 1


def test_a_key_is_in_it_once(outbox: Outbox) -> None:
    outbox.put("office", "k", b"one", most=10)
    outbox.put("office", "k", b"two", most=10)
    assert drain(outbox) == [b"one"]


def test_the_oldest_go_when_it_is_full(outbox: Outbox) -> None:
    outbox.put("home", "k", b"other", most=3)
    gone = [outbox.put("office", f"k{n}", b"%d" % n, most=3) for n in range(5)]
    assert gone == [0, 0, 0, 1, 1]
    assert drain(outbox) == [b"2", b"3", b"4"]
    assert drain(outbox, "home") == [b"other"]


def test_another_process_finds_it(tmp_path: Path) -> None:
    first = Outbox(tmp_path / "outbox.sqlite3")
    first.put("office", "k", b"one", most=10)
    first.put("home", "k", b"one", most=10)
    first.close()
    second = Outbox(tmp_path / "outbox.sqlite3")
    assert second.keep_only(["office"]) == 1
    assert drain(second) == [b"one"]
    assert second.keep_only([]) == 0
    second.close()
