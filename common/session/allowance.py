"""How many layers one camera may send: so many a second, some of them saved up.

A token bucket over credits. What is granted is taken from it, so a camera cannot get more by being
quick, by sending from two places or by connecting anew; what was granted and not used goes back.
"""

from __future__ import annotations

_AT_ONCE_S = 0.25  # grants are gathered for so long: each one costs the camera a message
_CRUMB = 1e-6  # layers, of rounding: who asks at the moment named must not be one crumb short


class Allowance:
    """One camera's, for as long as the server runs. Seconds of the caller's clock.

    per_second  layers, more than 0
    most        that can be saved up, 1 or more; it begins full
    """

    def __init__(self, per_second: float, most: int) -> None:
        self._per_second = per_second
        self._most = most
        self._level = float(most)
        self._now: float | None = None

    def take(self, wanted: int, now: float) -> int:
        """As many layers as there are, up to `wanted`."""
        self._advance(now)
        taken = min(max(wanted, 0), int(self._level + _CRUMB))
        self._level -= taken
        return taken

    def put_back(self, layers: int) -> None:
        """Of those that were taken, so many were not sent."""
        self._level = min(self._level + layers, float(self._most))

    def ready_at(self, now: float) -> float:
        """When it is worth to ask again."""
        self._advance(now)
        worth = min(max(1.0, _AT_ONCE_S * self._per_second), float(self._most))
        return now + max(worth - self._level, 0.0) / self._per_second

    def _advance(self, now: float) -> None:
        elapsed = 0.0 if self._now is None else max(now - self._now, 0.0)
        self._now = now if self._now is None else max(now, self._now)
        self._level = min(self._level + elapsed * self._per_second, float(self._most))
