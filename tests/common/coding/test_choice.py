from __future__ import annotations

import numpy as np
import pytest

from common.coding.blocks import analyse, quantise, steps
from common.coding.choice import chosen
from common.coding.contexts import Ints
from tests.human import made, tiny_tables


@pytest.mark.parametrize("quality", [60, 140, 220])
def test_it_is_better_than_a_plain_quantiser(quality: int) -> None:
    """error^2 + lambda * bits, of the whole picture, really falls."""
    rng, model = np.random.default_rng(quality), tiny_tables()
    c = analyse(made(rng, 192, 256))
    base = np.zeros((*c.shape[:2], 2), np.int32)
    scaled = c / steps(quality)

    def price(q: Ints) -> float:
        bits = 8 * len(model.encode(q, base, quality))
        return float(((scaled - q) ** 2).sum() + 0.14 * bits)

    ours = price(chosen(model, c, base, quality))
    for rounding in (0.5, 0.4, 0.3):
        assert ours < price(quantise(c, quality, rounding))


def test_it_moves_towards_zero_and_the_dc_not_at_all() -> None:
    rng, model = np.random.default_rng(1), tiny_tables()
    c = analyse(made(rng))
    base = np.zeros((*c.shape[:2], 2), np.int32)
    q = chosen(model, c, base, 100)
    nearest = np.rint(c / steps(100))
    assert (np.abs(q) <= np.abs(nearest)).all()
    assert (q * nearest >= 0).all()
    for first in (0, 256, 320):
        np.testing.assert_array_equal(q[..., first], nearest[..., first])
