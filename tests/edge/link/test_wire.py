from __future__ import annotations

import pytest

from cloud.wire import from_request, to_response
from common.errors import RemoteProtocolError
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
from common.session.shorthand import Shorthand
from common.types import Box
from edge.link.wire import from_wire, to_wire
from glimpse.v1 import ingest_pb2, types_pb2

RANGES = (FrameRange("", 3, 7), FrameRange("old", 0, 2**63 - 1))
BOX = Box("person", 0.5, 1.0, 2.0, 3.5, 4096.0)

UP: list[ToServer] = [
    Hello("gate", "b1", 0xFFFF, RANGES, True, "glimpse-edge/1", True, True, 1.5, True),
    Layers(2**40, (LayerEntry("", 1, 1.75e9, b"a"), LayerEntry("old", 9, 0.000001, b"\0" * 99))),
    AuxiliaryReply(7, AuxiliaryOutcome.SENT, "", 9, b"piece"),
    AuxiliaryReply(8, AuxiliaryOutcome.EXPIRED, "it is gone"),
    StillPiece(7, 1 << 18, 1200, b"piece"),
    Telemetry(*range(1, 13)),
    Goodbye(GoodbyeCode.DONE, "the source has ended"),
]
DOWN: list[ToEdge] = [
    Welcome("s1", RANGES, 64, 1 << 20),
    Welcome("s1", (), 64, 1 << 20, ("person", "car"), True, 1 << 18),
    Results(7, 71, (FrameResult("", 4, Outcome.STORED, packed=b"\0"),)),
    Results(7, 71, (), b""),
    Results(7, 71, (), b"several frames"),
    Results(7, 71, (FrameResult("", 1, Outcome.STORED, "", (BOX,)),)),
    Results(7, 71, (FrameResult("old", 2, Outcome.REFUSED, "malformed"),)),
    Results(0, 0, (FrameResult("", 3, Outcome.STORED, "", ()),)),  # looked, and saw nothing
    RateTarget(2500),
    RateTarget(0, 2.5),
    AuxiliaryRequest(7, "old", 9, 255, 1.5, True),
    StillResult(7, Outcome.STORED),
    StillResult(2**63 - 1, Outcome.REFUSED, "not an AVIF file"),
    Goodbye(GoodbyeCode.SHUTTING_DOWN, "the server shuts down", 1.5),
]


@pytest.mark.parametrize("message", UP, ids=lambda m: type(m).__name__)
def test_what_the_camera_says_reaches_the_server(message: ToServer) -> None:
    data = to_wire(message).SerializeToString()
    assert from_request(ingest_pb2.StreamRequest.FromString(data), Shorthand()) == message


@pytest.mark.parametrize("message", DOWN, ids=lambda m: type(m).__name__)
def test_what_the_server_says_reaches_the_camera(message: ToEdge) -> None:
    data = to_response(message).SerializeToString()
    assert from_wire(ingest_pb2.StreamResponse.FromString(data)) == message


def test_what_a_newer_server_says_is_ignored() -> None:
    assert from_wire(ingest_pb2.StreamResponse()) is None
    goodbye = ingest_pb2.Goodbye(code=ingest_pb2.GoodbyeCode.ValueType(99))
    assert from_wire(ingest_pb2.StreamResponse(goodbye=goodbye)) == Goodbye(GoodbyeCode.UNSPECIFIED)
    result = ingest_pb2.FrameResult(seq=1, outcome=ingest_pb2.Outcome.ValueType(99))
    results = from_wire(ingest_pb2.StreamResponse(results=ingest_pb2.Results(frames=[result])))
    assert results == Results(0, 0, (FrameResult("", 1, Outcome.UNSPECIFIED),))


@pytest.mark.parametrize(
    "box", [types_pb2.Box(score=1.5), types_pb2.Box(x1=5.0), types_pb2.Box(y2=float("nan"))]
)
def test_a_box_that_is_none_is_the_servers_fault(box: types_pb2.Box) -> None:
    result = ingest_pb2.FrameResult(has_boxes=True, boxes=[box])
    response = ingest_pb2.StreamResponse(results=ingest_pb2.Results(frames=[result]))
    with pytest.raises(RemoteProtocolError, match="box"):
        from_wire(response)


def test_a_long_reason_is_cut() -> None:
    wire = to_wire(Goodbye(GoodbyeCode.PROTOCOL_ERROR, "x" * 9999))
    assert len(wire.goodbye.reason) == 512
