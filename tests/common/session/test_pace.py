from __future__ import annotations

from common.session import EdgeSession, EdgeState
from common.session.events import (
    Connected,
    Fetch,
    Fetched,
    FrameCoded,
    Layers,
    Received,
    Released,
    Results,
    Send,
    SourceEnded,
    Started,
    Welcome,
)


def sent(actions: tuple[object, ...]) -> list[int]:
    """Sequence numbers of the layers in the messages."""
    messages = [a.message for a in actions if isinstance(a, Send)]
    return [entry.seq for m in messages if isinstance(m, Layers) for entry in m.layers]


def live(granted: int) -> EdgeSession:
    session = EdgeSession("c", "b", 1, random=lambda: 0.0, paced=True)
    session.on(Started(), 0.0)
    fetch = next(a for a in session.on(Connected(), 0.0) if isinstance(a, Fetch))
    session.on(Fetched(fetch, (), 0), 0.0)
    session.on(Received(Welcome("s", (), granted, 1000)), 0.0)
    assert session.state is EdgeState.LIVE
    return session


def test_a_paced_session_sends_at_its_word_only() -> None:
    session = live(granted=3)
    for seq in range(5):
        assert sent(session.on(FrameCoded(seq, 1.0, b"x" * (seq + 1)), 0.0)) == []
    assert session.ready() == (1, 2, 3)
    assert sent(session.on(Released(2), 0.0)) == [0, 1]
    assert sent(session.on(Received(Results(2, 5)), 0.0)) == []
    assert session.ready() == (3, 4, 5)
    assert sent(session.on(Released(9), 0.0)) == [2, 3, 4]
    assert session.ready() == ()


def test_it_parts_when_all_is_sent_and_settled() -> None:
    session = live(granted=3)
    session.on(FrameCoded(0, 1.0, b"x"), 0.0)
    session.on(SourceEnded(), 0.0)
    assert session.ready() == (1,)  # still live
    session.on(Released(1), 0.0)
    session.on(Received(Results(1, 3)), 0.0)
    assert session.state is EdgeState.PARTING


def test_nothing_is_ready_without_a_stream() -> None:
    session = EdgeSession("c", "b", 1, random=lambda: 0.0, paced=True)
    session.on(Started(), 0.0)
    session.on(FrameCoded(0, 1.0, b"x"), 0.0)
    assert session.ready() == ()
    assert sent(session.on(Released(1), 0.0)) == []
