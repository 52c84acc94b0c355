"""A spool that bears its disk's bad hours: what cannot be kept is counted, and it is tried again.

    append  a frame that the disk does not take expires: disk_full, disk_failed. It may be sent all
            the same, and arrive: then it is told by `take_arrived`
    drop    frames that cannot be let go of wait for it; meanwhile they count as waiting

After a failure the disk is left alone for a second: one that takes seconds to fail must not hold up
the camera with each frame. Trouble is logged when it begins and when it ends.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TypeVar

import structlog

from common.errors import DiskFailed, StoreFull
from common.types import FrameId, Layer
from edge.spool import Expired, ExpiryReason, Found, Spool, SpoolStatus
from edge.spool.account import Rows

T = TypeVar("T")

log = structlog.get_logger()

REST_S = 1.0  # between two tries
_MOST = 4096  # frames remembered of each kind


class SteadySpool:
    """A Spool in which `append` and `drop` never raise StoreFull.

    clock  seconds, monotonic
    """

    def __init__(self, spool: Spool, clock: Callable[[], float] = time.monotonic) -> None:
        self.trouble: StoreFull | None = None  # why it cannot be written now
        self._spool = spool
        self._clock = clock
        self._rests_until = 0.0
        self._expired = 0  # since the trouble began
        self._undropped: set[FrameId] = set()
        self._unkept: OrderedDict[FrameId, ExpiryReason] = OrderedDict()
        self._arrived: Counter[str] = Counter()
        self._late: Counter[str] = Counter()
        self._lock = threading.Lock()

    def append(self, layers: Sequence[Layer]) -> tuple[Expired, ...]:
        with self._lock:
            expired = self._try(lambda: self._spool.append(layers))
            if expired is not None:
                return expired
            self._expired += len(layers)
            failed = isinstance(self.trouble, DiskFailed)
            reason = ExpiryReason.DISK_FAILED if failed else ExpiryReason.DISK_FULL
            self._unkept.update({layer.frame: reason for layer in layers})
            while len(self._unkept) > _MOST:
                self._unkept.popitem(last=False)
            return tuple(Expired(layer.frame, reason) for layer in layers)

    def peek(self, cursor: int, limit: int) -> tuple[tuple[Layer, ...], int]:
        return self._spool.peek(cursor, limit)

    def drop(self, frames: Collection[FrameId]) -> int:
        with self._lock:
            for frame in self._unkept.keys() & set(frames):
                self._arrived[self._unkept.pop(frame).value] += 1
            dropped = self._try(lambda: self._spool.drop(frames))
            if dropped is not None:
                self._undropped.difference_update(frames)
                return dropped
            if len(self._undropped) < _MOST:
                self._undropped.update(frames)
            return 0

    def status(self) -> SpoolStatus:
        """Called now and then, it also finds out that the disk works again."""
        with self._lock:
            if self._undropped:
                self._drop_late()
            elif self.trouble is not None:
                self._try(lambda: self._spool.drop(()))
            return self._spool.status()

    def take_found(self) -> Found:
        return self._spool.take_found()

    def take_late(self) -> Counter[str]:
        """Layers of each boot that were dropped, after all, since the last call."""
        with self._lock:
            late, self._late = self._late, Counter()
            return late

    def take_arrived(self) -> Counter[str]:
        """Frames that expired, by reason, and were settled by the server, since the last call."""
        with self._lock:
            arrived, self._arrived = self._arrived, Counter()
            return arrived

    def keep_account(self, boot: str, rows: Callable[[], Rows]) -> None:
        self._spool.keep_account(boot, rows)

    def close(self) -> None:
        self._spool.close()

    def _drop_late(self) -> None:
        for boot in {frame.boot for frame in self._undropped}:
            group = {frame for frame in self._undropped if frame.boot == boot}
            dropped = self._try(partial(self._spool.drop, group))
            if dropped is not None:
                self._undropped -= group
                self._late[boot] += dropped

    def _try(self, work: Callable[[], T]) -> T | None:
        """None: the disk does not work, or rests."""
        if self._clock() < self._rests_until:
            return None
        try:
            result = work()
        except StoreFull as error:
            self._failed(error)
            return None
        if self.trouble is not None:
            log.info("the spool's disk works again", expired=self._expired)
            self.trouble, self._expired = None, 0
        return result

    def _failed(self, error: StoreFull) -> None:
        if self.trouble is None:
            log.warning("frames cannot be spooled, trying again", reason=str(error))
        self.trouble = error
        self._rests_until = self._clock() + REST_S
