"""Auxiliary layers on request: pieces, limits, deadlines. The whole is played in transcripts."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import (
    AuxiliaryError,
    AuxiliaryGone,
    AuxiliaryTimeout,
    AuxiliaryUnsupported,
    CameraOffline,
)
from common.session import CloudPolicy, CloudSession, CloudState, EdgeSession
from common.session import events as ev
from common.session.auxiliary import PIECE_BYTES, REQUESTS
from common.types import FrameId

FRAME = FrameId("gate", "b1", 7)
OLD = FrameId("gate", "b0", 7)
SENT = ev.AuxiliaryOutcome.SENT


def _edge(*, paced: bool = False) -> EdgeSession:
    edge = EdgeSession("gate", "b1", 1, random=lambda: 0.0, paced=paced)
    edge.on(ev.Started(), 0.0)
    [fetch, _] = edge.on(ev.Connected(), 0.0)
    assert isinstance(fetch, ev.Fetch)
    [hello] = edge.on(ev.Fetched(fetch, (), 0), 0.0)
    assert isinstance(hello, ev.Send)
    assert isinstance(hello.message, ev.Hello)
    assert hello.message.auxiliary
    edge.on(ev.Received(ev.Welcome("s", (), 4, 5000)), 0.0)
    return edge


def _ask(edge: EdgeSession, number: int, *, deadline: float = 9.0, urgent: bool = False) -> Any:
    request = ev.AuxiliaryRequest(number, "", number, 100, deadline, urgent)
    return edge.on(ev.Received(request), 0.0)


def _sent(actions: Any) -> list[Any]:
    return [action.message for action in actions if isinstance(action, ev.Send)]


def _cloud(*, auxiliary: bool = True) -> CloudSession:
    cloud = CloudSession("s", 1, inspect=lambda _: None, policy=CloudPolicy(max_layer_bytes=5000))
    cloud.on(ev.Connected(), 0.0)
    cloud.on(ev.Received(ev.Hello("gate", "b1", 1, auxiliary=auxiliary)), 0.0)
    assert cloud.state is CloudState.LIVE
    return cloud


def _reply(cloud: CloudSession, *args: Any, **fields: Any) -> Any:
    return cloud.on(ev.Received(ev.AuxiliaryReply(*args, **fields)), 1.0)


def test_a_layer_comes_whole_out_of_its_pieces() -> None:
    edge, cloud = _edge(), _cloud()
    data = bytes(range(256)) * 12
    [send, timer] = cloud.on(ev.Wanted(3, OLD, 77, 5.0, urgent=True), 1.0)
    assert send == ev.Send(ev.AuxiliaryRequest(1, "b0", 7, 77, 5.0, True))
    assert timer == ev.ArmTimer(6.0)
    [find] = edge.on(ev.Received(send.message), 0.0)
    assert find == ev.FindAuxiliary(1, OLD, 77)
    pieces = _sent(edge.on(ev.AuxiliaryFound(1, SENT, data=data), 0.0))
    assert [len(piece.data) for piece in pieces] == [PIECE_BYTES, PIECE_BYTES, 3072 - 2400]
    said = [cloud.on(ev.Received(piece), 2.0) for piece in pieces]
    assert said == [(), (), (ev.Conclude(3, data), ev.ArmTimer(None))]


def test_a_paced_edge_sends_a_piece_when_it_is_released() -> None:
    edge = _edge(paced=True)
    [find] = _ask(edge, 1)
    assert edge.on(ev.AuxiliaryFound(find.number, SENT, data=bytes(900)), 0.0) == ()
    assert edge.reply(0.0) == (900, False)
    [piece] = _sent(edge.on(ev.ReplyReleased(400), 0.0))
    assert (piece.size, len(piece.data)) == (900, 400)
    assert edge.reply(0.0) == (500, False)
    assert edge.reply(9.0) is None  # nobody waits for it any more
    assert edge.on(ev.ReplyReleased(400), 9.0) == ()


def test_urgent_replies_go_first() -> None:
    edge = _edge(paced=True)
    finds = [_ask(edge, number, urgent=number == 3)[0] for number in (1, 2, 3)]
    for find in finds:
        edge.on(ev.AuxiliaryFound(find.number, SENT, data=b"x"), 0.0)
    order = [_sent(edge.on(ev.ReplyReleased(9), 0.0))[0].request for _ in finds]
    assert order == [3, 1, 2]


def test_more_requests_than_an_edge_bears_are_refused() -> None:
    edge = _edge()
    for number in range(1, REQUESTS + 1):
        assert _sent(_ask(edge, number)) == []
    [busy] = _sent(_ask(edge, 99))
    assert (busy.request, busy.outcome) == (99, ev.AuxiliaryOutcome.FAILED)
    assert "under way" in busy.reason
    [expired] = _sent(edge.on(ev.AuxiliaryFound(1, ev.AuxiliaryOutcome.EXPIRED, "gone"), 0.0))
    assert (expired.request, expired.reason, expired.size) == (1, "gone", 0)
    assert _sent(_ask(edge, 100)) == []  # there is room again


def test_an_answer_that_comes_after_its_stream_is_not_sent_in_the_next() -> None:
    edge = _edge()
    [find] = _ask(edge, 1)
    edge.on(ev.Disconnected(), 0.0)
    assert edge.on(ev.AuxiliaryFound(find.number, SENT, data=b"x"), 0.0) == ()
    [fetch, _] = edge.on(ev.Connected(), 1.0)
    edge.on(ev.Fetched(fetch, (), 0), 1.0)  # type: ignore[arg-type]
    edge.on(ev.Received(ev.Welcome("s", (), 4, 5000)), 1.0)
    [again] = _ask(edge, 1)
    assert edge.on(ev.AuxiliaryFound(find.number, SENT, data=b"old"), 1.0) == ()
    [reply] = _sent(edge.on(ev.AuxiliaryFound(again.number, SENT, data=b"new"), 1.0))
    assert reply.data == b"new"


@pytest.mark.parametrize("size", [0, 5001])
def test_the_edge_sends_no_layer_that_the_server_would_not_take(size: int) -> None:
    edge = _edge()
    [find] = _ask(edge, 1)
    [reply] = _sent(edge.on(ev.AuxiliaryFound(find.number, SENT, data=bytes(size)), 0.0))
    assert (reply.outcome, reply.data) == (ev.AuxiliaryOutcome.FAILED, b"")
    assert f"{size} bytes" in reply.reason


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ([(5001, b"x")], "5001 bytes"),
        ([(0, b"")], "0 bytes"),
        ([(9, b"x"), (8, b"x")], "two layers"),
        ([(2, b"xxx")], "add up"),
        ([(2, b"")], "add up"),
        ([(3, b"xx"), (3, b"xx")], "add up"),
    ],
)
def test_bad_pieces_end_their_request_and_nothing_else(
    pieces: list[tuple[int, bytes]], reason: str
) -> None:
    cloud = _cloud()
    cloud.on(ev.Wanted(1, FRAME, 0, 60.0), 0.0)
    said = [_reply(cloud, 1, SENT, size=size, data=data) for size, data in pieces]
    conclude = said[-1][0]
    assert (conclude.ticket, type(conclude.result)) == (1, AuxiliaryError)
    assert reason in str(conclude.result)
    assert cloud.state is CloudState.LIVE
    _reply(cloud, 1, SENT, size=1, data=b"x")
    assert cloud.strays == 1


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (ev.AuxiliaryOutcome.EXPIRED, AuxiliaryGone),
        (ev.AuxiliaryOutcome.UNSUPPORTED, AuxiliaryUnsupported),
        (ev.AuxiliaryOutcome.FAILED, AuxiliaryError),
        (ev.AuxiliaryOutcome.UNSPECIFIED, AuxiliaryError),
    ],
)
def test_what_the_camera_says_becomes_an_error(
    outcome: ev.AuxiliaryOutcome, error: type[AuxiliaryError]
) -> None:
    cloud = _cloud()
    cloud.on(ev.Wanted(1, FRAME, 0, 60.0), 0.0)
    conclude = _reply(cloud, 1, outcome, "so it is")[0]
    assert type(conclude.result) is error
    assert "so it is" in str(conclude.result)


def test_replies_that_nobody_waits_for_are_counted() -> None:
    cloud = _cloud()
    assert _reply(cloud, 5, SENT, size=1, data=b"x") == ()
    assert cloud.strays == 1


def test_a_request_that_is_not_answered_ends_by_its_deadline() -> None:
    cloud = _cloud()
    cloud.on(ev.Wanted(1, FRAME, 0, 4.0), 0.0)
    cloud.on(ev.Wanted(2, FRAME, 0, 2.0), 0.0)
    _reply(cloud, 1, SENT, size=10, data=b"half!")
    [second, timer] = cloud.on(ev.Tick(), 2.0)
    assert isinstance(second, ev.Conclude)
    assert (second.ticket, type(second.result), timer) == (2, AuxiliaryTimeout, ev.ArmTimer(4.0))
    [first] = cloud.on(ev.Tick(), 4.0)
    assert isinstance(first, ev.Conclude)
    assert "5 of 10 bytes came" in str(first.result)


def test_what_the_cloud_does_not_even_ask_for() -> None:
    def result(cloud: CloudSession) -> Any:
        return next(a.result for a in cloud.on(_want(9), 0.0) if isinstance(a, ev.Conclude))

    def _want(ticket: int) -> ev.Wanted:
        return ev.Wanted(ticket, FRAME, 0, 1.0)

    assert isinstance(result(_cloud(auxiliary=False)), AuxiliaryUnsupported)
    busy = _cloud()
    for ticket in range(CloudPolicy().requests):
        busy.on(_want(ticket), 0.0)
    assert "under way" in str(result(busy))
    closed = _cloud()
    closed.on(ev.Disconnected(), 0.0)
    assert isinstance(result(closed), CameraOffline)


def test_those_who_wait_are_told_when_the_session_ends() -> None:
    for end in (ev.Disconnected(), ev.Draining(), ev.Superseded()):
        cloud = _cloud()
        cloud.on(ev.Wanted(1, FRAME, 0, 60.0), 0.0)
        told = [a for a in cloud.on(end, 1.0) if isinstance(a, ev.Conclude)]
        assert [(c.ticket, type(c.result)) for c in told] == [(1, CameraOffline)]
