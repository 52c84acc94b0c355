"""Stills, both sides: reference pictures from a fixed camera. A part of the sessions (__init__.py).

    edge                                             cloud
    StillMade ──StillPiece, piece by piece─────────> KeepStill (frame store)
    Deliver <──StillResult────────────────────────── StillKept

The edge sends one of itself, now and then, behind all else: its pieces go only when the frame that
it shows is settled, and no layer waits in the spool. It is answered when it is on the server's disk
or refused by name, and sent from its first byte again in the next stream if it was not answered.
"""

from __future__ import annotations

from dataclasses import dataclass

from common.errors import RemoteProtocolError
from common.session.auxiliary import PIECE_BYTES
from common.session.events import KeepStill, Outcome, StillPiece, StillResult
from common.types import FrameId

# ---------------------------------------------------------------- edge


@dataclass(slots=True)
class _Still:
    seq: int
    data: bytes
    sent: int = 0


class Stills:
    """The edge's half: one still on its way, and the newest one that waits for it to be done."""

    def __init__(self) -> None:
        self._current: _Still | None = None
        self._next: _Still | None = None

    def made(self, seq: int, data: bytes) -> None:
        """A new one; it takes the place of one of which nothing was sent yet."""
        still = _Still(seq, data)
        if self._current is not None and self._current.sent:
            self._next = still
        else:
            self._current = still

    def forget(self) -> None:
        """The stream is gone: the newest one begins anew in the next."""
        if self._next is not None:
            self._current, self._next = self._next, None
        if self._current is not None:
            self._current.sent = 0

    def waiting(self) -> tuple[int, int]:
        """Whose the current one is, and bytes left of it; 0: none."""
        still = self._current
        return (-1, 0) if still is None else (still.seq, len(still.data) - still.sent)

    def piece(self, most: int) -> StillPiece | None:
        """The next piece, of at most so many bytes."""
        still = self._current
        if still is None or still.sent == len(still.data):
            return None
        first = still.sent
        data = still.data[first : first + min(max(most, 1), PIECE_BYTES)]
        still.sent += len(data)
        return StillPiece(still.seq, len(still.data), first, data)

    def settled(self, seq: int) -> bool:
        """The server has judged it; False: it is not the one on its way."""
        if self._current is None or self._current.seq != seq:
            return False
        self._current, self._next = self._next, None
        return True


# ---------------------------------------------------------------- cloud


class Arrivals:
    """The cloud's half: one still comes, or one is being kept (`keeping`).

    most  bytes of one; 0: none is taken
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.keeping = False
        self._seq = self._size = -1
        self._data = bytearray()

    def piece(self, piece: StillPiece, camera: str, boot: str) -> KeepStill | StillResult | None:
        """What to do when it is whole, or to say at once; None: more is to come.

        The rest of one that was refused is ignored.
        """
        if piece.first == 0:
            self._seq, self._size = piece.seq, piece.size
            self._data.clear()
        elif piece.seq != self._seq:
            return None
        if fault := self._fault(piece):
            return self._refuse(piece.seq, fault)
        self._data += piece.data
        if len(self._data) < self._size:
            return None
        try:
            frame = FrameId(camera, boot, piece.seq)
        except RemoteProtocolError as error:
            return self._refuse(piece.seq, str(error))
        whole, self._data = bytes(self._data), bytearray()
        self.keeping, self._seq = True, -1
        return KeepStill(frame, whole)

    def kept(self) -> None:
        """The one that was whole is kept, or was refused."""
        self.keeping = False

    def _fault(self, piece: StillPiece) -> str:
        if self.keeping:
            return "the still before it is not stored yet"
        if not 0 < piece.size <= self._most:
            return f"{piece.size} bytes, the server takes 1 to {self._most}"
        if piece.size != self._size or piece.first != len(self._data):
            return "its pieces do not follow one another"
        if not 0 < len(piece.data) <= self._size - len(self._data):
            return "its pieces do not add up"
        return ""

    def _refuse(self, seq: int, reason: str) -> StillResult:
        self._seq = -1
        self._data.clear()
        return StillResult(seq, Outcome.REFUSED, reason)
