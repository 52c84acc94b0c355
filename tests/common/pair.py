"""Two real sessions joined in memory, over a link that can lose, delay, repeat and reorder.

Nothing happens by itself: a test delivers each message, answers each store, lets time pass. The
promises that must hold at every step are checked here, as the actions are performed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from cloud.store.memory import MemoryFrameStore
from common.errors import AuxiliaryError, CorruptStream
from common.session import CloudPolicy, CloudSession, CloudState, EdgeSession, EdgeState
from common.session import events as ev
from common.session.allowance import Allowance
from common.types import Box, FrameId
from edge.spool import MemorySpool

CAMERA = "gate"
MODEL = 0xBEEF
HELD = CloudPolicy(window=4, max_layer_bytes=100)  # an ack waits a moment for boxes
POLICY = replace(HELD, ack_delay=0.0)  # the transcripts' policy: each step shows by itself
BOX = Box("car", 0.8, 1, 2, 30, 40)


def auxiliary(seq: int) -> bytes:
    """What the edge has for a frame: up to some pieces, or more than is taken."""
    return bytes([seq % 256]) * (1 + 30 * (seq % 5))


def inspect(data: bytes) -> None:
    if data.startswith(b"bad"):
        raise CorruptStream("the checksum does not match")


@dataclass
class Link:
    """One connection, its two directions, and the server's session at its end."""

    cloud: CloudSession
    number: int
    up: deque[ev.ToServer] = field(default_factory=deque)
    down: deque[ev.ToEdge] = field(default_factory=deque)
    edge_left: bool = False  # no more will come up
    cloud_left: bool = False  # no more will come down
    sent: list[FrameId] = field(default_factory=list)  # by the edge, in order
    allowed: int = 0  # the highest credit that the server ever wrote here
    timer: float | None = None


