from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge.rate.congestion import LinkEstimate


def test_acks_complete_messages_in_order() -> None:
    link = LinkEstimate(1.0, None, 0.0)
    link.sent(2, 500, 900.0, 0.0)
    link.sent(1, 200, 500.0, 0.1)
    assert link.acked(1, 0.2) == ()
    assert link.in_flight == 1400.0
    assert [message.payload for message in link.acked(2, 0.3)] == [500]
    assert [message.payload for message in link.acked(9, 0.4)] == [200]
    assert link.in_flight == 0


def test_a_new_stream_begins_with_nothing_under_way() -> None:
    link = LinkEstimate(1.0, None, 0.0)
    link.sent(3, 500, 900.0, 0.0)
    link.connected()
    assert link.in_flight == 0
    link.sent(1, 200, 500.0, 1.0)
    assert len(link.acked(1, 1.1)) == 1


def test_acks_that_are_held_back_on_purpose_are_no_silence() -> None:
    prompt, gathered = LinkEstimate(1.0, None, 0.0), LinkEstimate(1.0, None, 0.0, gather=5.0)
    assert gathered.window - prompt.window == 5.0 * gathered.rate
    for link in (prompt, gathered):
        link.sent(1, 300, 700.0, 0.0)
        link.tick(5.0)
    assert prompt.rate < gathered.rate == 4000.0
    gathered.tick(30.0)
    assert gathered.rate < 4000.0


def test_a_standing_queue_cuts_the_rate_and_its_end_raises_it() -> None:
    link = LinkEstimate(0.2, None, 0.0)
    now, total = 0.0, 0

    def message(latency: float) -> None:
        nonlocal now, total
        now, total = now + 0.2, total + 1
        link.sent(1, 300, 700.0, now - latency)
        link.acked(total, now)

    for _ in range(50):
        message(0.05)
    before = link.rate
    for _ in range(50):
        message(1.5)
    cut = link.rate
    assert cut < before / 1.2
    assert cut >= 50.0
    for _ in range(150):
        message(0.05)
    assert link.rate > cut


def test_one_late_ack_is_no_queue() -> None:
    link = LinkEstimate(0.2, None, 0.0)
    for n in range(20):
        link.sent(1, 300, 700.0, n - (2.0 if n == 10 else 0.05))
        rate = link.rate
        link.acked(n + 1, float(n))
        assert link.rate >= rate


def test_silence_cuts_once() -> None:
    link = LinkEstimate(0.2, None, 0.0)
    rate = link.rate
    link.sent(1, 300, 700.0, 0.0)
    for tenth in range(1000):
        link.tick(tenth / 10)
    assert link.rate == rate / 2


@given(
    st.lists(st.tuples(st.floats(0, 10), st.floats(0, 30), st.integers(0, 3)), max_size=100),
    st.floats(0.1, 5),
)
def test_the_rate_stays_within_bounds(steps: list[tuple[float, float, int]], queue: float) -> None:
    link = LinkEstimate(queue, 10_000.0, 0.0)
    now, sent = 0.0, 0
    for pause, _, what in steps:
        now += pause
        if what == 0:
            link.connected()
            sent = 0
        elif what == 1:
            sent += 2
            link.sent(2, 600, 1000.0, now)
        elif what == 2:
            link.acked(sent, now)
        link.tick(now)
        assert 50.0 <= link.rate <= 10_000.0
        assert link.window > 0
        assert link.in_flight >= 0


def test_gathered_acks_raise_the_rate_as_fast_as_prompt_ones() -> None:
    prompt, gathered = LinkEstimate(1.0, None, 0.0), LinkEstimate(1.0, None, 0.0, gather=5.0)
    for link, every in ((prompt, 1), (gathered, 25)):
        link.rate = 500.0
        for n in range(1, 301):
            now = n * 0.2
            link.sent(1, 100, 100.0, now)
            if n % every == 0:
                link.acked(n, now + 0.05)
    assert gathered.rate > 0.6 * prompt.rate
    assert gathered.rate > 750.0
