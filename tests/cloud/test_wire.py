"""The server's translation, against the camera's: what one says the other hears."""

from __future__ import annotations

import pytest

from cloud.wire import box_messages, from_request, to_response
from common.session.events import (
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
    ToEdge,
    ToServer,
    Welcome,
)
from common.session.shorthand import Shorthand
from common.types import Box, Presence
from edge.link.wire import from_wire, to_wire
from glimpse.v1 import ingest_pb2

CAR = Box("car", 0.5, 1.0, 2.0, 3.5, 4.25)

UP: list[ToServer] = [
    Hello("gate", "b1", 0xFFFF, (FrameRange("b0", 0, 9), FrameRange("", 1, 1)), True, "edge/1"),
    Hello("gate", "b1", 0),
    Hello("gate", "b1", 0, gather=2.5, packed_results=True),
    Layers(7, (LayerEntry("", 0, 0.0, b"x"), LayerEntry("b0", 2**63 - 1, 1.7e9 + 0.25, b"y"))),
    Layers(0, ()),
    Goodbye(GoodbyeCode.DONE, "the end"),
]
DOWN: list[ToEdge] = [
    Welcome("s1", (FrameRange("b0", 3, 4),), 64, 65536),
    Results(3, 67),
    Results(3, 67, (), b""),
    Results(
        4,
        68,
        (
            FrameResult("", 1, Outcome.STORED, "", (CAR, CAR)),
            FrameResult("b0", 2, Outcome.STORED, "", ()),
            FrameResult("", 3, Outcome.REFUSED, "too long"),
            FrameResult("", 4, Outcome.STORED, "", (), (Presence("car", 0.5),)),
        ),
    ),
    RateTarget(1200),
    RateTarget(0, 0.25),
    *(Goodbye(code, "why", 2.5) for code in GoodbyeCode),
]


@pytest.mark.parametrize("message", UP, ids=lambda m: type(m).__name__)
def test_what_a_camera_says_arrives(message: ToServer) -> None:
    data = to_wire(message).SerializeToString()
    assert from_request(ingest_pb2.StreamRequest.FromString(data), Shorthand()) == message


@pytest.mark.parametrize("message", DOWN, ids=lambda m: type(m).__name__)
def test_what_the_server_says_arrives(message: ToEdge) -> None:
    data = to_response(message).SerializeToString()
    assert from_wire(ingest_pb2.StreamResponse.FromString(data)) == message


def test_a_message_or_a_code_of_the_future() -> None:
    assert from_request(ingest_pb2.StreamRequest(), Shorthand()) is None
    unknown = ingest_pb2.StreamRequest.FromString(b"\xa2\x06\x01x")  # field 100, bytes
    assert from_request(unknown, Shorthand()) is None
    future = ingest_pb2.StreamRequest.FromString(b"\x1a\x02\x08\x63")  # goodbye, code 99
    assert from_request(future, Shorthand()) == Goodbye(GoodbyeCode.UNSPECIFIED)


def test_a_reason_is_no_longer_than_the_contract_says() -> None:
    goodbye = to_response(Goodbye(GoodbyeCode.TIMEOUT, "x" * 2000))
    assert len(goodbye.goodbye.reason) == 512
    refused = FrameResult("", 1, Outcome.REFUSED, "x" * 2000)
    assert len(to_response(Results(1, 1, (refused,))).results.frames[0].reason) == 512


def test_boxes_by_score() -> None:
    boxes = [Box("car", score, 0, 0, 1, 1) for score in (0.9, 0.5, 0.1)]
    assert len(box_messages(boxes)) == 3
    assert [m.score for m in box_messages(boxes, 0.5)] == pytest.approx([0.9, 0.5])
