"""Stills: pieces, order, limits, what is sent again. The cloud's and the edge's half, joined."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.session import CloudPolicy, CloudSession, CloudState, EdgeSession
from common.session import events as ev
from common.session.auxiliary import PIECE_BYTES
from common.types import FrameId

MOST = 5000
STILL = bytes(range(256)) * 12
FRAME = FrameId("gate", "b1", 0)
STORED, REFUSED = ev.Outcome.STORED, ev.Outcome.REFUSED


def _edge(*, paced: bool = False, most: int = MOST) -> EdgeSession:
    edge = EdgeSession("gate", "b1", 1, random=lambda: 0.0, paced=paced)
    edge.on(ev.Started(), 0.0)
    _connect(edge, most)
    return edge


def _connect(edge: EdgeSession, most: int = MOST) -> Any:
    [fetch, *_] = edge.on(ev.Connected(), 0.0)
    assert isinstance(fetch, ev.Fetch)
    edge.on(ev.Fetched(fetch, (), 0), 0.0)
    return edge.on(ev.Received(ev.Welcome("s", (), 9, 5000, max_still_bytes=most)), 0.0)


def _cloud(most: int = MOST) -> CloudSession:
    cloud = CloudSession("s", 1, inspect=lambda _: None, policy=CloudPolicy(max_still_bytes=most))
    cloud.on(ev.Connected(), 0.0)
    said = cloud.on(ev.Received(ev.Hello("gate", "b1", 1)), 0.0)
    [welcome] = [m for m in _sent(said) if isinstance(m, ev.Welcome)]
    assert welcome.max_still_bytes == most
    return cloud


def _sent(actions: Any) -> list[Any]:
    return [action.message for action in actions if isinstance(action, ev.Send)]


def _piece(cloud: CloudSession, seq: int, size: int, first: int, data: bytes) -> Any:
    return cloud.on(ev.Received(ev.StillPiece(seq, size, first, data)), 1.0)


def test_a_still_goes_when_its_frame_is_settled_and_is_answered_when_it_is_kept() -> None:
    edge, cloud = _edge(), _cloud()
    edge.on(ev.FrameCoded(0, 1e9, b"layer"), 0.0)
    assert _sent(edge.on(ev.StillMade(0, STILL), 0.0)) == []
    pieces = _sent(edge.on(ev.Received(ev.Results(1, 9)), 0.0))
    assert [len(piece.data) for piece in pieces] == [PIECE_BYTES, PIECE_BYTES, 672]
    said = [cloud.on(ev.Received(piece), 1.0) for piece in pieces]
    assert said == [(), (), (ev.KeepStill(FRAME, STILL),)]
    [answer] = _sent(cloud.on(ev.StillKept(0), 1.0))
    assert answer == ev.StillResult(0, STORED)
    assert edge.on(ev.Received(answer), 2.0) == (ev.Deliver(answer),)
    assert edge.on(ev.Received(answer), 2.0) == ()  # of a still that is nowhere any more


def test_nothing_goes_while_layers_wait_in_the_spool() -> None:
    edge = _edge(paced=True)
    edge.on(ev.StillMade(0, STILL), 0.0)
    assert edge.still() == len(STILL)
    edge.on(ev.Disconnected(), 0.0)
    assert edge.still() == 0
    [fetch, *_] = edge.on(ev.Connected(), 1.0)
    assert isinstance(fetch, ev.Fetch)
    edge.on(ev.FrameCoded(0, 1e9, b"layer"), 1.0)  # while the spool is read
    edge.on(ev.Fetched(fetch, (), 0), 1.0)
    edge.on(ev.Received(ev.Welcome("s", (), 9, 5000, max_still_bytes=MOST)), 1.0)
    assert edge.still() == 0
    assert _sent(edge.on(ev.StillReleased(PIECE_BYTES), 1.0)) == []


def test_a_paced_edge_sends_a_piece_when_it_is_released() -> None:
    edge = _edge(paced=True)
    assert edge.on(ev.StillMade(4, STILL), 0.0) == ()
    assert edge.still() == len(STILL)
    [piece] = _sent(edge.on(ev.StillReleased(400), 0.0))
    assert piece == ev.StillPiece(4, len(STILL), 0, STILL[:400])
    [piece] = _sent(edge.on(ev.StillReleased(9999), 0.0))
    assert (piece.first, len(piece.data)) == (400, PIECE_BYTES)


def test_a_still_that_was_not_answered_begins_anew_in_the_next_stream() -> None:
    edge = _edge()
    assert len(_sent(edge.on(ev.StillMade(4, STILL), 0.0))) == 3
    edge.on(ev.Disconnected(), 0.0)
    again = [m for m in _sent(_connect(edge)) if isinstance(m, ev.StillPiece)]
    assert b"".join(piece.data for piece in again) == STILL


def test_a_newer_one_waits_for_the_one_on_its_way_and_replaces_one_that_is_not() -> None:
    edge = _edge(paced=True)
    edge.on(ev.StillMade(1, b"first"), 0.0)
    edge.on(ev.StillMade(2, b"second"), 0.0)
    edge.on(ev.StillReleased(3), 0.0)
    edge.on(ev.StillMade(3, b"third"), 0.0)
    edge.on(ev.StillMade(4, b"fourth"), 0.0)
    [rest] = _sent(edge.on(ev.StillReleased(99), 0.0))
    assert rest == ev.StillPiece(2, 6, 3, b"ond")
    assert edge.still() == 0  # until that one is answered
    edge.on(ev.Received(ev.StillResult(2, REFUSED, "not today")), 0.0)
    [fourth] = _sent(edge.on(ev.StillReleased(99), 0.0))
    assert fourth == ev.StillPiece(4, 6, 0, b"fourth")
    edge.on(ev.StillMade(5, b"fifth"), 0.0)
    edge.on(ev.Disconnected(), 0.0)
    assert len(_sent(_connect(edge))) == 0
    [fifth] = _sent(edge.on(ev.StillReleased(99), 0.0))
    assert fifth.seq == 5  # it would be of no use to send the older one again


@pytest.mark.parametrize("most", [0, len(STILL) - 1])
def test_the_edge_sends_none_that_the_server_would_not_take(most: int) -> None:
    edge = _edge(most=most)
    [refused] = edge.on(ev.StillMade(4, STILL), 0.0)
    assert refused == ev.Deliver(
        ev.StillResult(4, REFUSED, f"{len(STILL)} bytes, the server takes {most}")
    )


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ([(MOST + 1, 0, b"x")], "takes 1 to 5000"),
        ([(0, 0, b"")], "takes 1 to 5000"),
        ([(9, 0, b"x"), (8, 1, b"x")], "do not follow"),
        ([(9, 0, b"x"), (9, 2, b"x")], "do not follow"),
        ([(2, 0, b"xxx")], "do not add up"),
        ([(2, 0, b"")], "do not add up"),
    ],
)
def test_bad_pieces_are_refused_by_name_and_the_session_lives(
    pieces: list[tuple[int, int, bytes]], reason: str
) -> None:
    cloud = _cloud()
    said = [_piece(cloud, 7, *piece) for piece in pieces]
    [refused] = _sent(said[-1])
    assert (refused.seq, refused.outcome) == (7, REFUSED)
    assert reason in refused.reason
    assert _piece(cloud, 7, 9, 5, b"rest") == ()  # it was under way
    assert cloud.state is CloudState.LIVE
    assert _piece(cloud, 8, 1, 0, b"x") == (ev.KeepStill(FrameId("gate", "b1", 8), b"x"),)


def test_a_number_that_no_frame_has_is_refused() -> None:
    [refused] = _sent(_piece(_cloud(), 1 << 63, 1, 0, b"x"))
    assert refused.outcome is REFUSED


def test_a_still_that_begins_anew_is_whole() -> None:
    cloud = _cloud()
    _piece(cloud, 1, 4, 0, b"ab")
    _piece(cloud, 2, 3, 0, b"x")
    assert _piece(cloud, 2, 3, 1, b"yz") == (ev.KeepStill(FrameId("gate", "b1", 2), b"xyz"),)


def test_one_at_a_time_is_kept() -> None:
    cloud = _cloud()
    _piece(cloud, 1, 1, 0, b"x")
    [busy] = _sent(_piece(cloud, 2, 1, 0, b"x"))
    assert "not stored yet" in busy.reason
    [refused] = _sent(cloud.on(ev.StillKept(1, "the disk is full"), 1.0))
    assert refused == ev.StillResult(1, REFUSED, "the disk is full")
    assert len(_piece(cloud, 2, 1, 0, b"x")) == 1


def test_a_session_parts_when_a_still_is_kept() -> None:
    cloud = _cloud()
    _piece(cloud, 1, 1, 0, b"x")
    cloud.on(ev.Draining(), 1.0)
    assert cloud.state is CloudState.PARTING
    assert _piece(cloud, 2, 1, 0, b"x") == ()  # it comes again in the next stream
    [answer, goodbye] = _sent(cloud.on(ev.StillKept(1), 1.0))
    assert answer == ev.StillResult(1, STORED)
    assert isinstance(goodbye, ev.Goodbye)


@given(st.lists(st.one_of(st.integers(1, 1500), st.just("cut"), st.just("new")), max_size=30))
def test_whatever_happens_what_is_kept_is_whole(happenings: list[int | str]) -> None:
    """Pieces of any length, streams that end anywhere, newer stills that come at any time."""
    edge, cloud = _edge(paced=True), _cloud()
    stills = {0: STILL}
    edge.on(ev.StillMade(0, STILL), 0.0)
    kept: list[int] = []

    def release(most: int) -> None:
        for piece in _sent(edge.on(ev.StillReleased(most), 0.0)):
            for action in cloud.on(ev.Received(piece), 0.0):
                assert isinstance(action, ev.KeepStill)
                assert action.data == stills[action.frame.seq]
                kept.append(action.frame.seq)
                [answer] = _sent(cloud.on(ev.StillKept(action.frame.seq), 0.0))
                edge.on(ev.Received(answer), 0.0)

    for happening in happenings:
        if happening == "cut":
            edge.on(ev.Disconnected(), 0.0)
            _connect(edge)
            cloud = _cloud()
        elif happening == "new":
            seq = len(stills)
            stills[seq] = bytes([seq]) * (1000 + seq)
            edge.on(ev.StillMade(seq, stills[seq]), 0.0)
        else:
            release(int(happening))
    while edge.still():
        release(PIECE_BYTES)
    assert kept[-1] == len(stills) - 1  # the newest one arrives, each at most once
    assert len(kept) == len(set(kept))
