"""A token bucket over wire bytes that no 60 seconds overdraw.

    spend(cost) when a message goes    measured(total) whenever the kernel has counted

A message is charged at once with what it is expected to cost, its answers included. The kernel's
count then corrects the account: what was spent lies between what was counted, and that plus what
the messages still under way may cost. So a wrong expectation is a passing error, and what nobody
decided (handshakes, repeated segments, keepalives) is paid for afterwards.

In any 60 s at most `burst + 60 * refill` bytes are spent. Refill is therefore a little below the
budget where bursts are large against it. On the wire it is the same: while a link holds bytes back,
so much less is saved up, for both leave at once when it comes back. Answers that are gathered come
late by design: for these there is room beside the burst, and so much less refill.
"""

from __future__ import annotations

import math

_WINDOW_S = 60.0
_MOST = 1.04  # of the budget in any window: the promise is 1.05, the rest is for the unexpected
_BURST_S = 2.0  # seconds of budget that may be saved up at the least
_CRUMB = 1e-6  # bytes, of rounding
_LEAST_REFILL = 0.25  # of the budget, where one message is larger than all of that


class WireBucket:
    """Wire bytes that may be spent now. Times in seconds of the caller's clock.

    budget  bytes per second; None: no bound
    gather  seconds for which a message is gathered
    late    seconds of budget that answers hold back when all is well
    """

    def __init__(
        self, budget: float | None, now: float, gather: float = 0.0, late: float = 0.0
    ) -> None:
        self.spent = 0.0  # since the beginning, as far as known
        self._budget = budget
        self._burst_s = max(_BURST_S, gather)
        self._late_s = late
        self._carried: float | None = None  # by the wire, as far as measured
        self._largest = 0.0  # message of late
        self._level = self.burst if budget else 0.0
        self._now = now

    @property
    def budget(self) -> float | None:
        return self._budget

    @property
    def burst(self) -> float:
        """Bytes that can be saved up: also the largest message that is ever sent."""
        if self._budget is None:
            return math.inf
        return max(self._burst_s * self._budget, self._largest)

    @property
    def refill(self) -> float:
        """Bytes per second."""
        if self._budget is None:
            return math.inf
        beside = self.burst + self._late_s * self._budget
        bound = (_MOST * _WINDOW_S * self._budget - beside) / _WINDOW_S
        return min(self._budget, max(bound, _LEAST_REFILL * self._budget))

    def set_budget(self, budget: float | None, now: float) -> None:
        """Another budget from now on; what was saved up is kept as far as it fits."""
        if budget == self._budget:
            return
        self._advance(now)
        if self._budget is None:
            self._level = 0.0
        self._budget = budget
        self._level = min(self._level, self.burst)

    def wait(self, cost: float, now: float, *, beside: float = 0.0) -> float:
        """Seconds until a message of this cost may go, and leave so much; 0: now."""
        if self._budget is None:
            return 0.0
        self._largest = max(self._largest, cost)
        self._advance(now)
        missing = min(cost + beside, self.burst) - self._level
        return missing / self.refill if missing > _CRUMB else 0.0

    def left(self, now: float) -> float:
        """Bytes that may be spent now."""
        if self._budget is None:
            return math.inf
        self._advance(now)
        return self._level

    def spend(self, cost: float, now: float) -> None:
        self._advance(now)
        self._largest = max(cost, 0.95 * self._largest)
        self.spent += cost
        self._level -= cost

    def measured(self, total: float, under_way: float, now: float) -> None:
        """The wire has carried `total` bytes; messages under way may cost so much in all."""
        self._advance(now)
        spent = min(max(self.spent, total), total + under_way)
        self._level -= spent - self.spent
        self.spent = spent
        self._carried = total

    @property
    def _waiting(self) -> float:
        """Bytes that the link holds back: spent, and not carried yet; 0 where nobody counts."""
        if self._carried is None or self._budget is None:
            return 0.0
        return max(self.spent - self._carried - self._late_s * self._budget, 0.0)

    def _advance(self, now: float) -> None:
        elapsed, self._now = max(now - self._now, 0.0), max(now, self._now)
        if self._budget is not None:
            most = max(self.burst - self._waiting, self._level)  # the two may leave at once
            self._level = min(self._level + elapsed * self.refill, most, self.burst)
