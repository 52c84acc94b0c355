"""The line of pictures to be made: bounded, by priority, one entry for all who ask for the same.

Pure: no clock, no thread, no loop. A picture that somebody in more of a hurry asks for moves up;
one that nobody asks for any more leaves the line, or, at work, is to be stopped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from cloud.pictures.values import Priority
from common.errors import LimitReached

T = TypeVar("T")


@dataclass(eq=False)
class Entry(Generic[T]):
    """One picture. askers: (who, priority) by ticket."""

    key: str
    work: T
    arrival: int
    askers: dict[int, tuple[str, Priority]] = field(default_factory=dict)

    @property
    def order(self) -> tuple[int, int]:
        return min(priority for _, priority in self.askers.values()), self.arrival


class Line(Generic[T]):
    """most: entries that wait; most_each: entries, waiting or at work, that one caller asks for."""

    def __init__(self, *, most: int, most_each: int) -> None:
        self._most, self._most_each = most, most_each
        self._waiting: dict[str, Entry[T]] = {}
        self._at_work: Entry[T] | None = None
        self._tickets = 0

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def join(self, key: str, work: T, who: str, priority: Priority) -> tuple[Entry[T], int]:
        """The entry of this key, made of `work` if it is new, and a ticket to leave it with.

        Raises LimitReached.
        """
        entry = self._find(key)
        mine = sum(self._asks(other, who) for other in self.entries() if other is not entry)
        if mine >= self._most_each:
            raise LimitReached(f"{who} waits for {mine} pictures already")
        self._tickets += 1
        if entry is None:
            if len(self._waiting) >= self._most:
                raise LimitReached(f"{len(self._waiting)} pictures wait already: try again later")
            entry = self._waiting[key] = Entry(key, work, self._tickets)
        entry.askers[self._tickets] = who, priority
        return entry, self._tickets

    def leave(self, entry: Entry[T], ticket: int) -> bool:
        """True: it is at work, and nobody waits for it any more."""
        entry.askers.pop(ticket, None)
        if entry.askers:
            return False
        if self._waiting.get(entry.key) is entry:
            del self._waiting[entry.key]
        return self._at_work is entry

    def take(self) -> Entry[T] | None:
        """The next one, which is at work from now on; None: none waits."""
        if not self._waiting:
            return None
        entry = min(self._waiting.values(), key=lambda entry: entry.order)
        self._at_work = self._waiting.pop(entry.key)
        return entry

    def finish(self) -> None:
        """The one at work is made, has failed or was stopped."""
        self._at_work = None

    def waits(self, entry: Entry[T]) -> bool:
        """Whether it is not at work yet."""
        return self._waiting.get(entry.key) is entry

    def place(self, entry: Entry[T]) -> int:
        """How many go before it; 0: none, or it is at work itself."""
        if not self.waits(entry):
            return 0
        before = sum(other.order < entry.order for other in self._waiting.values())
        return before + (self._at_work is not None)

    def _find(self, key: str) -> Entry[T] | None:
        at_work = self._at_work
        if at_work is not None and at_work.key == key and at_work.askers:
            return at_work  # without askers it is being stopped: whoever comes now begins anew
        return self._waiting.get(key)

    def entries(self) -> list[Entry[T]]:
        """All that wait, and the one at work."""
        return [*self._waiting.values(), *([self._at_work] if self._at_work else [])]

    def _asks(self, entry: Entry[T], who: str) -> bool:
        return any(asker == who for asker, _ in entry.askers.values())