class Pair:
    """An edge with its spool, a server with its store, and the links between them."""

    def __init__(
        self,
        *,
        policy: CloudPolicy = POLICY,
        model: int = MODEL,
        random: Callable[[], float] = lambda: 0.5,
        want_boxes: bool = True,
        gather: float = 0.0,
    ) -> None:
        self.now = 0.0
        self.labels: tuple[str, ...] = ("person", "car")  # (): the server does not pack boxes
        self.log: list[str] = []
        self.spool = MemorySpool(CAMERA, max_bytes=1 << 30)
        self.store = MemoryFrameStore()
        self.coded: dict[FrameId, bytes] = {}
        self.refused: set[FrameId] = set()
        self.broken: set[FrameId] = set()
        self.boxed: set[FrameId] = set()
        self.finished = False
        self.reordered = False  # then a refusal may come after the ack, or never
        self.links: list[Link] = []
        self.link: Link | None = None  # the edge's
        self.jobs: list[tuple[Link, ev.Store | ev.Lookup]] = []
        self.looking: list[tuple[Link, FrameId]] = []
        self.fetches: list[ev.Fetch | ev.Fetched] = []  # asked, or read and not yet answered
        self.finds: list[ev.FindAuxiliary] = []
        self.tickets = 0
        self.wanted: dict[int, int] = {}  # seq by ticket
        self.unanswerable: set[int] = set()  # who asked died with the server
        self.concluded: dict[int, bytes | AuxiliaryError] = {}
        self.connect_at: float | None = None
        self.edge_timer: float | None = None
        self._policy, self._model, self._random = policy, model, random
        self._new_allowance: Callable[[], Allowance | None] = lambda: None
        self._allowance: Allowance | None = None
        self._want_boxes, self._gather = want_boxes, gather
        self._boots = 0
        self._boot()

    @property
    def wire(self) -> Link:
        """The edge's connection, which it must have."""
        assert self.link is not None
        return self.link

    @property
    def backoff(self) -> float:
        """Seconds until the edge connects again, which it must intend to."""
        assert self.connect_at is not None
        return self.connect_at - self.now

    # -- what can happen

    def code(self, data: bytes = b"layer") -> None:
        self.seq += 1
        self.coded[FrameId(CAMERA, self.edge.boot, self.seq)] = data
        self._tell_edge(ev.FrameCoded(self.seq, 1000.0 + self.seq, data))

    def connect(self) -> None:
        """The edge gets the connection it waits for, whatever the hour."""
        if self.connect_at is None:
            return
        self.connect_at = None
        link = self.open()
        self.link = link
        self._tell_edge(ev.Connected())

    def limit(self, *, max_age: float | None = None, per_second: float | None = None) -> None:
        """What the server asks of connections from now on."""
        self._policy = replace(self._policy, max_age=max_age)
        if per_second is not None:
            self._new_allowance = lambda: Allowance(per_second, 2)
            self._allowance = self._new_allowance()

    def open(self) -> Link:
        """A connection, at the server's end only."""
        number = len(self.links) + 1
        cloud = CloudSession(
            *(f"s{number}", self._model),
            inspect=inspect,
            labels=self.labels,
            allowance=self._allowance,
            policy=self._policy,
        )
        link = Link(cloud, number)
        self.links.append(link)
        self.tell_cloud(link, ev.Connected())
        return link

    def deliver_up(self, link: Link) -> None:
        if link.up:
            message = link.up.popleft()
            self.tell_cloud(link, ev.Received(message))
        elif link.edge_left:
            self.tell_cloud(link, ev.Disconnected())

    def deliver_down(self) -> None:
        link = self.link
        if link is None:
            return
        if link.down:
            self._tell_edge(ev.Received(link.down.popleft()))
        elif link.cloud_left:
            self.link = None
            self._tell_edge(ev.Disconnected())

    def answer_job(self, index: int = 0) -> None:
        """The store did what it was asked."""
        if not self.jobs:
            return
        link, job = self.jobs.pop(index % len(self.jobs))
        if isinstance(job, ev.Lookup):
            self.tell_cloud(link, ev.LookedUp(self.store.held(job.frames)))
            return
        self.store.put(job.layers)
        frames = tuple(layer.frame for layer in job.layers)
        self.looking.extend((link, frame) for frame in frames)
        self.tell_cloud(link, ev.Stored(frames))

    def fail_job(self) -> None:
        if self.jobs:
            link, _ = self.jobs.pop(0)
            self.tell_cloud(link, ev.StoreFailed("the disk is full"))

    def detect(self, index: int = 0) -> None:
        if self.looking:
            link, frame = self.looking.pop(index % len(self.looking))
            seen = ev.Detected(frame, (BOX,))
            if self.is_broken(frame):
                seen = ev.Detected(frame, None, "the layer before it is missing")
            self.tell_cloud(link, seen)

    def want(self, link: Link, seq: int, patience: float = 20.0) -> int:
        """Somebody asks one session for an auxiliary layer; returns the ticket."""
        self.tickets += 1
        self.wanted[self.tickets] = seq
        frame = FrameId(CAMERA, link.cloud.boot or "b1", seq)
        self.tell_cloud(link, ev.Wanted(self.tickets, frame, 100, patience))
        return self.tickets

    def find(self, index: int = 0) -> None:
        """The edge looked; frames of even numbers are there, of four bytes too many at times."""
        if self.finds:
            find = self.finds.pop(index % len(self.finds))
            answer = ev.AuxiliaryFound(find.number, ev.AuxiliaryOutcome.EXPIRED, "it is gone")
            if find.frame.seq % 2 == 0:
                data = auxiliary(find.frame.seq)
                answer = ev.AuxiliaryFound(find.number, ev.AuxiliaryOutcome.SENT, data=data)
            self._tell_edge(answer)

    def read_spool(self) -> None:
        """The spool reads for one Fetch; the answer takes its time, and may be old by then."""
        for index, fetch in enumerate(self.fetches):
            if isinstance(fetch, ev.Fetch):
                self.fetches[index] = self._read(fetch)
                return

    def answer_fetch(self, index: int = 0) -> None:
        if self.fetches:
            fetch = self.fetches.pop(index % len(self.fetches))
            self._tell_edge(self._read(fetch) if isinstance(fetch, ev.Fetch) else fetch)

    def _read(self, fetch: ev.Fetch) -> ev.Fetched:
        return ev.Fetched(fetch, *self.spool.peek(fetch.cursor, fetch.limit))

    def swap_down(self) -> None:
        """Reorder what comes down, which no gRPC stream does."""
        if self.link is not None and len(self.link.down) > 1:
            self.link.down.rotate(1)
            self.reordered = True

    def cut(self) -> None:
        """The connection breaks; what is under way is lost."""
        link, self.link = self.link, None
        if link is not None:
            link.up.clear()
            link.edge_left = True
            self.tell_cloud(link, ev.Disconnected())
            self._tell_edge(ev.Disconnected())

    def kill_edge(self) -> None:
        """The process dies and starts again: a new boot, the same spool."""
        if self.link is not None:
            self.link.edge_left = True
        self.link = None
        self.fetches.clear()
        self.finds.clear()
        self._boot()

    def kill_server(self) -> None:
        """The process dies and starts again: only the store is left."""
        self.jobs.clear()
        self.looking.clear()
        self._allowance = self._new_allowance()
        for link in self.links:
            link.up.clear()
            link.cloud_left = True
            link.cloud = CloudSession("dead", 0, inspect=inspect)
            link.cloud.on(ev.Disconnected(), self.now)
        self.unanswerable |= set(range(1, self.tickets + 1)) - set(self.concluded)

    def drain(self) -> None:
        for link in list(self.links):
            self.tell_cloud(link, ev.Draining(2.0))

    def end_source(self) -> None:
        self._tell_edge(ev.SourceEnded())

    def wait(self, seconds: float) -> None:
        self.now += seconds
        if self.edge_timer is not None and self.now >= self.edge_timer:
            self.edge_timer = None
            self._tell_edge(ev.Tick())
        for link in list(self.links):
            if link.timer is not None and self.now >= link.timer:
                link.timer = None
                self.tell_cloud(link, ev.Tick())
        if self.connect_at is not None and self.now >= self.connect_at:
            self.connect()

    def progress(self, steps: int) -> None:
        """A while of fair world."""
        for _ in range(steps):
            self.connect()
            self._step()

    def settle(self) -> None:
        """A fair world: everything is delivered and answered until all is acked."""
        for _ in range(10_000):
            busy = self._step()
            if not busy and self.is_settled():
                return
            if not busy:
                server = self.link.timer if self.link is not None else None
                timers = (self.connect_at, self.edge_timer, server)
                moments = [t for t in timers if t is not None]
                assert moments, f"stuck with {self.spool.status().frames} layers in the spool"
                self.wait(max(0.0, min(moments) - self.now))
        raise AssertionError("nothing comes to rest")

    def is_settled(self) -> bool:
        return self.spool.status().frames == 0

    def is_refusable(self, frame: FrameId) -> bool:
        data = self.coded[frame]
        return data.startswith(b"bad") or len(data) > self._policy.max_layer_bytes

    def is_broken(self, frame: FrameId) -> bool:
        """Whether its layer leans on one that is missing."""
        return self.coded[frame].startswith(b"broken")

    def _step(self) -> bool:
        waiting = [link for link in self.links if link.up or self._unnoticed(link)]
        for link in waiting:
            self.deliver_up(link)
        coming = self.link is not None and bool(self.link.down or self.link.cloud_left)
        if coming:
            self.deliver_down()
        busy = bool(waiting or coming or self.jobs or self.looking or self.fetches)
        self.answer_job()
        self.detect()
        self.answer_fetch()
        return busy

    @staticmethod
    def _unnoticed(link: Link) -> bool:
        return link.edge_left and link.cloud.state is not CloudState.CLOSED

    # -- the edge's rim

    def _boot(self) -> None:
        self._boots += 1
        self.seq = -1
        self.edge = EdgeSession(
            *(CAMERA, f"b{self._boots}", MODEL),
            random=self._random,
            want_boxes=self._want_boxes,
            gather=self._gather,
        )
        self.edge_timer = None
        self._tell_edge(ev.Started())

    def _tell_edge(self, event: ev.EdgeEvent) -> None:
        for action in self.edge.on(event, self.now):
            self.log.append(f"edge   {describe(action)}")
            self._perform_edge(action)

    def _perform_edge(self, action: ev.EdgeAction) -> None:
        match action:
            case ev.Spool(layer):
                self.spool.append([layer])
            case ev.Send(message):
                assert self.link is not None
                if isinstance(message, ev.Layers):
                    self._check_send(self.link, message)
                self.link.up.append(message)
            case ev.Unspool(frames):
                for frame in frames:
                    assert self.is_refusable(frame) or self.store.held([frame]), f"{frame} is lost"
                    told = frame in self.refused or self.reordered
                    assert told or not self.is_refusable(frame), f"{frame} left without a word"
                self.spool.drop(frames)
            case ev.Fetch():
                self.fetches.append(action)
            case ev.FindAuxiliary():
                self.finds.append(action)
            case ev.Deliver(ev.Verdict(frame, outcome, reason, boxes)):
                assert boxes in (None, (BOX,)), "boxes came out otherwise than they went in"
                if outcome is ev.Outcome.REFUSED:
                    self.refused.add(frame)
                elif reason:
                    assert self.is_broken(frame)
                    self.broken.add(frame)
                if boxes is not None:
                    self.boxed.add(frame)
            case ev.Connect(at):
                assert self.edge.state is EdgeState.OFFLINE
                self.connect_at = at
            case ev.ArmTimer(at):
                self.edge_timer = at
            case ev.Close():
                assert self.link is not None
                self.link.edge_left = True
                self.link = None
            case ev.Finish():
                self.finished = True

    def _check_send(self, link: Link, message: ev.Layers) -> None:
        names = [FrameId(CAMERA, e.boot or self.edge.boot, e.seq) for e in message.layers]
        assert message.first == len(link.sent)
        assert names
        link.sent.extend(names)
        assert len(link.sent) <= link.allowed, "beyond credit"
        spooled = {layer.frame for layer in self.spool.peek(0, 1 << 30)[0]}
        assert spooled.issuperset(names), "sent before it was spooled"

    # -- the cloud's rim

    def tell_cloud(self, link: Link, event: ev.CloudEvent) -> None:
        for action in link.cloud.on(event, self.now):
            self.log.append(f"cloud{link.number} {describe(action)}")
            self._perform_cloud(link, action)
        assert link.cloud.unsettled <= self._policy.window

    def _perform_cloud(self, link: Link, action: ev.CloudAction) -> None:
        match action:
            case ev.Send(message):
                if isinstance(message, ev.Welcome | ev.Results):
                    link.allowed = max(link.allowed, message.credits)
                if isinstance(message, ev.Results):
                    self._check_results(link, message)
                link.down.append(message)
            case ev.Store() | ev.Lookup():
                self.jobs.append((link, action))
            case ev.Admit():
                for other in self.links:
                    if other is not link and other.cloud.camera == CAMERA:
                        self.tell_cloud(other, ev.Superseded())
            case ev.Conclude(ticket, result):
                assert ticket not in self.concluded, "concluded twice"
                self.concluded[ticket] = result
            case ev.ArmTimer(at):
                link.timer = at
            case ev.Close():
                link.cloud_left = True

    def _check_results(self, link: Link, message: ev.Results) -> None:
        for frame in link.sent[: message.acked]:
            settled = self.is_refusable(frame) or self.store.held([frame])
            assert settled, f"{frame} is acked but not stored"


