"""The edge's side of a session. The rules are told in common/session."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, auto
from itertools import islice

from common.errors import LocalProtocolError, RemoteProtocolError
from common.packed import unpack
from common.packed_frames import unpack_frames
from common.session.auxiliary import PIECE_BYTES, Replies
from common.session.events import (
    ArmTimer,
    AuxiliaryFound,
    AuxiliaryRequest,
    Close,
    Connect,
    Connected,
    Deliver,
    Disconnected,
    EdgeAction,
    EdgeEvent,
    Fetch,
    Fetched,
    Finish,
    FrameCoded,
    FrameResult,
    Goodbye,
    GoodbyeCode,
    Hello,
    LayerEntry,
    Layers,
    Measured,
    Outcome,
    RateTarget,
    Received,
    Released,
    ReplyReleased,
    Results,
    Send,
    SourceEnded,
    Spool,
    Started,
    StillMade,
    StillReleased,
    StillResult,
    Tick,
    ToEdge,
    ToServer,
    Unspool,
    Verdict,
    Welcome,
)
from common.session.ranges import compress, expand
from common.session.still import Stills
from common.session.window import CreditWindow
from common.types import Box, FrameId, Layer, Presence

FETCH_LIMIT = 64  # layers that the edge holds in memory, and names in Hello
MESSAGE_BYTES = 64 * 1024  # a message holds one layer of any size, or several up to this
LABELS = 1024  # class names in a Welcome
LABEL = 64  # characters of one
RETRY_AFTER_LIMIT = 86_400.0  # seconds; a server cannot send an edge away for ever


@dataclass(frozen=True, slots=True)
class EdgePolicy:
    """Seconds, all of them.

    welcome_timeout  from Connected to Welcome
    ack_timeout      without any ack while layers are under way
    part_timeout     for the server's answer to our Goodbye
    backoff_base     bound of the first back-off; doubles each time
    backoff_cap      bound of all of them
    """

    welcome_timeout: float = 10.0
    ack_timeout: float = 30.0
    part_timeout: float = 10.0
    backoff_base: float = 0.5
    backoff_cap: float = 60.0


class EdgeState(Enum):
    NEW = auto()
    OFFLINE = auto()
    OPENING = auto()
    GREETING = auto()
    LIVE = auto()
    PARTING = auto()
    ENDED = auto()


class EdgeSession:
    """The edge's side, for the life of the process (one boot): it outlives its connections.

    random  a number 0 <= r < 1 at each call; spreads the reconnects of many edges
    gather  seconds for which the server may gather acks and boxes, 0..10
    paced   layers go only when Released says so, not as soon as credit allows
    """

    def __init__(
        self,
        camera: str,
        boot: str,
        model_id: int,
        *,
        random: Callable[[], float],
        want_boxes: bool = False,
        software: str = "",
        gather: float = 0.0,
        paced: bool = False,
        policy: EdgePolicy | None = None,
    ) -> None:
        FrameId(camera, boot, 0)  # checks the names
        self.camera = camera
        self.boot = boot
        self.state = EdgeState.NEW
        self._hello = Hello(
            *(camera, boot, model_id),
            want_boxes=want_boxes,
            software=software,
            packed_boxes=True,
            auxiliary=True,
            gather=gather,
            packed_results=True,
        )
        self._random = random
        self._paced = paced
        self._released = 0  # of the ready layers, if paced
        self._policy = policy or EdgePolicy()
        self._window = CreditWindow()
        self._max_layer_bytes = 0
        self._replies = Replies()
        self._stills = Stills()
        self._max_still_bytes = 0
        self._labels: tuple[str, ...] = ()  # that the server packs boxes with
        self._ready: deque[Layer] = deque()  # to be sent next
        self._behind = True  # the spool holds layers that are neither under way nor ready
        self._fetch: Fetch | None = None  # the one under way
        self._fetches = 0
        self._missed = False  # a frame was coded since the Fetch under way
        self._cursor = 0
        self._last_seq = -1
        self._ending = False
        self._attempts = 0  # connections since the last ack
        self._deadline: float | None = None
        self._armed: float | None = None
        self._now = 0.0
        self._out: list[EdgeAction] = []

    @property
    def in_flight(self) -> int:
        """Layers sent and not acked."""
        return len(self._window)

    def ready(self) -> tuple[int, ...]:
        """Bytes of each layer that credit lets go now, in their order."""
        if self.state is not EdgeState.LIVE:
            return ()
        return tuple(len(layer.data) for layer in islice(self._ready, max(self._window.room, 0)))

    def reply(self, now: float) -> tuple[int, bool] | None:
        """Bytes of auxiliary layers that wait to go, and whether they go before machine layers."""
        return self._replies.waiting(now) if self.state is EdgeState.LIVE else None

    def still(self) -> int:
        """Bytes of a still that wait to go, behind all else; 0: none, or its frame goes first."""
        seq, left = self._stills.waiting()
        if not left or self.state is not EdgeState.LIVE or self._behind or self._fetch is not None:
            return 0
        unsettled = (*self._window, *(layer.frame for layer in self._ready))
        return 0 if FrameId(self.camera, self.boot, seq) in unsettled else left

    def on(self, event: EdgeEvent, now: float) -> tuple[EdgeAction, ...]:
        """Take one event, return what to do about it, in order.

        Raises LocalProtocolError for an event that the rim must not send in this state.
        """
        self._now = now
        self._out = []
        match event:
            case Received(message):
                self._received(message)
            case FrameCoded():
                self._frame_coded(event)
            case Fetched():
                self._fetched(event)
            case Tick():
                self._tick()
            case Connected():
                self._connected()
            case Disconnected():
                self._disconnected()
            case Started():
                self._started()
            case Released(layers):
                self._released = layers
                self._pump()
                self._released = 0
            case AuxiliaryFound():
                self._replies.found(event, self._max_layer_bytes, now)
                self._reply_all()
            case ReplyReleased(most):
                self._reply(most)
            case StillMade(seq, data):
                self._stills.made(seq, data)
            case StillReleased(most):
                self._still(most)
            case Measured(telemetry):
                if self.state is EdgeState.LIVE:
                    self._send(telemetry)
            case SourceEnded():
                self._ending = True
                self._pump()
        while not self._paced and self._still(PIECE_BYTES):
            pass
        if self._deadline != self._armed:
            self._armed = self._deadline
            self._out.append(ArmTimer(self._deadline))
        return tuple(self._out)

    # -- connecting

    def _started(self) -> None:
        self._require(EdgeState.NEW)
        self.state = EdgeState.OFFLINE
        self._out.append(Connect(self._now))

    def _connected(self) -> None:
        self._require(EdgeState.OFFLINE)
        self.state = EdgeState.OPENING
        self._deadline = self._now + self._policy.welcome_timeout
        self._cursor = 0
        self._read_spool()

    def _greet(self) -> None:
        self.state = EdgeState.GREETING
        in_doubt = compress((layer.frame for layer in self._ready), self.boot)
        self._send(replace(self._hello, in_doubt=in_doubt))

    def _welcome(self, message: Welcome) -> None:
        if message.max_layer_bytes < 1:  # believing it would refuse, and lose, the whole spool
            raise RemoteProtocolError("the server takes no layer of any size")
        if len(message.labels) > LABELS or not all(0 < len(n) <= LABEL for n in message.labels):
            raise RemoteProtocolError("the server's labels are no class names, or too many")
        settled = set(expand(message.settled, self.camera, self.boot, FETCH_LIMIT))
        self._window = CreditWindow(message.credits)
        self._max_layer_bytes = message.max_layer_bytes
        self._max_still_bytes = message.max_still_bytes
        self._labels = message.labels
        self.state = EdgeState.LIVE
        self._deadline = None
        stored = tuple(layer.frame for layer in self._ready if layer.frame in settled)
        if stored:
            self._out.append(Unspool(stored))
        self._ready = deque(layer for layer in self._ready if layer.frame not in settled)
        self._pump()

    def _disconnected(self) -> None:
        if self.state is EdgeState.PARTING:
            self._finish()
        elif self.state is not EdgeState.ENDED:
            self._retry(0.0)

    def _break_off(self, code: GoodbyeCode, reason: str) -> None:
        """Leave a server that misbehaves or is silent, and try again later."""
        self._send(Goodbye(code, reason))
        self._out.append(Close(code, reason))
        self._retry(0.0)

    def _retry(self, retry_after: float, *, is_asked: bool = False) -> None:
        """Forget the stream; everything unacked is in the spool. Connect again later.

        is_asked  the server wants a new stream: at once, if this one was of use
        """
        self.state = EdgeState.OFFLINE
        self._window = CreditWindow()
        self._ready.clear()
        self._replies.forget()
        self._stills.forget()
        self._fetch = None
        self._behind = True
        self._deadline = None
        policy = self._policy
        bound = min(policy.backoff_cap, policy.backoff_base * 2.0 ** min(self._attempts, 32))
        if is_asked and self._attempts == 0:
            bound = 0.0  # servers that ask for it spread it out themselves
        self._attempts += 1
        wait = min(max(retry_after, 0.0), RETRY_AFTER_LIMIT) + self._random() * bound
        self._out.append(Connect(self._now + wait))

    # -- layers

    def _frame_coded(self, event: FrameCoded) -> None:
        if self._ending:
            raise LocalProtocolError("a frame was coded after the source had ended")
        if event.seq <= self._last_seq:
            raise LocalProtocolError(f"seq {event.seq} does not follow {self._last_seq}")
        layer = Layer(FrameId(self.camera, self.boot, event.seq), event.captured_at, event.data)
        self._last_seq = event.seq
        self._out.append(Spool(layer))
        live = self.state is EdgeState.LIVE
        if live and not self._behind and len(self._ready) < FETCH_LIMIT:
            self._ready.append(layer)
        else:
            self._behind = self._missed = True
        self._pump()

    def _read_spool(self) -> None:
        self._fetches += 1
        self._missed = False
        self._fetch = Fetch(self._fetches, self._cursor, FETCH_LIMIT)
        self._out.append(self._fetch)

    def _fetched(self, event: Fetched) -> None:
        if event.fetch != self._fetch:
            return  # of a stream that has ended
        self._fetch = None
        self._cursor = event.cursor
        self._behind = self._missed or len(event.layers) >= event.fetch.limit
        under_way = set(self._window)
        self._ready.extend(layer for layer in event.layers if layer.frame not in under_way)
        if self.state is EdgeState.OPENING:
            self._greet()
        else:
            self._pump()

    def _pump(self) -> None:
        """Send what may be sent; read on; part when all is done."""
        if self.state is not EdgeState.LIVE:
            return
        while self._may_send:
            self._send_some()
        if self._ready or self._fetch is not None:
            return
        if self._behind:
            if self._window.room > 0:
                self._read_spool()
        elif self._ending and not self._window:
            self.state = EdgeState.PARTING
            self._deadline = self._now + self._policy.part_timeout
            self._send(Goodbye(GoodbyeCode.DONE, "the source has ended"))

    @property
    def _may_send(self) -> bool:
        is_let = self._released > 0 or not self._paced
        return bool(self._ready) and self._window.room > 0 and is_let

    def _send_some(self) -> None:
        """One message of ready layers, within credit."""
        first = self._window.sent
        entries: list[LayerEntry] = []
        size = 0
        while self._may_send:
            layer = self._ready[0]
            if len(layer.data) > self._max_layer_bytes:
                self._refuse(self._ready.popleft())
                self._released -= 1
                continue
            size += len(layer.data)
            if entries and size > MESSAGE_BYTES:
                break
            self._ready.popleft()
            self._released -= 1
            self._window.add(layer.frame)
            entries.append(self._entry(layer))
        if entries:
            self._send(Layers(first, tuple(entries)))
            if self._deadline is None:
                self._deadline = self._now + self._policy.ack_timeout

    def _entry(self, layer: Layer) -> LayerEntry:
        boot = "" if layer.frame.boot == self.boot else layer.frame.boot
        return LayerEntry(boot, layer.frame.seq, layer.captured_at, layer.data)

    def _refuse(self, layer: Layer) -> None:
        reason = f"{len(layer.data)} bytes, the server takes {self._max_layer_bytes}"
        self._out.append(Deliver(Verdict(layer.frame, Outcome.REFUSED, reason)))
        self._out.append(Unspool((layer.frame,)))

    # -- auxiliary layers

    def _asked(self, message: AuxiliaryRequest) -> None:
        find = self._replies.asked(message, self.camera, self.boot, self._now)
        if find is not None:
            self._out.append(find)
        self._reply_all()

    def _reply_all(self) -> None:
        while not self._paced and self._reply(PIECE_BYTES):
            pass

    def _reply(self, most: int) -> bool:
        piece = self._replies.piece(most, self._now) if self.state is EdgeState.LIVE else None
        if piece is not None:
            self._send(piece)
        return piece is not None

    # -- stills

    def _still(self, most: int) -> bool:
        piece = self._stills.piece(most) if self.still() else None
        if piece is None:
            return False
        if piece.size > self._max_still_bytes:
            why = f"{piece.size} bytes, the server takes {self._max_still_bytes}"
            self._still_result(StillResult(piece.seq, Outcome.REFUSED, why))
        else:
            self._send(piece)
        return True

    def _still_result(self, message: StillResult) -> None:
        if self._stills.settled(message.seq):
            self._out.append(Deliver(message))

    # -- the server's messages

    def _received(self, message: ToEdge) -> None:
        if self.state in (EdgeState.OFFLINE, EdgeState.ENDED):
            return
        welcomed = self.state in (EdgeState.LIVE, EdgeState.PARTING)
        try:
            match message:
                case Goodbye():
                    self._goodbye(message)
                case Welcome() if self.state is EdgeState.GREETING:
                    self._welcome(message)
                case Results() if welcomed:
                    self._results(message)
                case RateTarget() if welcomed:
                    self._out.append(Deliver(message))
                case AuxiliaryRequest() if welcomed:
                    self._asked(message)
                case StillResult() if welcomed:
                    self._still_result(message)
                case _:
                    name = type(message).__name__
                    raise RemoteProtocolError(f"{name} has no place in {self.state.name}")
        except RemoteProtocolError as error:
            self._break_off(GoodbyeCode.PROTOCOL_ERROR, str(error))

    def _results(self, message: Results) -> None:
        settled = self._window.settle(message.acked)
        self._window.grant(message.credits)
        packed = () if message.packed is None else unpack_frames(message.packed, self._labels)
        for seen in packed:
            of = FrameId(self.camera, self.boot, seen.seq)
            verdict = Verdict(of, Outcome.STORED, "", seen.boxes, seen.presences)
            self._out.append(Deliver(verdict))
        for result in message.frames:
            frame = FrameId(self.camera, result.boot or self.boot, result.seq)
            told = self._seen(result)
            self._out.append(Deliver(Verdict(frame, result.outcome, result.reason, *told)))
        if settled:
            self._out.append(Unspool(settled))
            self._attempts = 0
            if self.state is EdgeState.LIVE:
                patience = self._now + self._policy.ack_timeout
                self._deadline = patience if self._window else None
        self._pump()

    def _seen(self, result: FrameResult) -> tuple[tuple[Box, ...] | None, tuple[Presence, ...]]:
        if result.packed is None:
            return result.boxes, result.presences
        return unpack(result.packed, self._labels)

    def _goodbye(self, message: Goodbye) -> None:
        self._out.append(Close(message.code, message.reason))
        if self.state is EdgeState.PARTING:
            self._finish()
        else:
            self._retry(message.retry_after, is_asked=message.code is GoodbyeCode.RENEW)

    # -- time, the end

    def _tick(self) -> None:
        self._armed = None
        if self._deadline is None or self._now < self._deadline:
            return
        if self.state is EdgeState.PARTING:
            self._out.append(Close(GoodbyeCode.TIMEOUT, "no answer to our goodbye"))
            self._finish()
        elif self.state is EdgeState.LIVE:
            self._break_off(GoodbyeCode.TIMEOUT, "layers are under way and no ack comes")
        else:
            self._break_off(GoodbyeCode.TIMEOUT, "no welcome")

    def _finish(self) -> None:
        self.state = EdgeState.ENDED
        self._deadline = None
        self._out.append(Finish())

    def _send(self, message: ToServer) -> None:
        self._out.append(Send(message))

    def _require(self, state: EdgeState) -> None:
        if self.state is not state:
            raise LocalProtocolError(f"this event belongs to {state.name}, not {self.state.name}")
