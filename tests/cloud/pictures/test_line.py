"""The line of pictures: bounds, priorities, one entry for many, and what leaving frees."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.pictures.line import Line
from cloud.pictures.values import Priority
from common.errors import LimitReached

VIEWER, BACKGROUND = Priority.VIEWER, Priority.BACKGROUND


def line(most: int = 9, most_each: int = 9) -> Line[str]:
    return Line(most=most, most_each=most_each)


def order(waiting: Line[str]) -> list[str]:
    keys = []
    while entry := waiting.take():
        keys.append(entry.key)
        waiting.finish()
    return keys


def test_first_come_first_made() -> None:
    waiting = line()
    entries = [waiting.join(key, "", "ann", VIEWER)[0] for key in "abc"]
    assert [waiting.place(entry) for entry in entries] == [0, 1, 2]
    assert waiting.take() is entries[0]
    assert [waiting.place(entry) for entry in entries] == [0, 1, 2]
    waiting.finish()
    assert [waiting.place(entry) for entry in entries[1:]] == [0, 1]
    assert order(waiting) == ["b", "c"]


def test_a_person_goes_before_what_nobody_hurries_for() -> None:
    waiting = line()
    waiting.join("slow", "", "robot", BACKGROUND)
    waiting.join("quick", "", "ann", VIEWER)
    assert order(waiting) == ["quick", "slow"]


def test_what_a_person_asks_for_too_moves_up_and_back_when_they_leave() -> None:
    waiting = line()
    for key in "abc":
        waiting.join(key, "", "robot", BACKGROUND)
    entry, ticket = waiting.join("c", "", "ann", VIEWER)
    assert waiting.place(entry) == 0
    assert not waiting.leave(entry, ticket)
    assert waiting.place(entry) == 2


def test_ten_who_ask_for_the_same_are_one_entry() -> None:
    waiting = line(most=1)
    entries = {id(waiting.join("a", f"work {n}", f"viewer {n}", VIEWER)[0]) for n in range(10)}
    assert (len(entries), len(waiting)) == (1, 1)
    entry = waiting.take()
    assert entry is not None
    assert entry.work == "work 0"
    assert waiting.join("a", "", "late", VIEWER)[0] is entry


def test_the_last_one_to_leave_frees_it() -> None:
    waiting = line()
    entry, first = waiting.join("a", "", "ann", VIEWER)
    _, second = waiting.join("a", "", "ben", VIEWER)
    waiting.take()
    assert not waiting.leave(entry, first)
    assert waiting.leave(entry, second)
    again, _ = waiting.join("a", "", "ann", VIEWER)
    assert again is not entry  # that one is being stopped
    assert waiting.place(again) == 1


def test_one_that_waits_and_that_nobody_wants_is_gone() -> None:
    waiting = line()
    entry, ticket = waiting.join("a", "", "ann", VIEWER)
    assert not waiting.leave(entry, ticket)
    assert (len(waiting), waiting.take()) == (0, None)


def test_it_is_bounded_for_all_and_for_each() -> None:
    waiting = line(most=3, most_each=2)
    waiting.join("a", "", "ann", VIEWER)
    waiting.join("b", "", "ann", VIEWER)
    with pytest.raises(LimitReached, match="ann waits for 2"):
        waiting.join("c", "", "ann", VIEWER)
    waiting.join("a", "", "ann", VIEWER)  # the same once more
    waiting.join("c", "", "ben", VIEWER)
    with pytest.raises(LimitReached, match="3 pictures wait"):
        waiting.join("d", "", "ben", VIEWER)
    assert len(waiting) == 3


@given(st.lists(st.tuples(st.sampled_from(["join", "leave", "take", "finish"]), st.integers(0, 5))))
def test_whatever_happens_each_who_asks_is_served_or_has_left(
    doings: list[tuple[str, int]],
) -> None:
    waiting = line(most=4, most_each=3)
    tickets: dict[int, object] = {}
    busy = None
    for doing, n in doings:
        if doing == "join":
            try:
                entry, ticket = waiting.join(f"k{n}", "", f"v{n % 2}", Priority(n % 2))
            except LimitReached:
                continue
            tickets[ticket] = entry
        elif doing == "leave" and tickets:
            ticket = sorted(tickets)[n % len(tickets)]
            entry = tickets.pop(ticket)  # type: ignore[assignment]
            stops = waiting.leave(entry, ticket)
            assert stops == (entry is busy and not entry.askers)
        elif doing == "take" and busy is None:
            busy = waiting.take()
        elif doing == "finish":
            waiting.finish()
            tickets = {ticket: entry for ticket, entry in tickets.items() if entry is not busy}
            busy = None
        assert len(waiting) <= 4
        known = {id(entry) for entry in waiting.entries()}
        assert all(id(entry) in known for entry in tickets.values())
        places = sorted(waiting.place(e) for e in waiting.entries() if waiting.waits(e))
        ahead = busy is not None
        assert places == list(range(ahead, ahead + len(waiting)))