# ---------------------------------------------------------------- for transcripts


def describe(action: ev.EdgeAction | ev.CloudAction) -> str:
    """One action as one line of a transcript."""
    match action:
        case ev.Send(message):
            return f"Send {_message(message)}"
        case ev.Spool(layer):
            return f"Spool {layer.frame} {len(layer.data)} bytes"
        case ev.Store(layers):
            return f"Store {_frames(tuple(layer.frame for layer in layers))}"
        case ev.Unspool(frames) | ev.Lookup(frames):
            return f"{type(action).__name__} {_frames(frames)}"
        case ev.Fetch(_, cursor, limit):
            return f"Fetch {limit} after {cursor}"
        case ev.Deliver(ev.Verdict(frame, outcome, reason, boxes)):
            seen = "" if boxes is None else f" [{' '.join(box.label for box in boxes)}]"
            return f"Deliver {frame} {outcome.name}{seen}{_quoted(reason)}"
        case ev.Deliver(ev.RateTarget(rate)):
            return f"Deliver RateTarget {rate} B/s"
        case ev.Connect(at):
            return f"Connect at {at:g}"
        case ev.ArmTimer(at):
            return "ArmTimer off" if at is None else f"ArmTimer at {at:g}"
        case ev.Close(code, reason):
            return f"Close {code.name}{_quoted(reason)}"
        case ev.FindAuxiliary(_, frame, quality):
            return f"FindAuxiliary {frame} quality {quality}"
        case ev.Conclude(ticket, bytes(data)):
            return f"Conclude {ticket}: {len(data)} bytes"
        case ev.Conclude(ticket, error):
            return f"Conclude {ticket}: {type(error).__name__}{_quoted(str(error))}"
        case ev.Admit(camera, boot):
            return f"Admit {camera}/{boot}"
        case _:
            return type(action).__name__


