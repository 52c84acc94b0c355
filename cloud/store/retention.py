"""Retention: what is too old, or too much, leaves the store, first in first out.

A frame's age counts from when it was stored here, so a camera's wrong clock, or a week of catching
up, never makes an acked frame vanish at once. A frame takes those along that lean on it: a chain
goes as a whole, with its oldest. Pinned frames stay, with all that they lean on, and count as room.
Between two batches the store belongs to the cameras for as long as the batch took: while a million
frames leave, an ack waits for one batch at the most.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial

import structlog

from cloud.metrics import Metrics
from cloud.store import FrameStore

log = structlog.get_logger()

PERIOD_S = 10.0  # so much more than `keep_bytes` may gather: ten seconds of all cameras
BATCH = 256  # frames in one transaction: some milliseconds
DAY_S = 86_400.0


class Retention:
    """Bounds a store by age and by bytes.

    keep_days   frames stored longer ago expire; None: none does
    keep_bytes  above so many used bytes the first ones stored expire; None: never
    """

    def __init__(
        self,
        store: FrameStore,
        metrics: Metrics,
        *,
        keep_days: float | None = None,
        keep_bytes: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._metrics, self._clock = store, metrics, clock
        self._keep_days, self._keep_bytes = keep_days, keep_bytes

    async def run(self) -> None:
        """Sweeps now and then, until cancelled."""
        while True:
            try:
                await self.sweep()
            except Exception:  # a disk that fails may recover; old frames wait so long
                self._metrics.store_failures.inc()
                log.exception("cannot expire old frames")
            await asyncio.sleep(PERIOD_S)

    async def sweep(self) -> None:
        """Expires all that is to expire now. Raises StoreFull if the disk cannot take it."""
        if self._keep_days is not None:
            moment = self._clock() - self._keep_days * DAY_S
            while await self._batch("age", partial(self._store.expire, stored_before=moment)):
                pass
        used = await asyncio.to_thread(self._store.used_bytes)
        while self._keep_bytes is not None and used > self._keep_bytes:
            if not await self._batch("bytes", self._store.expire):
                log.warning("pinned frames alone need more than keep_bytes", used_bytes=used)
                break
            used = await asyncio.to_thread(self._store.used_bytes)
        self._metrics.store_used_bytes.set(used)

    async def _batch(self, reason: str, expire: Callable[[int], Mapping[str, int]]) -> bool:
        """One batch, counted, and a pause; False: nothing is left to expire."""
        started = time.perf_counter()
        expired = await asyncio.to_thread(expire, BATCH)
        for camera, frames in expired.items():
            self._metrics.expired_layers.labels(camera, reason).inc(frames)
        if expired:
            await asyncio.sleep(time.perf_counter() - started)
        return bool(expired)
