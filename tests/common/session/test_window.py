"""The credit window counts, and never backwards."""

from __future__ import annotations

import pytest

from common.errors import LocalProtocolError, RemoteProtocolError
from common.session.window import CreditWindow
from common.types import FrameId

FRAMES = tuple(FrameId("gate", "b1", seq) for seq in range(5))


def test_it_fills_and_frees():
    window = CreditWindow(3)
    for frame in FRAMES[:3]:
        window.add(frame)
    assert (len(window), window.sent, window.room) == (3, 3, 0)
    assert window.settle(2) == FRAMES[:2]
    assert list(window) == [FRAMES[2]]
    assert window.room == 0  # settling grants nothing: only the server does
    window.grant(5)
    assert window.room == 2


def test_older_counts_change_nothing():
    window = CreditWindow(3)
    window.add(FRAMES[0])
    window.add(FRAMES[1])
    window.settle(2)
    assert window.settle(1) == ()
    assert window.settle(2) == ()
    window.grant(1)
    assert (window.granted, window.settled, window.sent) == (3, 2, 2)


def test_nothing_is_sent_beyond_credit():
    with pytest.raises(LocalProtocolError):
        CreditWindow(0).add(FRAMES[0])


def test_what_was_not_sent_cannot_be_settled():
    window = CreditWindow(3)
    window.add(FRAMES[0])
    with pytest.raises(RemoteProtocolError):
        window.settle(2)
    assert window.settled == 0
