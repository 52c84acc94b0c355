"""Session messages <-> protobuf, as the server needs them. Copies; judges nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields

from common.session.events import (
    AuxiliaryOutcome,
    AuxiliaryReply,
    AuxiliaryRequest,
    FrameRange,
    FrameResult,
    Goodbye,
    GoodbyeCode,
    Hello,
    LayerEntry,
    Layers,
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

MICROSECONDS = 1e6
_TELEMETRY = fields(Telemetry)


def from_request(request: ingest_pb2.StreamRequest, shorthand: Shorthand) -> ToServer | None:
    """What the camera says, `shorthand` being its stream's.

    None: a message that this server does not know, to be ignored.
    """
    match request.WhichOneof("message"):
        case "hello":
            m = request.hello
            ranges = tuple(FrameRange(r.boot, r.first, r.last) for r in m.in_doubt)
            return Hello(
                camera=m.camera,
                boot=m.boot,
                model_id=m.model_id,
                in_doubt=ranges,
                want_boxes=m.want_boxes,
                software=m.software,
                packed_boxes=m.packed_boxes,
                auxiliary=m.auxiliary,
                gather=m.gather_ms / 1000,
                packed_results=m.packed_results,
            )
        case "layers":
            entries = tuple(_entry(layer, shorthand) for layer in request.layers.layers)
            return Layers(request.layers.first, entries)
        case "auxiliary_reply":
            r = request.auxiliary_reply
            return AuxiliaryReply(r.request, _outcome(r.outcome), r.reason, r.size, r.data)
        case "still_piece":
            p = request.still_piece
            return StillPiece(p.seq, p.size, p.first, p.data)
        case "telemetry":
            told = request.telemetry
            return Telemetry(**{field.name: getattr(told, field.name) for field in _TELEMETRY})
        case "goodbye":
            return Goodbye(_code(request.goodbye.code), request.goodbye.reason)
        case _:
            return None


def _entry(layer: ingest_pb2.Layer, shorthand: Shorthand) -> LayerEntry:
    said: Said | None = Said(layer.boot, layer.seq, layer.captured_at_us)
    if layer.HasField("captured_step_us"):
        said = shorthand.expand(layer.seq_step, layer.captured_step_us)
    elif said is not None:
        shorthand.hear(said)
    if said is None:
        return LayerEntry("", -1, 0.0, layer.data)  # a number that the session takes for what it is
    return LayerEntry(said.boot, said.seq, said.captured_us / MICROSECONDS, layer.data)


def to_response(message: ToEdge) -> ingest_pb2.StreamResponse:
    """The message as it goes to the camera."""
    match message:
        case Welcome():
            welcome = ingest_pb2.Welcome(
                session=message.session,
                settled=[
                    ingest_pb2.FrameRange(boot=r.boot, first=r.first, last=r.last)
                    for r in message.settled
                ],
                credits=message.credits,
                max_layer_bytes=message.max_layer_bytes,
                labels=message.labels,
                short_layers=message.short_layers,
                max_still_bytes=message.max_still_bytes,
            )
            return ingest_pb2.StreamResponse(welcome=welcome)
        case Results():
            results = ingest_pb2.Results(
                acked=message.acked,
                credits=message.credits,
                frames=[_frame_result(frame) for frame in message.frames],
                packed=message.packed,
            )
            return ingest_pb2.StreamResponse(results=results)
        case RateTarget():
            target = ingest_pb2.RateTarget(
                bytes_per_second=message.bytes_per_second,
                frames_per_second=message.frames_per_second,
            )
            return ingest_pb2.StreamResponse(rate_target=target)
        case AuxiliaryRequest():
            wanted = ingest_pb2.AuxiliaryRequest(
                request=message.request,
                boot=message.boot,
                seq=message.seq,
                quality=message.quality,
                deadline_ms=max(round(message.deadline * 1000), 1),
                urgent=message.urgent,
            )
            return ingest_pb2.StreamResponse(auxiliary_request=wanted)
        case StillResult():
            still = ingest_pb2.StillResult(
                seq=message.seq,
                outcome=ingest_pb2.Outcome.ValueType(message.outcome),
                reason=message.reason[:512],
            )
            return ingest_pb2.StreamResponse(still_result=still)
        case Goodbye():
            goodbye = ingest_pb2.Goodbye(
                code=ingest_pb2.GoodbyeCode.ValueType(message.code),
                reason=message.reason[:512],
                retry_after_ms=round(message.retry_after * 1000),
            )
            return ingest_pb2.StreamResponse(goodbye=goodbye)


def box_messages(boxes: Iterable[Box], min_score: float = 0.0) -> list[types_pb2.Box]:
    """Boxes of at least this score."""
    return [
        types_pb2.Box(label=b.label, score=b.score, x1=b.x1, y1=b.y1, x2=b.x2, y2=b.y2)
        for b in boxes
        if b.score >= min_score
    ]


def presence_messages(
    presences: Iterable[Presence], min_score: float = 0.0
) -> list[types_pb2.Presence]:
    """Presences of at least this score."""
    return [
        types_pb2.Presence(label=p.label, score=p.score) for p in presences if p.score >= min_score
    ]


def _frame_result(result: FrameResult) -> ingest_pb2.FrameResult:
    return ingest_pb2.FrameResult(
        boot=result.boot,
        seq=result.seq,
        outcome=ingest_pb2.Outcome.ValueType(result.outcome),
        reason=result.reason[:512],
        has_boxes=result.boxes is not None,
        boxes=box_messages(result.boxes or ()),
        presences=presence_messages(result.presences),
        packed=result.packed,
    )


def _outcome(value: int) -> AuxiliaryOutcome:
    try:
        return AuxiliaryOutcome(value)
    except ValueError:
        return AuxiliaryOutcome.UNSPECIFIED


def _code(value: int) -> GoodbyeCode:
    try:
        return GoodbyeCode(value)
    except ValueError:
        return GoodbyeCode.UNSPECIFIED
