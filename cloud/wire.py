"""Session messages <-> protobuf, as the server needs them. Copies; judges nothing."""

from __future__ import annotations

from collections.abc import Iterable

from common.events import (
    FrameRange,
    FrameResult,
    Goodbye,
    GoodbyeCode,
    Hello,
    LayerEntry,
    Layers,
    RateTarget,
    Results,
    ToEdge,
    ToServer,
    Welcome,
)
from common.types import Box, Presence
from glimpse.v1 import ingest_pb2, types_pb2

MICROSECONDS = 1e6


def from_request(request: ingest_pb2.StreamRequest) -> ToServer | None:
    """None: a message that this server does not know, to be ignored."""
    match request.WhichOneof("message"):
        case "hello":
            m = request.hello
            ranges = tuple(FrameRange(r.boot, r.first, r.last) for r in m.in_doubt)
            return Hello(m.camera, m.boot, m.model_id, ranges, m.want_boxes, m.software)
        case "layers":
            entries = tuple(
                LayerEntry(e.boot, e.seq, e.captured_at_us / MICROSECONDS, e.data)
                for e in request.layers.layers
            )
            return Layers(request.layers.first, entries)
        case "goodbye":
            return Goodbye(_code(request.goodbye.code), request.goodbye.reason)
        case _:
            return None


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
            )
            return ingest_pb2.StreamResponse(welcome=welcome)
        case Results():
            results = ingest_pb2.Results(
                acked=message.acked,
                credits=message.credits,
                frames=[_frame_result(frame) for frame in message.frames],
            )
            return ingest_pb2.StreamResponse(results=results)
        case RateTarget():
            target = ingest_pb2.RateTarget(bytes_per_second=message.bytes_per_second)
            return ingest_pb2.StreamResponse(rate_target=target)
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
    )


def _code(value: int) -> GoodbyeCode:
    try:
        return GoodbyeCode(value)
    except ValueError:
        return GoodbyeCode.UNSPECIFIED
