"""Asks cameras for fewer frames while the detector is behind: measures, and tells.

detector's queue ┐
layers by camera ┴─ once a second ─> cloud/overload.py ─> RateTarget to every stream
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable

import structlog

from cloud.batching import BatchingDetector
from cloud.metrics import Metrics
from cloud.overload import Load, Overload, Policy, after
from common.session.events import RateTarget

log = structlog.get_logger()

_EVERY_S = 1.0
_SPAN = 5  # looks over which rates are taken


class Restraint:
    """Watches a detector.

    sent  layers that each camera has sent since the start
    tell  takes what every camera is to be told, now and when it comes
    """

    def __init__(
        self,
        detector: BatchingDetector,
        sent: Counter[str],
        tell: Callable[[RateTarget], None],
        metrics: Metrics,
        policy: Policy,
    ) -> None:
        self._detector, self._sent, self._tell = detector, sent, tell
        self._policy = policy
        self._state = Overload()
        self._told: float | None = None
        self._looks: deque[tuple[float, int, Counter[str]]] = deque(maxlen=_SPAN + 1)
        metrics.overload.set_function(lambda: self._told or 0.0)

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            self.look(time.monotonic())
            await asyncio.sleep(_EVERY_S)

    def look(self, now: float) -> None:
        """Measures, and tells the cameras if they are to send otherwise than before."""
        self._looks.append((now, self._detector.done, self._sent.copy()))
        began, done, sent = self._looks[0]
        if now <= began:
            return
        rates = [(self._sent[camera] - sent[camera]) / (now - began) for camera in self._sent]
        load = Load(
            now,
            self._detector.wait(now),
            (self._detector.done - done) / (now - began),
            tuple(rates),
        )
        self._state = after(self._state, load, self._policy)
        if self._state.cap == self._told:
            return
        if self._state.cap is None:
            log.info("the detector keeps up again: cameras may send as they like")
        elif self._told is None:
            log.warning(
                "the detector is behind: cameras are asked for fewer frames",
                frames_per_second=round(self._state.cap, 2), wait_s=round(load.wait, 1),
            )  # fmt: skip
        self._told = self._state.cap
        self._tell(RateTarget(0, self._told or 0.0))
