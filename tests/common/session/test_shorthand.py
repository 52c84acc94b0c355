from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloud.wire import from_request
from common.session.events import LayerEntry, Layers
from common.session.shorthand import Said, Shorthand
from edge.link.wire import to_wire
from glimpse.v1 import ingest_pb2

ENTRY = st.builds(
    LayerEntry,
    st.sampled_from(["", "", "", "b0"]),
    st.integers(0, 50) | st.integers(0, 2**63 - 1),
    st.integers(0, 10**7).map(lambda us: 1.8e9 + us / 1e6) | st.just(0.0) | st.just(9e12),
    st.binary(min_size=1, max_size=4),
)


def over(messages: list[Layers], sender: Shorthand | None) -> tuple[list[Layers], int]:
    """What arrives at the other end, and how many bytes it took."""
    receiver, heard, size = Shorthand(), [], 0
    for message in messages:
        data = to_wire(message, sender).SerializeToString()
        size += len(data)
        back = from_request(ingest_pb2.StreamRequest.FromString(data), receiver)
        assert isinstance(back, Layers)
        heard.append(back)
    return heard, size


@given(st.lists(st.lists(ENTRY, max_size=4), max_size=6))
def test_whatever_is_said_short_or_in_full_is_heard_the_same(
    entries: list[list[LayerEntry]],
) -> None:
    messages = [Layers(i, tuple(group)) for i, group in enumerate(entries)]
    full, _ = over(messages, None)
    assert over(messages, Shorthand())[0] == full == messages


def test_frames_in_a_row_take_little() -> None:
    row = [Layers(i, (LayerEntry("", i, 1.8e9 + i / 5, b"x"),)) for i in range(100, 200)]
    assert (over(row, None)[1] - over(row, Shorthand())[1]) / 100 > 6.5


def test_the_first_and_the_first_of_another_boot_are_said_in_full() -> None:
    shorthand = Shorthand()
    assert shorthand.shorten(Said("", 7, 1000)) is None
    assert shorthand.shorten(Said("", 8, 1200)) == (0, 200)
    assert shorthand.shorten(Said("", 5, 1100)) == (-4, -100)
    assert shorthand.shorten(Said("b0", 6, 1200)) is None
    assert shorthand.shorten(Said("b0", 2**63 - 1, 1200)) is None  # too far a step
    assert shorthand.shorten(Said("b0", 2**63 - 1, 1201)) == (-1, 1)


def test_a_step_without_a_layer_before_it_is_no_frame() -> None:
    layer = ingest_pb2.Layer(seq_step=3, captured_step_us=4, data=b"x")
    request = ingest_pb2.StreamRequest(layers=ingest_pb2.Layers(layers=[layer]))
    assert from_request(request, Shorthand()) == Layers(0, (LayerEntry("", -1, 0.0, b"x"),))
