"""Auxiliary layers on request, both sides. A part of the sessions (__init__.py).

    cloud                                            edge
    Wanted ──AuxiliaryRequest──────────────────────> FindAuxiliary (ring, encoder)
    Conclude <──AuxiliaryReply, piece by piece────── AuxiliaryFound

A request belongs to its stream, and ends in one of: the layer, a reason, its deadline, the stream's
end. Replies go in pieces, so that a large one holds no machine layer up on a thin link for longer
than a piece takes. What comes for a request that nobody waits for is ignored and counted.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from common.errors import (
    AuxiliaryError,
    AuxiliaryGone,
    AuxiliaryTimeout,
    AuxiliaryUnsupported,
    CameraOffline,
)
from common.session.events import (
    AuxiliaryFound,
    AuxiliaryOutcome,
    AuxiliaryReply,
    AuxiliaryRequest,
    Conclude,
    FindAuxiliary,
    Wanted,
)
from common.types import FrameId

REQUESTS = 8  # that an edge works on at once; more are refused
LONGEST_S = 86_400.0
PIECE_BYTES = 1200  # with its headers not more than one segment

_ERRORS = {
    AuxiliaryOutcome.EXPIRED: AuxiliaryGone,
    AuxiliaryOutcome.UNSUPPORTED: AuxiliaryUnsupported,
}


# ---------------------------------------------------------------- edge


@dataclass(slots=True)
class _Reply:
    """What is to be sent for one request."""

    request: int
    outcome: AuxiliaryOutcome
    reason: str
    data: bytes
    urgent: bool
    until: float
    sent: int = 0


class Replies:
    """The edge's half: requests under way, and replies on their way out."""

    def __init__(self) -> None:
        self._number = 0  # of the last FindAuxiliary, over all streams
        self._sought: dict[int, tuple[AuxiliaryRequest, float]] = {}
        self._replies: deque[_Reply] = deque()

    def asked(
        self, request: AuxiliaryRequest, camera: str, boot: str, now: float
    ) -> FindAuxiliary | None:
        """What to look for; None: too much is under way, and a reply says so.

        Raises RemoteProtocolError for a frame that has no such name.
        """
        frame = FrameId(camera, request.boot or boot, request.seq)
        until = now + min(max(request.deadline, 0.0), LONGEST_S)
        self._drop_late(now)
        if len(self._sought) + len(self._replies) >= REQUESTS:
            busy = f"{REQUESTS} requests are under way"
            failed = AuxiliaryOutcome.FAILED
            if len(self._replies) < 2 * REQUESTS:  # who asks on and on gets no word
                self._replies.append(_Reply(request.request, failed, busy, b"", True, until))
            return None
        self._number += 1
        self._sought[self._number] = request, until
        return FindAuxiliary(self._number, frame, min(request.quality, 255))

    def found(self, answer: AuxiliaryFound, most: int, now: float) -> None:
        """Queue the reply, unless its stream or its time is gone; `most` bytes are taken."""
        request, until = self._sought.pop(answer.number, (None, now))
        if request is None or until <= now:
            return
        outcome, reason, data = answer.outcome, answer.reason, answer.data
        if outcome is AuxiliaryOutcome.SENT and not 0 < len(data) <= most:
            reason = f"{len(data)} bytes, the server takes 1 to {most}"
            outcome = AuxiliaryOutcome.FAILED
        if outcome is not AuxiliaryOutcome.SENT:
            data = b""
        reply = _Reply(request.request, outcome, reason, data, request.urgent, until)
        first = next((i for i, r in enumerate(self._replies) if not r.urgent), None)
        if request.urgent and first is not None and not self._replies[first].sent:
            self._replies.insert(first, reply)
        else:
            self._replies.append(reply)

    def forget(self) -> None:
        """The stream is gone, and its requests with it."""
        self._sought.clear()
        self._replies.clear()

    def waiting(self, now: float) -> tuple[int, bool] | None:
        """Bytes left of all replies (1 or more), and whether the first is urgent."""
        self._drop_late(now)
        if not self._replies:
            return None
        left = sum(len(reply.data) - reply.sent for reply in self._replies)
        return max(left, 1), self._replies[0].urgent

    def piece(self, most: int, now: float) -> AuxiliaryReply | None:
        """The next piece, of at most so many bytes."""
        self._drop_late(now)
        if not self._replies:
            return None
        reply = self._replies[0]
        data = reply.data[reply.sent : reply.sent + min(max(most, 1), PIECE_BYTES)]
        reply.sent += len(data)
        if reply.sent == len(reply.data):
            self._replies.popleft()
        return AuxiliaryReply(reply.request, reply.outcome, reply.reason, len(reply.data), data)

    def _drop_late(self, now: float) -> None:
        if any(reply.until <= now for reply in self._replies):
            self._replies = deque(reply for reply in self._replies if reply.until > now)


