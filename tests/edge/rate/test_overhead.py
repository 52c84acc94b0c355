"""What a message costs is learned, per message and per layer."""

from __future__ import annotations

import random

import pytest

from edge.rate.congestion import Sent
from edge.rate.overhead import Overhead


def taught(overhead: Overhead, messages: list[list[int]], message: float, layer: float) -> Overhead:
    """Messages of layers of these sizes, each counted when it is acked."""
    wire = 0.0
    for n, sizes in enumerate(messages):
        cost = message + layer * len(sizes) + sum(sizes)
        overhead.acked(Sent(n, len(sizes), sum(sizes), cost, 0.0))
        wire += cost
        overhead.measured(round(wire), 0.0)
    return overhead


def test_an_estimate_stands_until_something_is_counted() -> None:
    overhead = Overhead(150.0, 12.0)
    assert overhead.cost([60, 40]) == 150 + 24 + 100
    overhead.measured(9000, 0.0)
    overhead.acked(Sent(1, 1, 60, 222.0, 0.0))
    assert overhead.cost([60]) == 222


@pytest.mark.parametrize(("message", "layer"), [(400.0, 45.0), (120.0, 90.0), (150.0, 11.0)])
def test_messages_of_many_sizes_tell_both_costs(message: float, layer: float) -> None:
    draw = random.Random(1)
    messages = [[60] * draw.randint(1, 12) for _ in range(400)]
    overhead = taught(Overhead(200.0, 45.0), messages, message, layer)
    assert overhead.cost([60]) == pytest.approx(message + layer + 60, rel=0.15)
    assert overhead.cost([60] * 10) == pytest.approx(message + 10 * (layer + 60), rel=0.05)


def test_messages_of_one_layer_tell_the_sum() -> None:
    overhead = taught(Overhead(450.0, 45.0), [[60]] * 200, 150.0, 60.0)
    assert overhead.cost([60]) == pytest.approx(150 + 60 + 60, rel=0.03)


def test_a_few_messages_of_several_layers_are_enough() -> None:
    overhead = taught(Overhead(150.0, 45.0), [[60] * 5] * 8, 150.0, 95.0)
    assert overhead.cost([60] * 5) == pytest.approx(150 + 5 * (95 + 60), rel=0.08)


def test_what_else_was_spent_is_not_learned() -> None:
    overhead = taught(Overhead(150.0, 12.0), [[60]] * 40, 150.0, 12.0)
    before = overhead.cost([60])
    wire = 40 * 222
    for n in range(40):
        overhead.beside(500.0)
        overhead.acked(Sent(n, 1, 60, 222.0, 0.0))
        wire += 722
        overhead.measured(wire, 0.0)
    assert overhead.cost([60]) == pytest.approx(before, rel=0.05)


def test_a_handshake_is_no_message() -> None:
    overhead = taught(Overhead(150.0, 12.0), [[60]] * 40, 150.0, 12.0)
    before = overhead.cost([60])
    overhead.connected()
    overhead.acked(Sent(1, 1, 60, 222.0, 0.0))
    overhead.measured(40 * 222 + 6000, 0.0)
    overhead.measured(40 * 222 + 6000, 0.0)
    assert overhead.cost([60]) == before


def test_it_stays_within_reason() -> None:
    overhead = taught(Overhead(100.0, 10.0), [[60]] * 50, 50_000.0, 0.0)
    assert 0 < overhead.cost([]) <= 500
    assert 0 <= overhead.layer <= 50
