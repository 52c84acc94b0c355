"""The session's messages <-> protobuf, in the two directions that a camera needs. Pure functions.

Nothing is judged here but what the messages' own types cannot hold: a box with a reversed edge or a
score above 1 is the server's fault and raises RemoteProtocolError.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict

from common.errors import RemoteProtocolError
from common.session.events import (
    AuxiliaryReply,
    AuxiliaryRequest,
    FrameRange,
    FrameResult,
    Goodbye,
    GoodbyeCode,
    Hello,
    LayerEntry,
    Layers,
    Outcome,
    RateTarget,
    Results,
    StillPiece,
    StillResult,
    Telemetry,
    ToEdge,
    ToServer,
    Welcome,
)
from common.session.shorthand import Said, Shorthand
from common.types import Box, Presence
from glimpse.v1 import ingest_pb2, types_pb2

_US = 1_000_000  # microseconds per second


def to_wire(message: ToServer, shorthand: Shorthand | None = None) -> ingest_pb2.StreamRequest:
    """What the edge says, as the contract has it; `shorthand`, if the server reads it."""
    match message:
        case Hello():
            return ingest_pb2.StreamRequest(hello=_hello(message))
        case Layers():
            return ingest_pb2.StreamRequest(layers=_layers(message, shorthand))
        case AuxiliaryReply():
            return ingest_pb2.StreamRequest(auxiliary_reply=_auxiliary_reply(message))
        case StillPiece():
            piece = ingest_pb2.StillPiece(**asdict(message))
            return ingest_pb2.StreamRequest(still_piece=piece)
        case Telemetry():
            telemetry = ingest_pb2.Telemetry(**asdict(message))
            return ingest_pb2.StreamRequest(telemetry=telemetry)
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
            return _rate_target(response.rate_target)
        case "auxiliary_request":
            return _auxiliary_request(response.auxiliary_request)
        case "still_result":
            return _still_result(response.still_result)
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
        packed_boxes=hello.packed_boxes,
        auxiliary=hello.auxiliary,
        gather_ms=round(hello.gather * 1000),
        packed_results=hello.packed_results,
    )


def _layers(message: Layers, shorthand: Shorthand | None) -> ingest_pb2.Layers:
    layers = [_layer(entry, shorthand) for entry in message.layers]
    return ingest_pb2.Layers(first=message.first, layers=layers)


def _layer(entry: LayerEntry, shorthand: Shorthand | None) -> ingest_pb2.Layer:
    said = Said(entry.boot, entry.seq, round(entry.captured_at * _US))
    steps = None if shorthand is None else shorthand.shorten(said)
    if steps is not None:
        return ingest_pb2.Layer(seq_step=steps[0], captured_step_us=steps[1], data=entry.data)
    return ingest_pb2.Layer(
        boot=said.boot, seq=said.seq, captured_at_us=said.captured_us, data=entry.data
    )


def _auxiliary_reply(message: AuxiliaryReply) -> ingest_pb2.AuxiliaryReply:
    return ingest_pb2.AuxiliaryReply(
        request=message.request,
        outcome=ingest_pb2.AuxiliaryOutcome.ValueType(message.outcome),
        reason=message.reason[:512],
        size=message.size,
        data=message.data,
    )


def _goodbye(message: Goodbye) -> ingest_pb2.Goodbye:
    code = ingest_pb2.GoodbyeCode.ValueType(message.code)
    return ingest_pb2.Goodbye(
        code=code, reason=message.reason[:512], retry_after_ms=round(message.retry_after * 1000)
    )


def _welcome(welcome: ingest_pb2.Welcome) -> Welcome:
    settled = tuple(FrameRange(r.boot, r.first, r.last) for r in welcome.settled)
    labels = tuple(welcome.labels)
    return Welcome(
        *(welcome.session, settled, welcome.credits, welcome.max_layer_bytes),
        *(labels, welcome.short_layers, welcome.max_still_bytes),
    )


def _results(results: ingest_pb2.Results) -> Results:
    packed = results.packed if results.HasField("packed") else None
    frames = tuple(map(_frame_result, results.frames))
    return Results(results.acked, results.credits, frames, packed)


def _frame_result(result: ingest_pb2.FrameResult) -> FrameResult:
    outcome = _outcome(result.outcome)
    boxes = _boxes(result.boxes) if result.has_boxes else None
    presences = _presences(result.presences)
    packed = result.packed if result.HasField("packed") else None
    return FrameResult(result.boot, result.seq, outcome, result.reason, boxes, presences, packed)


def _still_result(result: ingest_pb2.StillResult) -> StillResult:
    return StillResult(result.seq, _outcome(result.outcome), result.reason)


def _outcome(value: int) -> Outcome:
    return Outcome(value) if value in set(Outcome) else Outcome.UNSPECIFIED


def _rate_target(target: ingest_pb2.RateTarget) -> RateTarget:
    frames = target.frames_per_second
    return RateTarget(target.bytes_per_second, frames if 0 < frames < math.inf else 0.0)


def _auxiliary_request(m: ingest_pb2.AuxiliaryRequest) -> AuxiliaryRequest:
    return AuxiliaryRequest(m.request, m.boot, m.seq, m.quality, m.deadline_ms / 1000, m.urgent)


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