def _message(message: ev.ToServer | ev.ToEdge) -> str:
    match message:
        case ev.Hello(camera, boot, model_id, in_doubt):
            return f"Hello {camera}/{boot} model {model_id:04x} in doubt: {_ranges(in_doubt)}"
        case ev.Welcome(session, settled, credits):
            return f"Welcome {session} settled: {_ranges(settled)} credits {credits}"
        case ev.Layers(first, layers):
            names = " ".join(f"{e.boot}/{e.seq}" if e.boot else str(e.seq) for e in layers)
            return f"Layers after {first}: {names}"
        case ev.Results(acked, credits, frames):
            return f"Results acked {acked} credits {credits}" + "".join(map(_result, frames))
        case ev.RateTarget(rate):
            return f"RateTarget {rate} B/s"
        case ev.AuxiliaryRequest(request, boot, seq, quality, deadline):
            name = f"{boot}/{seq}" if boot else str(seq)
            return f"AuxiliaryRequest {request}: {name} quality {quality} within {deadline:g} s"
        case ev.AuxiliaryReply(request, outcome, reason, size, data):
            piece = f" {len(data)} of {size} bytes" if size else ""
            return f"AuxiliaryReply {request} {outcome.name}{piece}{_quoted(reason)}"
        case ev.StillPiece(seq, size, first, data):
            return f"StillPiece {seq}: {len(data)} of {size} bytes after {first}"
        case ev.StillResult(seq, outcome, reason):
            return f"StillResult {seq} {outcome.name}{_quoted(reason)}"
        case ev.Telemetry():
            return f"Telemetry {message.captured} captured"
        case ev.Goodbye(code, reason, retry_after):
            retry = f" retry after {retry_after:g} s" if retry_after else ""
            return f"Goodbye {code.name}{_quoted(reason)}{retry}"


def _result(result: ev.FrameResult) -> str:
    seen = "" if result.boxes is None else f" {len(result.boxes)} box"
    if result.packed is not None:
        seen = f" {len(result.packed)} bytes of boxes"
    name = f"{result.boot}/{result.seq}" if result.boot else str(result.seq)
    return f"; {name} {result.outcome.name}{seen}{_quoted(result.reason)}"


def _ranges(ranges: tuple[ev.FrameRange, ...]) -> str:
    return (
        " ".join(
            f"{r.boot}/{r.first}-{r.last}" if r.boot else f"{r.first}-{r.last}" for r in ranges
        )
        or "none"
    )


def _frames(frames: tuple[FrameId, ...]) -> str:
    return " ".join(f"{frame.boot}/{frame.seq}" for frame in frames)


def _quoted(reason: str) -> str:
    return f" '{reason}'" if reason else ""
