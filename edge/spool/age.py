"""Which spooled layers are too old, whatever the wall clock does meanwhile.

A camera's clock may be set right by years at the moment when its link comes back: judged by it, a
whole spool would expire just before it could be sent. So the age of what this process spools runs
on a clock that nobody sets; only what it found at its start is as old as it looked then.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

_STEPS = 64  # in one greatest age: a layer is found to be too old late by a part of so many
_CLOCK_WAS_SET = 1_577_836_800.0  # the first second of 2020: who captured before it had no clock


class Ages:
    """Told of cursors as they are given out, which rise.

    max_age  seconds; infinite: nothing is ever too old
    clock    seconds, monotonic
    wall     unix seconds
    """

    def __init__(
        self,
        max_age: float,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._max_age, self._clock, self._wall = max_age, clock, wall
        self._began = clock()
        self._wall_at_start = wall()
        self._found: int | None = None  # up to this cursor: spooled by earlier processes
        self._marks: deque[tuple[float, int]] = deque()  # all up to the cursor came before the time
        self._old = 0  # all up to this cursor are too old

    def found(self, top: int) -> None:
        """Cursors up to `top` were there at the start; what comes to light later is not too old."""
        if self._found is None:
            self._found = top
            self.added(top)

    def added(self, top: int) -> None:
        """Cursors up to `top` have been given out by now."""
        if math.isinf(self._max_age) or not top:
            return
        now = self._clock()
        if self._marks and now < self._marks[-1][0]:
            self._marks[-1] = self._marks[-1][0], top
        else:
            self._marks.append((now + self._max_age / _STEPS, top))

    def too_old(self, cursor: int, captured_at: float) -> bool:
        """captured_at in unix seconds."""
        now = self._clock()
        while self._marks and self._marks[0][0] <= now - self._max_age:
            self._old = self._marks.popleft()[1]
        if cursor <= self._old:
            return True
        if self._found is None or cursor > self._found or captured_at < _CLOCK_WAS_SET:
            return False
        return self._wall_at_start + (now - self._began) - captured_at >= self._max_age
