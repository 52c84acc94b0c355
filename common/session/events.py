"""What goes into a session and what comes out of it: messages, events, actions.

    messages   what the two sides say to each other; a rim copies each from and to protobuf
    events     what happened; past tense; `session.on(event, now)` takes one
    actions    what the rim has to do, in the order given; imperative; `on` returns a tuple

A rim copies field by field and judges nothing: names, counts and sizes from the peer are checked in
the session. The rules and states are told in common/session.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, TypeVar

from common.errors import AuxiliaryError
from common.types import Box, FrameId, Layer, Presence

# ---------------------------------------------------------------- messages


class Outcome(IntEnum):
    """How a layer was settled. The values are those of the wire."""

    UNSPECIFIED = 0
    STORED = 1
    REFUSED = 2


class AuxiliaryOutcome(IntEnum):
    """What became of a request for an auxiliary layer. The values are those of the wire."""

    UNSPECIFIED = 0
    SENT = 1
    EXPIRED = 2
    UNSUPPORTED = 3
    FAILED = 4


class GoodbyeCode(IntEnum):
    """Why a stream ends. The values are those of the wire; an unknown one is UNSPECIFIED."""

    UNSPECIFIED = 0
    DONE = 1
    SHUTTING_DOWN = 2
    REPLACED = 3
    MODEL_MISMATCH = 4
    PROTOCOL_ERROR = 5
    STORE_UNAVAILABLE = 6
    PERMISSION_DENIED = 7
    TIMEOUT = 8
    RENEW = 9


@dataclass(frozen=True, slots=True)
class FrameRange:
    """Frames first..last (both included) of one boot; boot '' is that of the stream's Hello."""

    boot: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Hello:
    """The edge introduces itself: first message of a stream.

    model_id      16 bits of the hash of the model's manifest
    in_doubt      the layers that come next, which the server may hold already
    want_boxes    send boxes back
    packed_boxes  this edge reads FrameResult.packed
    auxiliary     this edge answers AuxiliaryRequest
    gather        seconds for which acks and boxes may be gathered into one message
    packed_results  this edge reads Results.packed
    """

    camera: str
    boot: str
    model_id: int
    in_doubt: tuple[FrameRange, ...] = ()
    want_boxes: bool = False
    software: str = ""
    packed_boxes: bool = False
    auxiliary: bool = False
    gather: float = 0.0
    packed_results: bool = False


@dataclass(frozen=True, slots=True)
class Welcome:
    """The server takes the camera in.

    settled          those of Hello.in_doubt that are stored: acked hereby (the resume point)
    credits          how many layers may be sent in this stream, from its beginning
    max_layer_bytes  a longer layer would be refused
    labels           names for FrameResult.packed; none: it will not be used
    short_layers     the server reads layers said in shorthand (common/session/shorthand.py)
    max_still_bytes  a longer still would be refused; 0: all are
    """

    session: str
    settled: tuple[FrameRange, ...]
    credits: int
    max_layer_bytes: int
    labels: tuple[str, ...] = ()
    short_layers: bool = False
    max_still_bytes: int = 0


@dataclass(frozen=True, slots=True)
class LayerEntry:
    """One layer on the wire; boot '' is that of the stream's Hello; captured_at in unix seconds."""

    boot: str
    seq: int
    captured_at: float
    data: bytes


@dataclass(frozen=True, slots=True)
class Layers:
    """Layers in the order of sending; `first` layers of this stream came before them."""

    first: int
    layers: tuple[LayerEntry, ...]


@dataclass(frozen=True, slots=True)
class FrameResult:
    """What became of one frame; boot '' is that of the stream's Hello; boxes None: not looked.

    presences  of a recognise layer, in place of boxes
    packed     in place of both (common/packed.py)
    """

    boot: str
    seq: int
    outcome: Outcome
    reason: str = ""
    boxes: tuple[Box, ...] | None = None
    presences: tuple[Presence, ...] = ()
    packed: bytes | None = None


@dataclass(frozen=True, slots=True)
class Results:
    """The first `acked` layers of this stream are settled; `credits` may be sent in all.

    packed  in place of some of `frames` (common/packed_frames.py)
    """

    acked: int
    credits: int
    frames: tuple[FrameResult, ...] = ()
    packed: bytes | None = None


@dataclass(frozen=True, slots=True)
class RateTarget:
    """What the server would like the edge to spend: bytes on the wire, frames; 0: no wish."""

    bytes_per_second: int
    frames_per_second: float = 0.0


@dataclass(frozen=True, slots=True)
class AuxiliaryRequest:
    """Asks for the auxiliary layer of one frame; boot '' is that of the stream's Hello.

    request   names it in this stream
    quality   wished, 0..255
    deadline  seconds from now; then the server does not wait any more
    urgent    before machine layers that wait to be sent
    """

    request: int
    boot: str
    seq: int
    quality: int
    deadline: float
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class AuxiliaryReply:
    """A piece of the answer, in order; whole with `size` bytes."""

    request: int
    outcome: AuxiliaryOutcome
    reason: str = ""
    size: int = 0
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class StillPiece:
    """A piece of a still of a frame of the stream's boot, in order; `first` bytes came before."""

    seq: int
    size: int
    first: int
    data: bytes


