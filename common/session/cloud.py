"""The server's side of a session. The rules are told in common/session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from common.errors import (
    AuxiliaryUnsupported,
    CameraOffline,
    CorruptStream,
    LocalProtocolError,
    ModelMismatch,
    RemoteProtocolError,
)
from common.packed import pack
from common.packed_frames import FrameSeen, fits, pack_frames
from common.session.allowance import Allowance
from common.session.auxiliary import Wants
from common.session.events import (
    Admit,
    ArmTimer,
    AuxiliaryReply,
    Close,
    CloudAction,
    CloudEvent,
    Conclude,
    Connected,
    Detected,
    Disconnected,
    Draining,
    FrameResult,
    Goodbye,
    GoodbyeCode,
    Hello,
    LayerEntry,
    Layers,
    LookedUp,
    Lookup,
    Outcome,
    RateTarget,
    Received,
    Record,
    Results,
    Send,
    StillKept,
    StillPiece,
    StillResult,
    Store,
    Stored,
    StoreFailed,
    Superseded,
    TargetChosen,
    Telemetry,
    Tick,
    ToEdge,
    ToServer,
    Wanted,
    Welcome,
)
from common.session.ranges import compress, expand
from common.session.still import Arrivals
from common.session.window import CreditWindow
from common.types import Box, FrameId, Layer, Presence

GATHER_S = 10.0  # for which an edge may let acks and boxes be gathered, at the most
HELD_LIMIT = 256  # results that are gathered, at the most
IN_DOUBT_LIMIT = 1024  # frames that the server looks up for one Hello (proto: Hello.in_doubt)


@dataclass(frozen=True, slots=True)
class CloudPolicy:
    """Layers, bytes and seconds.

    window           layers that one camera may have unsettled, 1 or more
    max_layer_bytes  a longer layer is refused, 1..1048576
    max_still_bytes  a longer still is refused, 0 (no still is taken)..1048576
    hello_timeout    from Connected to Hello
    part_timeout     for stores, detections and a still under way when the session parts
    mismatch_retry   an edge with another model comes back no sooner
    replaced_retry   a superseded edge comes back no sooner: two edges of one name fight slowly
    store_retry      an edge comes back no sooner to a store that failed
    ack_delay        an ack waits so long for boxes to travel with it, if the edge wants boxes
    requests         for auxiliary layers that are under way at once
    max_age          a stream that is older is to be opened anew, so that no trust lasts for ever:
                     certificates, tokens, addresses are looked at again; None: no bound
    """

    window: int = 64
    max_layer_bytes: int = 1 << 20
    max_still_bytes: int = 1 << 18
    hello_timeout: float = 10.0
    part_timeout: float = 5.0
    mismatch_retry: float = 60.0
    replaced_retry: float = 30.0
    store_retry: float = 5.0
    ack_delay: float = 0.15
    requests: int = 4
    max_age: float | None = None


class CloudState(Enum):
    NEW = auto()
    WAITING = auto()
    LOOKING = auto()
    LIVE = auto()
    PARTING = auto()
    CLOSED = auto()


class CloudSession:
    """The server's side of one stream.

    session   names the stream in logs
    model_id  the model that this server holds
    inspect   raises CorruptStream or ModelMismatch for data that is not a layer of that model
    labels    class names of boxes and presences, to pack them; (): they are never packed
    identity  the camera that the peer proved to be; None: it may be any
    allowance layers that this camera may send at all; None: as the window has it

    Of two sessions of one camera the newer wins: perform Admit by giving Superseded to the other.
    """

    def __init__(
        self,
        session: str,
        model_id: int,
        *,
        inspect: Callable[[bytes], object],
        labels: tuple[str, ...] = (),
        identity: str | None = None,
        allowance: Allowance | None = None,
        policy: CloudPolicy | None = None,
    ) -> None:
        self.state = CloudState.NEW
        self.camera = ""  # known after Admit
        self.boot = ""
        self._session = session
        self._model_id = model_id
        self._inspect = inspect
        self._labels = labels
        self._identity = identity
        self._policy = policy or CloudPolicy()
        self._allowance = allowance
        self._window = CreditWindow()
        self._storing: set[FrameId] = set()
        self._detecting: set[FrameId] = set()  # only if the edge wants boxes
        self._in_doubt: tuple[FrameId, ...] = ()
        self._want_boxes = False
        self._packs = False  # boxes, for this edge
        self._gather = 0.0  # seconds
        self._packs_frames = False  # those that are gathered, for this edge
        self._held: list[FrameResult] = []
        self._seen_of: dict[int, FrameSeen] = {}  # held, by number, to be packed together
        self._answers = False  # AuxiliaryRequest
        self._wants = Wants(self._policy.requests, self._policy.max_layer_bytes)
        self._stills = Arrivals(self._policy.max_still_bytes)
        self._target: RateTarget | None = None
        self._farewell = Goodbye(GoodbyeCode.DONE)
        self._deadline: float | None = None  # of the hello, an ack held back, or the parting
        self._old_at: float | None = None
        self._grant_at: float | None = None  # there was no credit left to give
        self._armed: float | None = None
        self._now = 0.0
        self._out: list[CloudAction] = []

    @property
    def unsettled(self) -> int:
        """Layers that came in and are neither stored nor refused yet."""
        return len(self._window)

    @property
    def strays(self) -> int:
        """Replies that came for what nobody waited for."""
        return self._wants.strays

    def on(self, event: CloudEvent, now: float) -> tuple[CloudAction, ...]:
        """Take one event, return what to do about it, in order.

        Once it is CLOSED that is nothing, but for Wanted, which is always concluded.

        Raises LocalProtocolError for a second Connected.
        """
        self._now = now
        self._out = []
        if self.state is CloudState.CLOSED and not isinstance(event, Wanted):
            return ()
        match event:
            case Received(message):
                self._received(message)
            case Stored(frames):
                self._stored(frames)
            case Detected():
                self._detected(event)
            case LookedUp(stored):
                self._looked_up(stored)
            case Connected():
                self._connected()
            case Disconnected():
                self._leave()
            case Tick():
                self._tick()
            case Wanted():
                self._wanted(event)
            case StillKept():
                self._still_kept(event)
            case TargetChosen(target):
                self._target = target
                self._send_target()
            case StoreFailed(reason):
                retry = self._policy.store_retry
                self._end(Goodbye(GoodbyeCode.STORE_UNAVAILABLE, reason, retry))
            case Superseded():
                reason = "a newer session of this camera took over"
                self._end(Goodbye(GoodbyeCode.REPLACED, reason, self._policy.replaced_retry))
            case Draining(retry_after):
                reason = "the server shuts down"
                self._part(Goodbye(GoodbyeCode.SHUTTING_DOWN, reason, retry_after))
        if self._next != self._armed:
            self._armed = self._next
            self._out.append(ArmTimer(self._next))
        return tuple(self._out)

    @property
    def _next(self) -> float | None:
        """The first moment at which something is due."""
        times = [self._deadline]
        if self.state is CloudState.LIVE:
            times += [self._old_at, self._grant_at, self._wants.next]
        return min((at for at in times if at is not None), default=None)

    # -- hello

    def _connected(self) -> None:
        if self.state is not CloudState.NEW:
            raise LocalProtocolError("a session of the server serves one connection")
        self.state = CloudState.WAITING
        self._deadline = self._now + self._policy.hello_timeout
        if self._policy.max_age is not None:
            self._old_at = self._now + self._policy.max_age

    def _received(self, message: ToServer) -> None:
        try:
            match message:
                case Goodbye():
                    self._goodbye(message)
                case Hello() if self.state is CloudState.WAITING:
                    self._hello(message)
                case Layers() if self.state is CloudState.LIVE:
                    self._layers(message)
                case AuxiliaryReply() if self.state in (CloudState.LIVE, CloudState.PARTING):
                    self._replied(message)
                case StillPiece() if self.state is CloudState.LIVE:
                    self._still_piece(message)
                case Telemetry() if self.state in (CloudState.LIVE, CloudState.PARTING):
                    self._out.append(Record(message))
                case Layers() | StillPiece() if self.state is CloudState.PARTING:
                    pass  # was under way when we began to part; never acked, so it comes again
                case _:
                    name = type(message).__name__
                    raise RemoteProtocolError(f"{name} has no place in {self.state.name}")
        except RemoteProtocolError as error:
            self._end(Goodbye(GoodbyeCode.PROTOCOL_ERROR, str(error)))

    def _hello(self, hello: Hello) -> None:
        FrameId(hello.camera, hello.boot, 0)  # checks the names
        in_doubt = expand(hello.in_doubt, hello.camera, hello.boot, IN_DOUBT_LIMIT)
        objection = self._objection(hello)
        if objection is not None:
            self._end(objection)
            return
        self.camera, self.boot = hello.camera, hello.boot
        self._want_boxes = hello.want_boxes
        self._answers = hello.auxiliary
        self._gather = min(max(hello.gather, 0.0), GATHER_S)
        self._packs = hello.packed_boxes and bool(self._labels)
        self._packs_frames = self._packs and hello.packed_results
        self._in_doubt = in_doubt
        self._deadline = None
        self.state = CloudState.LOOKING
        self._out.append(Admit(hello.camera, hello.boot))
        if in_doubt:
            self._out.append(Lookup(in_doubt))
        else:
            self._looked_up(frozenset())

    def _objection(self, hello: Hello) -> Goodbye | None:
        if self._identity is not None and hello.camera != self._identity:
            reason = f"{self._identity!r} may not send as {hello.camera!r}"
            return Goodbye(GoodbyeCode.PERMISSION_DENIED, reason)
        if hello.model_id != self._model_id:
            reason = (
                f"the camera codes with model {hello.model_id:04x}, "
                f"the server holds model {self._model_id:04x}"
            )
            return Goodbye(GoodbyeCode.MODEL_MISMATCH, reason, self._policy.mismatch_retry)
        return None

    def _looked_up(self, stored: frozenset[FrameId]) -> None:
        if self.state is not CloudState.LOOKING:
            return
        self.state = CloudState.LIVE
        settled = compress((f for f in self._in_doubt if f in stored), self.boot)
        limit = self._policy.max_layer_bytes
        self._grant()
        labels = self._labels if self._packs else ()
        granted = self._window.granted
        self._send(
            Welcome(
                *(self._session, settled, granted, limit, labels),
                short_layers=True,
                max_still_bytes=self._policy.max_still_bytes,
            )
        )
        self._send_target()

    def _send_target(self) -> None:
        if self._target is not None and self.state is CloudState.LIVE:
            self._send(self._target)

    # -- layers

    def _layers(self, message: Layers) -> None:
        if message.first > self._window.sent:
            missing = message.first - self._window.sent
            raise RemoteProtocolError(f"{missing} layers are missing before this message")
        fresh = message.layers[self._window.sent - message.first :]  # a repetition has none
        batch: list[Layer] = []
        refused: list[FrameResult] = []
        for entry in fresh:
            layer = self._layer(entry)
            reason = self._fault(layer.data)
            if reason:
                refused.append(FrameResult(entry.boot, entry.seq, Outcome.REFUSED, reason))
            elif layer.frame not in self._storing:
                self._storing.add(layer.frame)
                batch.append(layer)
        if batch:
            self._out.append(Store(tuple(batch)))
            if self._want_boxes:
                self._detecting.update(layer.frame for layer in batch)
        if refused or not self._gather:
            self._report(*refused)

    def _layer(self, entry: LayerEntry) -> Layer:
        """Check one entry and count it in."""
        frame = FrameId(self.camera, entry.boot or self.boot, entry.seq)
        if self._window.room < 1:
            raise RemoteProtocolError(f"{frame} was sent beyond credit")
        try:
            layer = Layer(frame, entry.captured_at, entry.data)
        except ValueError as error:
            raise RemoteProtocolError(f"{frame}: {error}") from error
        self._window.add(frame)
        return layer

    def _fault(self, data: bytes) -> str:
        """Why this layer cannot be taken, now or ever; '' if it can."""
        if len(data) > self._policy.max_layer_bytes:
            return f"{len(data)} bytes, the server takes {self._policy.max_layer_bytes}"
        try:
            self._inspect(data)
        except (CorruptStream, ModelMismatch) as error:
            return str(error) or type(error).__name__
        return ""

    def _stored(self, frames: tuple[FrameId, ...]) -> None:
        self._storing.difference_update(frames)
        # One message with ack and boxes costs half of two.
        delay = max(self._policy.ack_delay if self._detecting else 0.0, self._gather)
        if self._may_wait(delay):
            return
        self._report()
        self._maybe_leave()

    def _may_wait(self, delay: float) -> bool:
        """Whether what there is to say may; then it is said within `delay`."""
        is_short = self._window.room < self._policy.window // 4  # of credit, or soon will be
        if self.state is not CloudState.LIVE or delay <= 0 or (self._gather and is_short):
            return False
        if self._deadline is None:
            self._deadline = self._now + delay
        return len(self._held) + len(self._seen_of) < HELD_LIMIT

    def _detected(self, event: Detected) -> None:
        if event.frame not in self._detecting and not event.reason:
            return
        self._detecting.discard(event.frame)
        if self._gather and not event.reason:  # a reason is to mend something: it does not wait
            self._hold(event)
            if self._may_wait(self._gather):
                return
            self._report()
        else:
            self._report(self._result(event))
        self._maybe_leave()

    def _hold(self, event: Detected) -> None:
        seen = FrameSeen(event.frame.seq, event.boxes or (), event.presences)
        is_own = event.frame.boot == self.boot and event.boxes is not None
        if self._packs_frames and is_own and fits(seen, self._labels):
            self._seen_of[seen.seq] = seen
        else:
            self._held.append(self._result(event))

    def _result(self, event: Detected) -> FrameResult:
        boot = "" if event.frame.boot == self.boot else event.frame.boot
        seen = self._seen(event)
        return FrameResult(boot, event.frame.seq, Outcome.STORED, event.reason, *seen)

    def _seen(
        self, event: Detected
    ) -> tuple[tuple[Box, ...] | None, tuple[Presence, ...], bytes | None]:
        """As a FrameResult has it."""
        if self._packs and event.boxes is not None:
            packed = pack(event.boxes, event.presences, self._labels)
            if packed is not None:
                return None, (), packed
        return event.boxes, event.presences, None

    def _report(self, *results: FrameResult) -> None:
        """Settle what is done at the head of the line; say so, with what was held and `results`."""
        results = (*self._held, *results)
        self._held.clear()
        frames = sorted(self._seen_of.values(), key=lambda seen: seen.seq)
        self._seen_of.clear()
        packed = pack_frames(frames, self._labels) if frames else None
        if self.state is CloudState.LIVE:
            self._deadline = None  # no ack is held back any longer
        done = 0
        for frame in self._window:
            if frame in self._storing:
                break
            done += 1
        self._window.settle(self._window.settled + done)
        if self._grant() or done or results or packed is not None:
            self._send(Results(self._window.settled, self._window.granted, results, packed))

    def _grant(self) -> bool:
        """Raise the credit; True if a camera that had none left has some now."""
        wanted = self._window.settled + self._policy.window - self._window.granted
        had_none = self._window.room < 1
        if self._allowance is not None:
            wanted = self._allowance.take(wanted, self._now)
        self._window.grant(self._window.granted + wanted)
        is_short = self._window.room < 1 and len(self._window) < self._policy.window
        self._grant_at = None
        if self._allowance is not None and is_short:
            self._grant_at = self._allowance.ready_at(self._now)
        return had_none and self._window.room > 0

    # -- auxiliary layers

    def _wanted(self, event: Wanted) -> None:
        if self.state is not CloudState.LIVE:
            offline = CameraOffline(f"this camera's session is {self.state.name.lower()}")
            self._out.append(Conclude(event.ticket, offline))
        elif not self._answers:
            unsupported = AuxiliaryUnsupported("this camera's software knows no auxiliary layers")
            self._out.append(Conclude(event.ticket, unsupported))
        else:
            asked = self._wants.wanted(event, self.boot, self._now)
            self._out.append(asked if isinstance(asked, Conclude) else Send(asked))

    def _replied(self, reply: AuxiliaryReply) -> None:
        conclude = self._wants.replied(reply)
        if conclude is not None:
            self._out.append(conclude)

    # -- stills

    def _still_piece(self, piece: StillPiece) -> None:
        answer = self._stills.piece(piece, self.camera, self.boot)
        if isinstance(answer, StillResult):
            self._send(answer)
        elif answer is not None:
            self._out.append(answer)

    def _still_kept(self, event: StillKept) -> None:
        self._stills.kept()
        outcome = Outcome.REFUSED if event.reason else Outcome.STORED
        self._send(StillResult(event.seq, outcome, event.reason))
        self._maybe_leave()

    # -- the end

    def _goodbye(self, message: Goodbye) -> None:
        if message.code is GoodbyeCode.DONE and self.state in (CloudState.LIVE, CloudState.PARTING):
            self._part(Goodbye(GoodbyeCode.DONE))
        else:
            self._close(message.code, message.reason)

    def _part(self, farewell: Goodbye) -> None:
        """Take nothing more, settle what came, then leave."""
        if self.state in (CloudState.NEW, CloudState.WAITING, CloudState.LOOKING):
            self._end(farewell)
            return
        if self.state is CloudState.LIVE:
            self._report()
            self._out += self._wants.offline("the session ends")
            self.state = CloudState.PARTING
            self._deadline = self._now + self._policy.part_timeout
        self._farewell = farewell
        self._maybe_leave()

    def _maybe_leave(self) -> None:
        under_way = self._storing or self._detecting or self._stills.keeping
        if self.state is CloudState.PARTING and not under_way:
            self._end(self._farewell)

    def _tick(self) -> None:
        self._armed = None
        if self._next is None or self._now < self._next:
            return
        if self.state is CloudState.PARTING:
            self._end(self._farewell)
        elif self.state is CloudState.LIVE:
            self._tick_live()
        else:
            self._end(Goodbye(GoodbyeCode.TIMEOUT, "no hello"))

    def _tick_live(self) -> None:
        self._out += self._wants.late(self._now)
        if self._old_at is not None and self._now >= self._old_at:
            self._part(Goodbye(GoodbyeCode.RENEW, "this stream has been open for long"))
        elif any(at is not None and self._now >= at for at in (self._deadline, self._grant_at)):
            self._report()  # an ack that waited for boxes, a camera that waits for credit

    def _end(self, farewell: Goodbye) -> None:
        self._send(farewell)
        self._close(farewell.code, farewell.reason)

    def _close(self, code: GoodbyeCode, reason: str) -> None:
        self._leave()
        self._out.append(Close(code, reason))

    def _leave(self) -> None:
        self._out += self._wants.offline("the camera's connection is gone")
        self.state = CloudState.CLOSED
        self._deadline = None
        if self._allowance is not None:
            self._allowance.put_back(self._window.room)

    def _send(self, message: ToEdge) -> None:
        self._out.append(Send(message))
