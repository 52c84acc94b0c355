"""Group commit: what all streams want written at one moment becomes one transaction.

While one commit waits for the disk the next batch gathers, so a busy server commits as often as the
disk allows and no more often, and a quiet one commits each layer at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from cloud.metrics import Metrics
from cloud.store import Found, FrameStore, Outcome
from common.errors import StoreFull
from common.types import Layer

log = structlog.get_logger()

_MOST = 512  # writes in one transaction; bounds how long the first of them waits


@dataclass
class _Write:
    layers: Sequence[Layer]
    found: Found | None
    done: asyncio.Future[tuple[Outcome, ...]]


class StoreWriter:
    """The only writer of the frame store."""

    def __init__(self, store: FrameStore, metrics: Metrics) -> None:
        self._store, self._metrics = store, metrics
        self._queue: asyncio.Queue[_Write] = asyncio.Queue()

    async def put(self, layers: Sequence[Layer]) -> tuple[Outcome, ...]:
        """Returns when the layers are on disk. Raises StoreFull: then none is."""
        return await self._write(layers, None)

    async def put_boxes(self, found: Found) -> None:
        """Returns when the boxes are on disk. Raises StoreFull."""
        await self._write((), found)

    async def _write(self, layers: Sequence[Layer], found: Found | None) -> tuple[Outcome, ...]:
        write = _Write(layers, found, asyncio.get_running_loop().create_future())
        await self._queue.put(write)
        return await write.done

    async def run(self) -> None:
        """Works until cancelled; then nothing is left half done: a commit is all or nothing."""
        while True:
            batch = [await self._queue.get()]
            while len(batch) < _MOST and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            started = time.perf_counter()
            try:
                outcomes = await asyncio.to_thread(self._commit, batch)
            except StoreFull as error:
                self._fail(batch, str(error))
                continue
            except Exception as error:  # a disk that fails may recover; cameras try again
                log.exception("the store failed")
                self._fail(batch, f"the store failed: {error}")
                continue
            self._metrics.store_commit_seconds.observe(time.perf_counter() - started)
            for write in batch:
                mine, outcomes = outcomes[: len(write.layers)], outcomes[len(write.layers) :]
                if not write.done.done():
                    write.done.set_result(mine)

    def _fail(self, batch: Sequence[_Write], reason: str) -> None:
        self._metrics.store_failures.inc()
        for write in batch:
            if not write.done.done():
                write.done.set_exception(StoreFull(reason))

    def _commit(self, batch: Sequence[_Write]) -> tuple[Outcome, ...]:
        layers = [layer for write in batch for layer in write.layers]
        found = [write.found for write in batch if write.found is not None]
        return self._store.write(layers, found)
