"""A camera, a link and a server in simulated time: what RateControl decides has its effects.

The link is one queue: a message leaves it when all its wire bytes have been carried at the rate of
the trace, and is acked one round trip later. The kernel's counter sees bytes as they are carried.
"""

from __future__ import annotations

import math
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from edge.rate import Limits, RateControl, Thinned

STEP_S = 0.02
MEASURE_S = 0.25

Trace = Callable[[float], float]  # seconds -> wire bytes per second


@dataclass
class _Message:
    captured: list[float]
    wire: float
    left: float
    payload: int
    layers_in_all: int


@dataclass
class World:
    """Runs by `run(seconds)`; what happened is in the lists, times in seconds."""

    control: RateControl
    limits: Limits
    trace: Trace
    delay: float = 0.05
    overhead: float = 400.0  # of a message; what the control expects is 480
    layer_cost: float = 45.0
    floor_bytes: int = 120  # of a layer at quality 0; 12 times that at 255
    key_every: int = 0  # such a layer is three times as long; 0: none is
    answer: float = 0.0  # wire bytes of a layer that come down with its ack
    handshake: float = 0.0
    is_measured: bool = True
    seed: int = 1
    now: float = 0.0
    captured: int = 0
    thinned: Counter[str] = field(default_factory=Counter)
    qualities: list[tuple[float, int]] = field(default_factory=list)
    latencies: list[tuple[float, float]] = field(default_factory=list)  # (when acked, how long)
    wire: list[tuple[float, float]] = field(default_factory=list)  # (when, bytes carried)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._waiting: deque[tuple[float, int]] = deque()  # (captured, size)
        self._queue: deque[_Message] = deque()
        self._acks: deque[tuple[float, _Message]] = deque()
        self._carried = 0.0
        self._sent = 0
        self._next_frame = 0.0
        self._next_measure = 0.0
        if self.handshake:
            self._queue.append(_Message([], self.handshake, self.handshake, 0, 0))
        self.control.connected(self.now)

    @property
    def coded(self) -> int:
        return len(self.qualities)

    @property
    def waiting(self) -> int:
        """Layers that are coded and not acked."""
        under_way = sum(len(m.captured) for m in self._queue)
        return len(self._waiting) + under_way + sum(len(m.captured) for _, m in self._acks)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self._step()
            self.now += STEP_S

    def _step(self) -> None:
        acked = 0
        while self._acks and self._acks[0][0] <= self.now:
            _, message = self._acks.popleft()
            acked = message.layers_in_all
            self._answer(self.answer * len(message.captured))
            self.latencies += [(self.now, self.now - captured) for captured in message.captured]
        if acked:  # one answer for all of them
            self.control.acked(acked, self.now)
        if self.now >= self._next_measure:
            self._next_measure += MEASURE_S
            spooled = self.waiting, self._spooled()
            wire = int(self._carried) if self.is_measured else None
            self.control.measured(wire, spooled, self.now)
        if self.now >= self._next_frame:
            self._next_frame += 1 / self.limits.fps
            self._frame()
        while count := self.control.release([s for _, s in self._waiting][:64], self.now):
            self._send([self._waiting.popleft() for _ in range(count)])
        self._carry()

    def _spooled(self) -> int:
        messages = [*self._queue, *(message for _, message in self._acks)]
        return sum(size for _, size in self._waiting) + sum(m.payload for m in messages)

    def _frame(self) -> None:
        self.captured += 1
        plan = self.control.frame(self.now)
        is_key = bool(self.key_every) and self.coded % self.key_every == 0
        if isinstance(plan, Thinned):
            self.thinned[plan.reason] += 1
            return
        scene = self.floor_bytes * self._random.uniform(0.8, 1.25) * (3 if is_key else 1)
        quality, size = plan.best, int(scene * 12 ** (plan.best / 255))
        most = None if plan.most is None else plan.most * (4 if is_key else 1)  # as Encoder does
        while most is not None and size > most and quality > plan.least:
            quality -= 1
            size = int(scene * 12 ** (quality / 255))
        self.control.coded(size, quality, is_key=is_key)
        self.qualities.append((self.now, quality))
        self._waiting.append((self.now, size))

    def _send(self, layers: list[tuple[float, int]]) -> None:
        sizes = [size for _, size in layers]
        self.control.sent(sizes, self.now)
        self._sent += len(layers)
        wire = self.overhead + self.layer_cost * len(layers) + sum(sizes)
        self._queue.append(_Message([c for c, _ in layers], wire, wire, sum(sizes), self._sent))

    def _carry(self) -> None:
        room = self.trace(self.now) * STEP_S
        carried = 0.0
        while self._queue and room > 0:
            message = self._queue[0]
            part = min(room, message.left)
            message.left -= part
            room -= part
            carried += part
            if message.left <= 0:
                self._queue.popleft()
                self._acks.append((self._acked_at(self.now + 2 * self.delay), message))
        self._carried += carried
        if carried:
            self.wire.append((self.now, carried))

    def _answer(self, size: float) -> None:
        if size:
            self._carried += size
            self.wire.append((self.now, size))

    def _acked_at(self, moment: float) -> float:
        """A server that gathers its answers gives one at the end of each such span."""
        gather = self.limits.gather
        return math.ceil(moment / gather) * gather if gather else moment

    # -- what is asked afterwards

    def worst_window(self, seconds: float = 60.0) -> float:
        """The most wire bytes in any so many seconds."""
        worst = total = 0.0
        first = 0
        for now, size in self.wire:
            total += size
            while self.wire[first][0] <= now - seconds:
                total -= self.wire[first][1]
                first += 1
            worst = max(worst, total)
        return worst

    def latency(self, percent: float, since: float, until: float) -> float:
        """Seconds from capture to ack of the frames acked in that time."""
        found = sorted(d for at, d in self.latencies if since <= at < until)
        return found[min(int(len(found) * percent / 100), len(found) - 1)]

    def quality(self, since: float, until: float) -> float:
        """Mean, 0..255."""
        found = [q for at, q in self.qualities if since <= at < until]
        return sum(found) / len(found)

    def frames_a_second(self, since: float, until: float) -> float:
        """Acked frames."""
        return sum(since <= at < until for at, _ in self.latencies) / (until - since)


def world(trace: Trace, limits: Limits, **how: object) -> World:
    return World(RateControl(limits, 0.0), limits, trace, **how)  # type: ignore[arg-type]
