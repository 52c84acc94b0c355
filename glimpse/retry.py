"""When to try again, decided without a clock, a socket or a thread."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from glimpse.errors import Error, TimedOut, Unavailable


@dataclass(frozen=True, slots=True)
class Retry:
    """Full-jitter exponential back-off: each wait is drawn from 0 to a bound that doubles.

    first_s     bound of the first wait
    most_s      bound of any wait
    patience_s  how long a watch goes on trying while there is no server; math.inf: for ever.
                Other calls try until their own deadline
    """

    first_s: float = 0.1
    most_s: float = 5.0
    patience_s: float = 60.0

    def wait(self, failures: int, draw: Callable[[], float] = random.random) -> float:
        """Seconds to wait after so many failures before; `draw` gives 0..1."""
        return draw() * min(self.most_s, self.first_s * 2.0 ** min(failures, 64))


def may_pass(fault: Error) -> bool:
    """Whether the same call may succeed a moment later."""
    return isinstance(fault, Unavailable) and not isinstance(fault, TimedOut)


@dataclass(slots=True)
class Outages:
    """What a watch remembers of its connections. `now`: seconds of a clock that never jumps."""

    retry: Retry
    draw: Callable[[], float] = random.random
    _failures: int = 0
    _lost: int = 0
    _up_since: float | None = None
    _down_since: float | None = None

    def up(self, now: float) -> None:
        """The server has taken the call."""
        self._up_since, self._down_since = now, None

    def delivered(self) -> int:
        """A message came; returns how many connections were lost since the message before."""
        self._failures = 0
        lost, self._lost = self._lost, 0
        return lost

    def down(self, fault: Error, now: float) -> float:
        """The call has ended; returns how long to wait. Raises `fault` when to try is no use."""
        if not may_pass(fault):
            raise fault
        if self._up_since is not None:
            self._lost += 1
            # A server that takes calls only to drop them at once must not be hammered.
            if now - self._up_since > self.retry.most_s:
                self._failures = 0
        self._up_since = None
        self._down_since = now if self._down_since is None else self._down_since
        if now - self._down_since >= self.retry.patience_s:
            raise fault
        self._failures += 1
        return self.retry.wait(self._failures - 1, self.draw)
