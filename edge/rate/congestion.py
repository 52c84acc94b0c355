"""What the link carries, learned from when messages went and when they were acked.

    base      the shortest ack latency of late: the way there and back, and the server's disk
    standing  ack latency above base that does not go away: a queue somewhere on the way
    rate      wire bytes per second; cut when the queue stands, probed upwards while there is none
    window    unacked bytes that fill the way and no more than the queue that is allowed

As in delay-based control for media (RFC 8698, draft-ietf-rmcat-gcc): loss is no signal, because TCP
hides it; a longer and longer ack is. A cut goes by what was delivered of late, because a standing
queue shows the link's own rate. Silence cuts once, however long it lasts: an outage is
no congestion. On a new connection the rate rises as fast as at the start.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

_START = 4000.0  # bytes per second, before anything is known
_LEAST = 50.0
_FAST = 0.5  # per second: growth at the start and after a silence
_STEP = 0.05  # per second, of the highest rate reached: growth after a cut
_BASE_S = 30.0  # two such spans are remembered for the shortest latency
_FIRST_BASE_S = 0.5


@dataclass(frozen=True, slots=True)
class Sent:
    """A message under way: layers so far in this stream, bytes of layers, wire bytes, moment."""

    total: int
    layers: int
    payload: int
    cost: float
    at: float


class LinkEstimate:
    """One link, over all its connections. Bytes are wire bytes; times are of the caller's clock.

    queue  seconds of standing queue that are put up with
    gather seconds for which acks may be held back on purpose
    most   bytes per second beyond which nobody needs to know
    """

    def __init__(self, queue: float, most: float | None, now: float, gather: float = 0.0) -> None:
        self.rate = min(_START, most or _START)
        self.under_way: deque[Sent] = deque()
        self.is_full = False  # a message had to wait for the window since the last ack
        self._queue = queue
        self._gather = gather
        self._most = most or math.inf
        self._fast = True
        self._highest = self.rate
        self._bases = [math.inf, math.inf]  # of this span and the one before
        self._span_began = now
        self._latencies: deque[float] = deque(maxlen=2)
        self._delivered: deque[tuple[float, float]] = deque()  # (moment, bytes)
        self._cut_at = -math.inf
        self._silent = False
        self._grown_at = now
        self._total = 0
        self._typical = 0.0  # wire bytes of a message
        self._last_at = now  # when the message that was acked last had been sent
        self._apart = 0.0  # seconds between that one and the one before

    @property
    def base(self) -> float:
        """Seconds; a guess until the first ack."""
        found = min(self._bases)
        return _FIRST_BASE_S if found == math.inf else found

    @property
    def in_flight(self) -> float:
        """Wire bytes of unacked messages."""
        return sum(message.cost for message in self.under_way)

    @property
    def window(self) -> float:
        """Wire bytes that may be unacked."""
        return self.rate * (self.base + self._gather + self._queue / 2) + self._typical

    def connected(self) -> None:
        """A new stream: what was under way in the last one is not any more."""
        self.under_way.clear()
        self._latencies.clear()
        self._total = 0
        self._fast = True

    def sent(self, layers: int, payload: int, cost: float, now: float) -> None:
        self._total += layers
        self.under_way.append(Sent(self._total, layers, payload, cost, now))

    def acked(self, total: int, now: float) -> tuple[Sent, ...]:
        """The stream's first `total` layers are acked; the messages that this completes."""
        done: list[Sent] = []
        while self.under_way and self.under_way[0].total <= total:
            done.append(self.under_way.popleft())
        if not done:
            return ()
        self._delivered.append((now, sum(message.cost for message in done)))
        while self._delivered[0][0] < now - self._span:
            self._delivered.popleft()
        self._typical = done[-1].cost
        self._apart = done[-1].at - (done[-2].at if len(done) > 1 else self._last_at)
        self._last_at = done[-1].at
        self._learn(now - done[-1].at, now)
        self._silent = False
        return tuple(done)

    def tick(self, now: float) -> None:
        """Notices silence: the age of what is under way tells before an ack does."""
        if not self.under_way or self._silent:
            return
        oldest = self.under_way[0]
        usual = self.base + self._queue + self._gather + oldest.cost / self.rate
        if now - oldest.at > 1.5 * usual:
            self._silent = True
            self._cut(0.5 * self.rate, now)

    def _learn(self, latency: float, now: float) -> None:
        if now - self._span_began > _BASE_S:
            self._bases = [math.inf, self._bases[0]]
            self._span_began = now
        self._bases[0] = min(self._bases[0], latency)
        self._latencies.append(latency)
        # A large message on a thin link takes its time without any queue.
        standing = min(self._latencies) - self.base - self._typical / self.rate
        # Where answers are gathered, the last message may have waited for its answer till the next.
        standing -= min(self._gather, max(self._apart, 0.0))
        bound = self._queue / 4 if self.is_full else self._queue
        if len(self._latencies) == 2 and standing > bound:
            if now - self._cut_at > self.base + self._queue:
                self._cut(min(0.95 * self.rate, 0.9 * self._delivery), now)
        elif standing < self._queue / 4 and not self.is_full:
            self._grow(now)
        self._grown_at = now
        self.is_full = False

    @property
    def _span(self) -> float:
        return max(2.0, 2 * self.base, 2 * self._gather)

    @property
    def _delivery(self) -> float:
        """Bytes per second that were acked of late."""
        return sum(size for _, size in self._delivered) / self._span

    def _cut(self, rate: float, now: float) -> None:
        self.rate = max(rate, 0.5 * self.rate, _LEAST)
        self._cut_at = now
        self._fast = False

    def _grow(self, now: float) -> None:
        """Only as far as the rate is used: a link that is not tried cannot be known."""
        elapsed = min(now - self._grown_at, 1.0 + self._gather)
        if self._delivery < 0.5 * self.rate:
            return
        step = _FAST * self.rate if self._fast else _STEP * self._highest
        self.rate = min(self.rate + step * elapsed, self._most)
        self._highest = max(self._highest, self.rate)