@dataclass(frozen=True, slots=True)
class StillResult:
    """What became of a still."""

    seq: int
    outcome: Outcome
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Telemetry:
    """How an edge is. Counts since its process started.

    captured .. expired  frames by what became of them; skipped: not coded for want of time, or bad
    spool_frames         layers that wait, of any boot
    spool_oldest_s       age of the oldest, seconds
    quality              mean of its layers, 0..255
    wire_bytes           both ways; 0: unknown
    reconnects           connections after the first
    budget               bytes per second on the wire; 0: no limit
    spool_bytes          of the layers that wait
    spool_max_bytes      its bound; 0: unknown
    """

    captured: int = 0
    skipped: int = 0
    thinned: int = 0
    acked: int = 0
    refused: int = 0
    expired: int = 0
    spool_frames: int = 0
    spool_oldest_s: int = 0
    quality: int = 0
    wire_bytes: int = 0
    reconnects: int = 0
    budget: int = 0
    spool_bytes: int = 0
    spool_max_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The end of a stream, said by the one who ends it; retry_after in seconds, from the server."""

    code: GoodbyeCode
    reason: str = ""
    retry_after: float = 0.0


ToServer = Hello | Layers | AuxiliaryReply | StillPiece | Telemetry | Goodbye
ToEdge = Welcome | Results | RateTarget | AuxiliaryRequest | StillResult | Goodbye
MessageT = TypeVar("MessageT", ToServer, ToEdge)

# ---------------------------------------------------------------- events, both sides


@dataclass(frozen=True, slots=True)
class Received(Generic[MessageT]):
    """A message came in. Never one of a connection that the session has closed or lost."""

    message: MessageT


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection stands: the one that Connect asked for; in the cloud, the first event."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection (or the attempt to make one) ended, and not because the session closed it."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Tick:
    """The moment that ArmTimer named has come. A spurious one does no harm."""


# ---------------------------------------------------------------- events, edge


@dataclass(frozen=True, slots=True)
class Started:
    """The process is up: spool open, nothing connected. First event of an EdgeSession."""


@dataclass(frozen=True, slots=True)
class FrameCoded:
    """The encoder made a layer of this boot; seq rises from frame to frame; gaps are allowed."""

    seq: int
    captured_at: float
    data: bytes


@dataclass(frozen=True, slots=True)
class Fetched:
    """The answer to one Fetch.

    fetch   the action itself, given back
    layers  the oldest layers after fetch.cursor in spool order, at most fetch.limit
    cursor  the spool's position of the last of them (fetch.cursor if there are none)
    """

    fetch: Fetch
    layers: tuple[Layer, ...]
    cursor: int


@dataclass(frozen=True, slots=True)
class Released:
    """The rim's rate control lets the first `layers` ready ones go, in one message if they fit."""

    layers: int


@dataclass(frozen=True, slots=True)
class AuxiliaryFound:
    """The answer to one FindAuxiliary, by its number; data is the layer if the outcome is SENT."""

    number: int
    outcome: AuxiliaryOutcome
    reason: str = ""
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class ReplyReleased:
    """The rim's rate control lets the next piece of a reply go, of so many bytes at the most."""

    bytes: int


@dataclass(frozen=True, slots=True)
class StillMade:
    """A frame that was coded, as a picture; to be sent when nothing else wants to be."""

    seq: int
    data: bytes


@dataclass(frozen=True, slots=True)
class StillReleased:
    """The rim's rate control lets the next piece of the still go, of so many bytes at the most."""

    bytes: int


@dataclass(frozen=True, slots=True)
class Measured:
    """The rim looked how the edge is. Of no use to anybody later: without a stream it is gone."""

    telemetry: Telemetry


@dataclass(frozen=True, slots=True)
class SourceEnded:
    """No FrameCoded will follow: drain the spool, say Goodbye, end."""


# ---------------------------------------------------------------- events, cloud


@dataclass(frozen=True, slots=True)
class LookedUp:
    """The answer to Lookup: which of those frames are stored durably."""

    stored: frozenset[FrameId]


@dataclass(frozen=True, slots=True)
class Stored:
    """Answers Store: these frames are stored durably, just now or at any time before."""

    frames: tuple[FrameId, ...]


@dataclass(frozen=True, slots=True)
class StoreFailed:
    """The store took nothing of one Store. The stream ends; the edge comes back later."""

    reason: str