# ---------------------------------------------------------------- cloud


@dataclass(slots=True)
class _Want:
    """One request under way and what has come for it."""

    ticket: int
    until: float
    size: int = 0
    data: bytearray = field(default_factory=bytearray)


class Wants:
    """The cloud's half.

    at_once  requests under way in one stream; more are refused
    most     bytes of one layer
    """

    def __init__(self, at_once: int, most: int) -> None:
        self.strays = 0  # replies to what nobody waits for
        self._at_once, self._most = at_once, most
        self._wants: dict[int, _Want] = {}
        self._number = 0

    @property
    def next(self) -> float | None:
        """When the first deadline is."""
        return min((want.until for want in self._wants.values()), default=None)

    def wanted(self, event: Wanted, boot: str, now: float) -> AuxiliaryRequest | Conclude:
        """What to send, or why nothing."""
        if len(self._wants) >= self._at_once:
            busy = AuxiliaryError(f"{len(self._wants)} requests to this camera are under way")
            return Conclude(event.ticket, busy)
        patience = min(event.patience, LONGEST_S)
        self._number += 1
        self._wants[self._number] = _Want(event.ticket, now + patience)
        frame = event.frame
        return AuxiliaryRequest(
            *(self._number, "" if frame.boot == boot else frame.boot, frame.seq),
            *(event.quality, patience, event.urgent),
        )

    def replied(self, reply: AuxiliaryReply) -> Conclude | None:
        """The end of a request, if this is it."""
        want = self._wants.get(reply.request)
        if want is None:
            self.strays += 1
            return None
        result = self._result(want, reply)
        if result is None:
            return None
        del self._wants[reply.request]
        return Conclude(want.ticket, result)

    def late(self, now: float) -> list[Conclude]:
        """The ends of those whose deadline has come."""
        gone = [number for number, want in self._wants.items() if want.until <= now]
        return [self._give_up(number) for number in gone]

    def offline(self, reason: str) -> list[Conclude]:
        """The end of all: the stream is gone."""
        wants, self._wants = self._wants, {}
        return [Conclude(want.ticket, CameraOffline(reason)) for want in wants.values()]

    def _give_up(self, number: int) -> Conclude:
        want = self._wants.pop(number)
        came = f"{len(want.data)} of {want.size} bytes came" if want.size else "no answer came"
        return Conclude(want.ticket, AuxiliaryTimeout(f"{came} before the deadline"))

    def _result(self, want: _Want, reply: AuxiliaryReply) -> bytes | AuxiliaryError | None:
        """None: more is to come."""
        if reply.outcome is not AuxiliaryOutcome.SENT:
            error = _ERRORS.get(reply.outcome, AuxiliaryError)
            return error(f"the camera says: {reply.reason or reply.outcome.name.lower()}")
        if not 0 < reply.size <= self._most:
            return AuxiliaryError(f"the camera sends {reply.size} bytes, 1 to {self._most} may be")
        if want.size not in (0, reply.size):
            return AuxiliaryError("the camera's pieces are of two layers")
        want.size = reply.size
        want.data += reply.data
        if len(want.data) > want.size or not reply.data:
            return AuxiliaryError("the camera's pieces do not add up")
        return bytes(want.data) if len(want.data) == want.size else None
