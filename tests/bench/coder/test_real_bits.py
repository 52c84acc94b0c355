from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.coder.latents import any_chain
from bench.coder.real_bits import Excess, excess, summary
from common.codec import MachineCodec
from tests.common.latents import drawn


@settings(max_examples=40, deadline=None)
@given(
    m=st.sampled_from([1, 3, 16, 64]),
    seed=st.integers(0, 2**32 - 1),
    qualities=st.lists(st.integers(0, 255), min_size=1, max_size=4),
)
def test_a_layer_is_within_two_percent_or_a_byte_of_its_ideal(
    m: int, seed: int, qualities: list[int]
) -> None:
    codec = MachineCodec(drawn(m), 1)
    last = None
    chain = any_chain(np.random.default_rng(seed), m, len(qualities))
    for y, quality in zip(chain, qualities, strict=True):
        if last is None:
            _, h, w = y.shape
            coded = codec.encode(y, width=16 * w, height=16 * h, side=64, quality=quality)
        else:
            coded = codec.encode_inter(y, last, quality=quality)
        found = excess(codec, coded, last)
        assert found.size == len(coded.data)
        assert found.size < max(found.ideal * 1.02, found.ideal + 1)
        last = coded


def test_a_summary_names_the_worst() -> None:
    found = summary([Excess(100, 99.5), Excess(30, 29.0)])
    assert found["layers"] == 2
    assert found["mean_bytes"] == 65.0
    assert found["relative_excess"] == pytest.approx(130 / 128.5 - 1, abs=1e-5)
    assert found["worst_relative_excess"] == pytest.approx(1 / 29, abs=1e-5)
    assert found["worst_excess_bytes"] == 1.0
    assert (found["layers_over_2_percent"], found["largest_of_them_bytes"]) == (1, 30)
