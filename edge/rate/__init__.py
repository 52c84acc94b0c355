"""What the next frame may cost, and when what is coded may go.

    budget ──┐                                  ┌─> quality and bytes of the next frame, or thinned
    server's ├─> the tightest ─> share per frame┤
    link ────┘   wire bytes/s                   └─> layers that may go now, or when to ask again

Boxes come first, then quality, then frame rate: when the rate is short, quality falls to its floor,
then frames are thinned, each with the reason why. A layer that is coded is never thrown away: it
waits in the spool, and while many wait, new frames get a part of the rate.

All bytes are wire bytes, both ways, headers of TLS, TCP and IP included. What a message costs
beyond its layers is learned from the kernel's counter (edge/link/counter.py); where
nothing is counted, the estimates below stand. Pure: no clock, no thread, no socket; `now` in
seconds is passed in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edge.rate.bucket import WireBucket
from edge.rate.congestion import LinkEstimate
from edge.rate.overhead import Overhead
from edge.rate.turns import Turns

# Both ways over TLS: a message is a segment of its own, with 52 bytes of TCP and IP, 22 of TLS and
# 14 of HTTP/2 and gRPC, and is acknowledged by one of 52. So is its answer, or are ack and boxes,
# where they come apart.
_SEGMENT = 52.0
_ONE_WAY = _SEGMENT + 22 + 14 + 12 + _SEGMENT
MESSAGE_COST = 3 * _ONE_WAY
_LAYER = 12.0  # its entry in the request
_BOXES = 33.0  # what is said of it: its result, a few boxes
LAYER_COST = _LAYER + _BOXES
DEFAULT_QUEUE_S = 1.0  # standing queue that is put up with where no latency is asked for
MOST_COALESCE_S = 10.0

_HALVING = 72  # steps of quality, of 255, in which a layer's size halves, about
_LEAST_QUEUE_S = 0.1
_PIECE = 1200  # bytes of an auxiliary layer in one message: about a segment, to save headers
_REPLY_SHARE = 0.5  # of the link's rate, for auxiliary layers beside machine layers
_CRUMB_S = 1e-4  # of rounding
_LINK_SHARE = 0.92  # of a rate that is an estimate, for new frames, so that no queue lasts
_MOST_LIVE_SHARE = 1.25  # of a budget, where much of it is saved up
_SHARE_BESIDE_STILL = 0.95  # the rest is saved up until a piece of it may go
_LATE = 0.4  # of the wire bytes are answers, where boxes come back
_LATE_ACKS = 0.1  # where only acks do
_HORIZON = 8.0  # frames over which what is saved or owed is shared out
_RISE = 4.0  # of 255 in quality, from one frame to the next
_GROWTH = 2 ** (_RISE / 72)
_LEAST_LIVE_SHARE = 0.5  # while many layers wait; half of that where a latency is asked for
_BACKLOG_S = 1.0  # of the rate, that waits beyond what usually does
_DRAIN_S = 2.0  # in which a short queue is sent off beside new frames


@dataclass(frozen=True, slots=True)
class Limits:
    """What was asked for.

    budget    wire bytes per second, both ways; None: no bound
    latency   seconds from capture to ack; None: as the link has it
    coalesce  seconds for which a coded layer may wait for others to share its message
    best      quality 0..255 where the rate suffices
    least     quality 0..255 below which frames are thinned instead
    fps       frames per second that the source brings
    gather    seconds for which the server may gather acks
    boxes     the server sends back what it saw
    """

    budget: float | None = None
    latency: float | None = None
    coalesce: float = 0.0
    best: int = 102
    least: int = 0
    fps: float = 5.0
    gather: float = 0.0
    boxes: bool = True

    @property
    def queue(self) -> float:
        """Seconds of standing queue on the link that are put up with.

        Who lets answers wait has time, and a server that is busy is no queue.
        """
        if self.latency is None:
            return DEFAULT_QUEUE_S + self.gather / 2
        return max((self.latency - self.coalesce - self.gather) / 4, _LEAST_QUEUE_S)


@dataclass(frozen=True, slots=True)
class Plan:
    """How to code a frame: try `best` first, not below `least`; at most `most` bytes if it can."""

    best: int
    least: int
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Thinned:
    """Leave this frame out: 'budget', 'server', 'link' or 'backlog' has no room for it."""

    reason: str


class RateControl:
    """Decides for one camera. With no budget, latency target or server's wish: all at once."""

    def __init__(self, limits: Limits, now: float) -> None:
        self.wake: float | None = None  # when `release` may say more than it did
        self._limits = limits
        late = (_LATE if limits.boxes else _LATE_ACKS) * limits.gather
        self._bucket = WireBucket(limits.budget, now, gather=limits.coalesce, late=late)
        self._link = LinkEstimate(
            limits.queue,
            None if limits.budget is None else 1.25 * limits.budget,
            now,
            limits.gather,
        )
        self._overhead = Overhead(_expected(limits), _LAYER + _BOXES * limits.boxes)
        self._wish: float | None = None  # the server's, bytes per second
        self._turns = Turns()
        self._credit = 0.0  # wire bytes for frames to come
        self._most_saved = 0.0  # of them, or owed
        self._credited = now - 1.0  # the first frame need not wait
        self._hint = float(limits.best)
        self._room = math.inf  # bytes that the last frame might take
        self._floor = 0.0  # bytes of a layer at the least quality, as far as seen
        self._layers = 0  # that are coded and not acked
        self._spooled = 0  # their bytes
        self._held_since: float | None = None
        self._reply = 0  # bytes of auxiliary layers that wait
        self._urgent = 0.0  # of these, what goes before machine layers
        self._has_still = False  # that waits
        self._reply_at = now  # when the link is done with the last piece of one

    # -- facts

    def measured(self, wire: int | None, spooled: tuple[int, int], now: float) -> None:
        """The kernel's count so far, both ways (None: unknown); the spool's layers and bytes."""
        self._link.tick(now)
        self._layers, self._spooled = spooled
        if wire is not None:
            self._bucket.measured(wire, self._link.in_flight, now)
            self._overhead.measured(wire, self._link.in_flight)

    def connected(self, now: float) -> None:
        """A stream was welcomed; nothing of it is under way yet, and no wish was told."""
        self._link.connected()
        self._overhead.connected()
        self.wished(0, now)

    def sent(self, sizes: Sequence[int], now: float) -> None:
        """A message with layers of these sizes went."""
        cost = self._overhead.cost(sizes)
        self._bucket.spend(cost, now)
        self._link.sent(len(sizes), sum(sizes), cost, now)

    def acked(self, total: int, now: float) -> None:
        """The first `total` layers of this stream are acked."""
        for message in self._link.acked(total, now):
            self._layers = max(self._layers - message.layers, 0)
            self._spooled = max(self._spooled - message.payload, 0)
            self._overhead.acked(message)

    def wished(self, bytes_per_second: int, now: float, frames_per_second: float = 0.0) -> None:
        """The server's RateTarget; 0: it has no wish."""
        self._turns.pace(frames_per_second or None, now)
        self._wish = float(bytes_per_second) or None
        self._bucket.set_budget(_tighter(self._limits.budget, self._wish), now)

    def coded(self, size: int, quality: int, *, is_key: bool = False) -> None:
        """A frame was coded as planned into so many bytes, and will be spooled.

        is_key  it leans on no other: its size says little about the next one's
        """
        self._layers += 1
        self._spooled += size
        self._credit = max(self._credit - self._frame_cost(size), -self._most_saved)
        if quality < round(self._hint):
            self._hint = float(quality)
        elif size * _GROWTH <= self._room:
            self._hint = min(self._hint + _RISE, self._limits.best)
        if is_key and self._floor:
            return
        least = size * 2 ** (-(quality - self._least) / _HALVING)
        self._floor += (least - self._floor) * (0.2 if self._floor else 1.0)

    # -- decisions

    @property
    def is_limited(self) -> bool:
        return self._bucket.budget is not None or self._limits.latency is not None

    @property
    def bytes_per_second(self) -> float:
        """The tightest of budget, server's wish and link; infinite if there is no limit."""
        return self._tightest()[0]

    def frame(self, now: float) -> Plan | Thinned:
        """What to do with a frame that was captured just now."""
        if not self._turns.take(now):
            return Thinned("server")
        if not self.is_limited:
            return Plan(self._limits.best, self._limits.best)
        full, reason = self._tightest()
        rate = full * self._live_share(full, now)
        if self._waiting() > self._usual(full) + _BACKLOG_S * full:
            reason = "backlog"
        least = self._frame_cost(self._floor)
        elapsed, self._credited = max(now - self._credited, 0.0), now
        # A large frame is late by itself, and makes the next ones late.
        share = rate / self._fps
        self._most_saved = max(
            rate * min(self._limits.latency or 3.0, 3.0) / 3, least + 1.5 * share
        )
        self._credit = min(self._credit + rate * elapsed, self._most_saved)
        if self._credit < max(least, 1.0) and not self._is_borne(least, now):
            return Thinned(reason)
        # What was saved, or is owed for a key layer, is shared out among the frames to come.
        room = share + (self._credit - share) / _HORIZON
        self._room = max(room - self._frame_cost(0), 1.2 * self._floor, 1.0)
        return Plan(round(self._hint), self._least, int(self._room))

    def release(self, sizes: Sequence[int], now: float, *, ending: bool = False) -> int:
        """How many of the layers that are ready may go now, in one message; sets `wake`."""
        self.wake = None
        if not sizes:
            self._held_since = None
            return 0
        if self._held_since is None:
            self._held_since = now
        due = self._held_since + self._limits.coalesce
        if now < due and not ending:
            self.wake = due
            return 0
        count = self._affordable(sizes, now) if self.is_limited else len(sizes)
        if count:
            self._held_since = None
        return count

    def reply(self, left: int, sizes: Sequence[int], now: float, *, urgent: bool = False) -> int:
        """How long a piece of an auxiliary layer may go now, in bytes; 0: none; may set `wake`.

        left   bytes of auxiliary layers that wait; 0: none do
        sizes  of the machine layers that are ready, which go first unless it is urgent: what they
               cost is left for them
        Call it after `release`.
        """
        self._reply = left
        self._urgent = float(min(left, _PIECE)) if urgent else 0.0
        if not left or not self.is_limited:
            return left
        if now < self._reply_at:
            self._wake_at(self._reply_at)
            return 0
        set_aside = 0.0 if urgent or not sizes else self._overhead.cost(sizes)
        if set_aside >= self._bucket.burst:
            return 0  # a backlog: it takes all there is until it is short
        overhead = self._cost_beside(0)
        least = min(left, _PIECE, max(self._bucket.burst - set_aside - overhead, 1.0))
        room = self._bucket.left(now) - set_aside - overhead
        if room < least:
            self._wake_at(now + (least - room) / self._bucket.refill + _CRUMB_S)
            return 0
        return max(int(min(room, left, _PIECE)), 1)

    def spare(self, left: int, sizes: Sequence[int], now: float) -> int:
        """How long a piece of a still may go now, in bytes; 0: none; may set `wake`.

        left, sizes  as for `reply`. It goes behind all else: what the next frame costs is left too.
        Call it after `reply`.
        """
        self._has_still = left > 0
        if not left or self._reply:
            return 0
        if now < self._reply_at:
            self._wake_at(self._reply_at)
            return 0
        piece = min(left, _PIECE)
        if self._bucket.budget is None:
            return piece
        set_aside = self._overhead.cost([*sizes, round(self._floor)]) + self._cost_beside(0)
        piece = min(piece, max(int(self._bucket.burst - set_aside), 1))
        missing = set_aside + piece - self._bucket.left(now)
        if missing > 0:
            if set_aside + piece <= self._bucket.burst:  # else a backlog goes first
                self._wake_at(now + missing / self._bucket.refill + _CRUMB_S)
            return 0
        return piece

    def replied(self, size: int, now: float) -> None:
        """A piece of so many bytes went."""
        cost = self._cost_beside(size)
        self.told(size, now)
        share = _REPLY_SHARE if self._link.under_way else 1.0
        self._reply_at = now + cost / (share * self._link.rate)

    def told(self, size: int, now: float) -> None:
        """A message of another kind, of so many bytes, went."""
        cost = self._cost_beside(size)
        self._bucket.spend(cost, now)
        self._overhead.beside(cost)

    def _cost_beside(self, size: int) -> float:
        """Wire bytes of a message that is not answered."""
        return size + self._overhead.message / 2

    def _wake_at(self, moment: float) -> None:
        self.wake = moment if self.wake is None else min(self.wake, moment)

    def _affordable(self, sizes: Sequence[int], now: float) -> int:
        gathered = self._limits.coalesce * self._link.rate
        window = self._link.window + gathered - self._link.in_flight
        count = 0
        for n in range(1, len(sizes) + 1):
            cost = self._overhead.cost(sizes[:n])
            if n == 1:
                patience = self._bucket.wait(cost, now, beside=self._urgent)
                if patience > 0:
                    self.wake = now + patience
                    return 0
                if cost > window and self._link.under_way:
                    self._link.is_full = True
                    return 0  # an ack, or the end of the stream, changes that
            elif cost > min(window, self._bucket.burst) or self._bucket.wait(cost, now) > 0:
                break
            count = n
        return count

    def _tightest(self) -> tuple[float, str]:
        if not self.is_limited:
            return math.inf, "none"
        rates = [(self._link.rate, "link")]
        if self._bucket.budget is not None:
            by_server = self._wish is not None and self._bucket.budget == self._wish
            rates.append((self._bucket.refill, "server" if by_server else "budget"))
        return min(rates)

    def _live_share(self, rate: float, now: float) -> float:
        """What new frames may use of the rate: less the more layers wait, but never nothing.

        Where bytes are saved up it may be more than all.
        """
        waiting, usual = self._waiting(), self._usual(rate)
        least = _LEAST_LIVE_SHARE if self._limits.latency is None else _LEAST_LIVE_SHARE / 2
        if self._bucket.budget is None or rate < self._bucket.refill:
            return max(_LINK_SHARE - max(waiting - usual, 0.0) / (_DRAIN_S * rate), least)
        slack = self._bucket.burst - self._limits.coalesce * rate
        spare = self._bucket.left(now) - waiting - slack / 2
        most = _SHARE_BESIDE_STILL if self._has_still else _MOST_LIVE_SHARE
        return min(max(1.0 + spare / (_DRAIN_S * rate), least), most)

    def _waiting(self) -> float:
        """Wire bytes of what is to be sent."""
        under_way = self._link.under_way
        layers = self._layers - sum(message.layers for message in under_way)
        payload = self._spooled - sum(message.payload for message in under_way)
        return payload + layers * self._frame_cost(0) + self._reply

    def _usual(self, rate: float) -> float:
        """Wire bytes that wait although nothing is wrong."""
        return rate * self._limits.coalesce + self._frame_cost(self._floor)

    def _is_borne(self, cost: float, now: float) -> bool:
        """Whether the budget bears a frame of this cost at once, whatever was planned."""
        if self._bucket.budget is None or self._tightest()[1] == "link":
            return False
        return self._bucket.left(now) >= self._waiting() + cost

    def _frame_cost(self, size: float) -> float:
        """Wire bytes of a layer of this size, with its part of a message."""
        return size + self._overhead.layer + self._overhead.message / self._sharing

    @property
    def _fps(self) -> float:
        return min(self._limits.fps, self._turns.per_second or math.inf)

    @property
    def _sharing(self) -> float:
        """Layers in a message: what comes in `coalesce` seconds, as far as the rate goes."""
        hold, rate = self._limits.coalesce, self._tightest()[0]
        most = self._fps * hold
        if most <= 1 or rate == math.inf:
            return 1.0
        afforded = (rate * hold - self._overhead.message) / (self._overhead.layer + self._floor)
        return min(max(afforded, 1.0), most)

    @property
    def _least(self) -> int:
        return min(self._limits.least, self._limits.best)


def _expected(limits: Limits) -> float:
    """What a message costs beyond its layers, as long as nothing has been learned."""
    if not limits.gather:
        return MESSAGE_COST
    messages = min(limits.fps, 1 / limits.coalesce if limits.coalesce else math.inf)
    return _ONE_WAY + _ONE_WAY / max(limits.gather * messages, 1.0)  # per second, and per answer


def _tighter(a: float | None, b: float | None) -> float | None:
    return min((x for x in (a, b) if x is not None), default=None)
