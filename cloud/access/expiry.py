"""Certificates that will expire: a gauge for each, and a warning in time."""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import Callable

import structlog

from cloud.metrics import Metrics

log = structlog.get_logger()

_AGAIN_S = 86_400.0  # one warning a day for each certificate
_LOOK_S = 3_600.0


class Expiries:
    """What expires when, by the name of what it is. Safe to use from any thread.

    warn_s  seconds before the end from which on there are warnings
    clock   unix seconds
    """

    def __init__(
        self, metrics: Metrics, *, warn_s: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._gauge, self._warn_s, self._clock = metrics.certificate_expiry, warn_s, clock
        self._ends: dict[str, float] = {}
        self._warned: dict[str, float] = {}

    def saw(self, name: str, not_after: datetime.datetime) -> None:
        """This is the certificate of that name now."""
        end = not_after.timestamp()
        if self._ends.get(name) == end:
            return
        self._ends[name] = end
        self._warned.pop(name, None)
        self._gauge.labels(name).set_function(lambda: self._ends[name] - self._clock())
        self.warn()

    def warn(self) -> None:
        """Says what is about to expire, or has expired, and has not been said today."""
        now = self._clock()
        for name, end in tuple(self._ends.items()):
            due = end - now < self._warn_s
            if due and now - self._warned.get(name, -_AGAIN_S) >= _AGAIN_S:
                self._warned[name] = now
                days = (end - now) / 86_400
                log.warning("a certificate expires", certificate=name, in_days=round(days, 1))

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            self.warn()
            await asyncio.sleep(_LOOK_S)
