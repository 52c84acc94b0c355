"""The session's messages <-> protobuf, in the two directions that a camera needs. Pure functions.

Nothing is judged here but what the messages' own types cannot hold: a box with a reversed edge or a
score above 1 is the server's fault and raises RemoteProtocolError.
"""

from __future__ import annotations

from collections.abc import Iterable

from common.errors import RemoteProtocolError
from common.events import (
    FrameRange,
    FrameResult,
    Goodbye,
    GoodbyeCode,
    Hello,
    Layers,
    Outcome,
    RateTarget,
    Results,
    ToEdge,
    ToServer,
    Welcome,
)
from common.types import Box, Presence
from glimpse.v1 import ingest_pb2, types_pb2

_US = 1_000_000  # microseconds per second


def to_wire(message: ToServer) -> ingest_pb2.StreamRequest:
    """What the edge says, as the contract has it."""
    match message:
        case Hello():
            return ingest_pb2.StreamRequest(hello=_hello(message))
        case Layers():
            return ingest_pb2.StreamRequest(layers=_layers(message))
        case Goodbye():
            return ingest_pb2.StreamRequest(goodbye=_goodbye(message))


def from_wire(response: ingest_pb2.StreamResponse) -> ToEdge | None:
    """What the server says; None for a message that this version does not know.

    Raises RemoteProtocolError for boxes that are none.
    """
    match response.WhichOneof("message"):
        case "welcome":
            return _welcome(response.welcome)
        case "results":
            return _results(response.results)
        case "rate_target":
            return RateTarget(response.rate_target.bytes_per_second)
        case "goodbye":
            return _read_goodbye(response.goodbye)
        case _:
            return None


def _hello(hello: Hello) -> ingest_pb2.Hello:
    return ingest_pb2.Hello(
        camera=hello.camera,
        boot=hello.boot,
        model_id=hello.model_id,
        in_doubt=[
            ingest_pb2.FrameRange(boot=r.boot, first=r.first, last=r.last) for r in hello.in_doubt
        ],
        want_boxes=hello.want_boxes,
        software=hello.software,
    )


def _layers(message: Layers) -> ingest_pb2.Layers:
    return ingest_pb2.Layers(
        first=message.first,
        layers=[
            ingest_pb2.Layer(
                boot=entry.boot,
                seq=entry.seq,
                captured_at_us=round(entry.captured_at * _US),
                data=entry.data,
            )
            for entry in message.layers
        ],
    )


def _goodbye(message: Goodbye) -> ingest_pb2.Goodbye:
    code = ingest_pb2.GoodbyeCode.ValueType(message.code)
    return ingest_pb2.Goodbye(
        code=code, reason=message.reason[:512], retry_after_ms=round(message.retry_after * 1000)
    )


def _welcome(welcome: ingest_pb2.Welcome) -> Welcome:
    settled = tuple(FrameRange(r.boot, r.first, r.last) for r in welcome.settled)
    return Welcome(welcome.session, settled, welcome.credits, welcome.max_layer_bytes)


def _results(results: ingest_pb2.Results) -> Results:
    return Results(results.acked, results.credits, tuple(map(_frame_result, results.frames)))


def _frame_result(result: ingest_pb2.FrameResult) -> FrameResult:
    known = int(result.outcome) in set(Outcome)
    outcome = Outcome(result.outcome) if known else Outcome.UNSPECIFIED
    boxes = _boxes(result.boxes) if result.has_boxes else None
    presences = _presences(result.presences)
    return FrameResult(result.boot, result.seq, outcome, result.reason, boxes, presences)


def _boxes(boxes: Iterable[types_pb2.Box]) -> tuple[Box, ...]:
    try:
        return tuple(Box(b.label, b.score, b.x1, b.y1, b.x2, b.y2) for b in boxes)
    except ValueError as error:
        raise RemoteProtocolError(f"the server sent a box that is none: {error}") from error


def _presences(presences: Iterable[types_pb2.Presence]) -> tuple[Presence, ...]:
    try:
        return tuple(Presence(p.label, p.score) for p in presences)
    except ValueError as error:
        raise RemoteProtocolError(f"the server sent a presence that is none: {error}") from error


def _read_goodbye(goodbye: ingest_pb2.Goodbye) -> Goodbye:
    known = int(goodbye.code) in set(GoodbyeCode)
    code = GoodbyeCode(goodbye.code) if known else GoodbyeCode.UNSPECIFIED
    return Goodbye(code, goodbye.reason, goodbye.retry_after_ms / 1000)
