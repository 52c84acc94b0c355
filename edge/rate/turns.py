"""Which frames may be coded where only so many a second are wished for: evenly spread."""

from __future__ import annotations

_SAVED = 2.0  # turns
_CRUMB = 1e-6  # of a turn, of rounding


class Turns:
    """A token bucket of frames. Seconds of the caller's clock."""

    def __init__(self) -> None:
        self.per_second: float | None = None  # None: every frame has its turn
        self._level = 0.0
        self._now = 0.0

    def pace(self, per_second: float | None, now: float) -> None:
        """So many frames a second from now on."""
        if self.per_second is None:
            self._level, self._now = 1.0, now
        self.per_second = per_second

    def take(self, now: float) -> bool:
        """Whether it is this frame's turn."""
        if self.per_second is None:
            return True
        elapsed, self._now = max(now - self._now, 0.0), max(now, self._now)
        self._level = min(self._level + elapsed * self.per_second, _SAVED)
        if self._level < 1 - _CRUMB:
            return False
        self._level -= 1
        return True
