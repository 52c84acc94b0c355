"""Logins over the network: failures are counted by address, logged, and slowed down."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import TypeVar

import structlog

from cloud.access.attempts import Attempts, address_of
from cloud.metrics import Metrics
from common.errors import Unauthenticated

T = TypeVar("T")

log = structlog.get_logger()


class Logins:
    """`clock`: seconds that never go back."""

    def __init__(
        self, attempts: Attempts, metrics: Metrics, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._attempts, self._metrics, self._clock = attempts, metrics, clock

    def of(self, peer: str, proof: Hashable, identify: Callable[[], T]) -> T:
        """What `identify` says of a caller that shows this proof.

        peer  gRPC's name of the caller's end

        Raises Unauthenticated as `identify` does; LimitReached instead of asking it.
        """
        address, now = address_of(peer), self._clock()
        self._attempts.check(address, proof, now)
        try:
            identity = identify()
        except Unauthenticated as error:
            self._metrics.failed_logins.inc()
            pause = self._attempts.failed(address, now)
            if pause:
                log.warning(
                    "too many failed logins", address=address, pause_s=pause, last=str(error)
                )
            raise
        self._attempts.passed(address, proof)
        return identity
