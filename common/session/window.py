"""The credit window: how many layers are under way, and how many may be.

Both sides of a stream hold one. It counts layers from the beginning of the stream:

    0 <= settled <= sent <= granted

`sent` is what the edge put on the wire, and in the cloud what came off it. None of the three ever
falls, so a message that comes twice, or an older one after a newer, changes nothing. A grant that
was given cannot be taken back: a server that wants less grants more slowly.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from common.errors import LocalProtocolError, RemoteProtocolError
from common.types import FrameId


class CreditWindow:
    """Frames under way in the order of sending, within what was granted."""

    def __init__(self, granted: int = 0) -> None:
        self.granted = granted
        self.settled = 0
        self._in_flight: deque[FrameId] = deque()

    def __len__(self) -> int:
        return len(self._in_flight)

    def __iter__(self) -> Iterator[FrameId]:
        return iter(self._in_flight)

    @property
    def sent(self) -> int:
        return self.settled + len(self._in_flight)

    @property
    def room(self) -> int:
        return self.granted - self.sent

    def grant(self, total: int) -> None:
        """Allow `total` layers since the beginning of the stream."""
        self.granted = max(self.granted, total)

    def add(self, frame: FrameId) -> None:
        """Count one more layer as sent. Raises LocalProtocolError if nothing more is granted."""
        if self.room < 1:
            raise LocalProtocolError(f"no credit left for {frame}")
        self._in_flight.append(frame)

    def settle(self, total: int) -> tuple[FrameId, ...]:
        """Count the first `total` layers as settled; return those that were not so before.

        Raises RemoteProtocolError if fewer than `total` were sent.
        """
        if total > self.sent:
            raise RemoteProtocolError(f"{total} layers acked, {self.sent} sent")
        fresh = tuple(self._in_flight.popleft() for _ in range(total - self.settled))
        self.settled += len(fresh)
        return fresh
