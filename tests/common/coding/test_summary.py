from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.models.recogniser import Summariser
from common.coding.summary import Summary
from common.geometry import pooled_size


def summary(factor: int, channels: int = 3, seed: int = 0) -> Summary:
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(channels, channels)).astype(np.float32)
    return Summary(weight, rng.normal(size=channels).astype(np.float32), factor)


def test_a_block_is_the_mean_of_what_is_there():
    identity = Summary(np.eye(1, dtype=np.float32), np.zeros(1, np.float32), 2)
    y = np.array([[[1, 3, 5], [2, 2, -7], [4, 0, 6]]], np.float32)
    assert identity.of(y).tolist() == [[[2.0, 2.5], [2.0, 6.0]]]


@settings(max_examples=30)
@given(st.integers(1, 13), st.integers(1, 13), st.integers(1, 6))
def test_its_size_is_what_the_codec_expects(h, w, factor):
    y = np.zeros((3, h, w), np.float32)
    assert summary(factor).of(y).shape == (3, *pooled_size((h, w), factor))


@pytest.mark.parametrize("size", [(8, 8), (30, 40), (7, 13), (1, 3)])
def test_the_edge_computes_what_training_does(size):
    made = summary(4)
    network = Summariser(3, 4)
    with torch.no_grad():
        network.evidence.weight.copy_(torch.from_numpy(made.weight)[:, :, None, None])
        assert network.evidence.bias is not None
        network.evidence.bias.copy_(torch.from_numpy(made.bias))
    y = np.random.default_rng(1).normal(size=(3, *size)).astype(np.float32)
    padded = np.pad(y, ((0, 0), (0, 5), (0, 9)), constant_values=3.0)
    inside = np.pad(np.ones((1, *size), np.float32), ((0, 0), (0, 5), (0, 9)))
    with torch.inference_mode():
        s, there = network(torch.from_numpy(padded)[None], torch.from_numpy(inside)[None])
    wanted = made.of(y)
    _, rows, columns = wanted.shape
    assert np.allclose(s[0, :, :rows, :columns].numpy(), wanted, atol=1e-5)
    assert there[0, 0, :rows, :columns].min() == 1
    assert there.sum() == rows * columns
    assert (s * (1 - there)).abs().max() == 0
