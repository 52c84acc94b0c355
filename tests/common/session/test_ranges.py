"""Sets of frames as ranges, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import RemoteProtocolError
from common.session.events import FrameRange
from common.session.ranges import compress, expand
from common.types import FrameId

FRAMES = st.lists(
    st.builds(FrameId, st.just("gate"), st.sampled_from(["b1", "b2"]), st.integers(0, 9))
)


@given(FRAMES)
def test_round_trip_keeps_order_and_repetition(frames):
    ranges = compress(frames, "b2")
    assert expand(ranges, "gate", "b2", limit=len(frames)) == tuple(frames)


def test_a_run_is_one_range_and_the_streams_boot_is_not_named():
    frames = [FrameId("gate", "b1", 7), *(FrameId("gate", "b2", seq) for seq in range(1000))]
    assert compress(frames, "b2") == (FrameRange("b1", 7, 7), FrameRange("", 0, 999))


@pytest.mark.parametrize(
    "ranges",
    [
        (FrameRange("", 5, 4),),
        (FrameRange("", 0, 10),),
        (FrameRange("", 0, 5), FrameRange("", 0, 4)),
        (FrameRange("", 0, 2**64),),
        (FrameRange("no/boot", 0, 0),),
    ],
)
def test_what_a_peer_may_not_say(ranges):
    with pytest.raises(RemoteProtocolError):
        expand(ranges, "gate", "b1", limit=10)
