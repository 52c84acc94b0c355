from __future__ import annotations

import numpy as np
import pytest

from bench.coder import shuffled as module
from bench.coder.recoded import recoded
from bench.coder.shuffled import shuffled
from common.coding import contexts
from common.coding.contexts import NEAR_COUNT


def test_sums_in_any_order_and_type_make_the_same_bytes() -> None:
    usual = recoded(3, 60)
    assert usual[1] == 0
    assert recoded(3, 60, shuffle=1) == recoded(3, 60, shuffle=2) == usual
    assert recoded(4, 60)[0] != usual[0]


def test_sums_that_round_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half floats lose the small chances: what this measures is not blind."""
    monkeypatch.setattr(module, "_TYPES", (np.float16,))
    with np.errstate(over="ignore"):
        crcs, wrong = recoded(3, 60, shuffle=1)
    assert crcs != recoded(3, 60)[0]
    assert wrong > 0


def test_a_float_among_the_terms_is_an_error() -> None:
    frame = np.zeros((2, 3, 1))
    at = np.array([0])
    with (
        shuffled(np.random.default_rng(0)),
        pytest.raises(AssertionError, match="a float on the way"),
    ):
        contexts.surroundings(frame, at, at)


def test_everything_is_as_it_was_afterwards() -> None:
    before = contexts.expectation
    with shuffled(np.random.default_rng(0)):
        chance = np.full((3, NEAR_COUNT), 1 << 12)
        assert contexts.expectation is not before
        got = contexts.expectation(chance, np.zeros((1, 3), dtype=np.int64))
    assert contexts.expectation is before
    np.testing.assert_array_equal(got, before(chance, np.zeros((1, 3), dtype=np.int64)))