@dataclass(frozen=True, slots=True)
class Detected:
    """The detector looked at a frame.

    boxes   None: it could not; presences are those of a recognise layer
    reason  why nobody ever will: the layer is damaged, or leans on one that is missing; '' if there
            are boxes, or if another try may succeed

    Due once for each layer of a Store if the edge wants boxes, else for those with a reason; for a
    layer that was stored before, the boxes found then will do.
    """

    frame: FrameId
    boxes: tuple[Box, ...] | None
    reason: str = ""
    presences: tuple[Presence, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """Somebody wants the auxiliary layer of a frame of this camera; answered by one Conclude.

    ticket    the caller's own name for it
    quality   0..255
    patience  seconds
    """

    ticket: int
    frame: FrameId
    quality: int
    patience: float
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class StillKept:
    """The answer to KeepStill; reason: why it was not, '' if it is on disk."""

    seq: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TargetChosen:
    """The server decided what this camera should spend."""

    target: RateTarget


@dataclass(frozen=True, slots=True)
class Superseded:
    """A newer session of the same camera was admitted."""


@dataclass(frozen=True, slots=True)
class Draining:
    """The server shuts down; edges may come back after so many seconds."""

    retry_after: float = 1.0


# ---------------------------------------------------------------- actions, both sides


@dataclass(frozen=True, slots=True)
class Send(Generic[MessageT]):
    """Write this message to the connection."""

    message: MessageT


@dataclass(frozen=True, slots=True)
class ArmTimer:
    """Give a Tick at this moment of the session's clock; replaces the last one; None: no timer."""

    at: float | None


@dataclass(frozen=True, slots=True)
class Close:
    """End the connection after what was sent before; log why. No Disconnected for it."""

    code: GoodbyeCode
    reason: str = ""


# ---------------------------------------------------------------- actions, edge


@dataclass(frozen=True, slots=True)
class Connect:
    """Connect at this moment of the session's clock; answer with Connected or Disconnected.

    Replaces a Connect whose moment has not come.
    """

    at: float


@dataclass(frozen=True, slots=True)
class Spool:
    """Put the layer at the end of the spool. It stands before the Send of the same layer."""

    layer: Layer


@dataclass(frozen=True, slots=True)
class Unspool:
    """Forget these frames: they are settled. One that is not in the spool is no error."""

    frames: tuple[FrameId, ...]


@dataclass(frozen=True, slots=True)
class Fetch:
    """Read the oldest layers after `cursor` (0: from the head); answer with Fetched.

    The cursor is the spool's own: a number above 0 that rises in the order of insertion, so that
    layers of earlier boots come first. `number` tells one Fetch from the next.
    """

    number: int
    cursor: int
    limit: int


@dataclass(frozen=True, slots=True)
class FindAuxiliary:
    """Look for, or make, the auxiliary layer of a frame; answer with AuxiliaryFound."""

    number: int
    frame: FrameId
    quality: int


@dataclass(frozen=True, slots=True)
class Deliver:
    """For the application: a word on a frame (by its full name) or on a still, a rate target."""

    item: Verdict | StillResult | RateTarget


@dataclass(frozen=True, slots=True)
class Verdict:
    """A FrameResult by the frame's full name. Most frames get none: an Unspool says 'stored'."""

    frame: FrameId
    outcome: Outcome
    reason: str = ""
    boxes: tuple[Box, ...] | None = None
    presences: tuple[Presence, ...] = ()


@dataclass(frozen=True, slots=True)
class Finish:
    """The source has ended and every layer is settled. The last action of the session."""


# ---------------------------------------------------------------- actions, cloud


@dataclass(frozen=True, slots=True)
class Admit:
    """This session speaks for this camera now; give Superseded to the one that did before."""

    camera: str
    boot: str


@dataclass(frozen=True, slots=True)
class Lookup:
    """Ask the store which of these frames it holds; answer with LookedUp."""

    frames: tuple[FrameId, ...]


@dataclass(frozen=True, slots=True)
class Store:
    """Store these layers durably, each frame once whatever comes twice; answer with Stored.

    They passed inspection: detection may begin at once, without waiting for the store.
    """

    layers: tuple[Layer, ...]


@dataclass(frozen=True, slots=True)
class KeepStill:
    """Judge this still and keep it with its frame, durably; answer with StillKept."""

    frame: FrameId
    data: bytes


@dataclass(frozen=True, slots=True)
class Record:
    """How the edge of this session is."""

    telemetry: Telemetry


@dataclass(frozen=True, slots=True)
class Conclude:
    """The end of one Wanted: the layer's bytes, or why there are none."""

    ticket: int
    result: bytes | AuxiliaryError


EdgeEvent = (
    Started
    | Connected
    | Disconnected
    | Received[ToEdge]
    | FrameCoded
    | Fetched
    | Released
    | AuxiliaryFound
    | ReplyReleased
    | StillMade
    | StillReleased
    | Measured
    | SourceEnded
    | Tick
)
EdgeAction = (
    Spool
    | Send[ToServer]
    | Unspool
    | Fetch
    | FindAuxiliary
    | Deliver
    | Finish
    | ArmTimer
    | Connect
    | Close
)
CloudEvent = (
    Connected
    | Received[ToServer]
    | Disconnected
    | LookedUp
    | Stored
    | StoreFailed
    | Detected
    | Wanted
    | StillKept
    | TargetChosen
    | Superseded
    | Draining
    | Tick
)
CloudAction = (
    Send[ToEdge] | Admit | Lookup | Store | Conclude | KeepStill | Record | ArmTimer | Close
)
