from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.accuracy.boxes_sent import pack, unpack, unwire, wire

LABELS = ("person", "car", "motorcycle", "bus", "truck")


def boxes(rng, count, width=640, height=375):
    x, y = np.sort(rng.uniform(0, width, (count, 2))), np.sort(rng.uniform(0, height, (count, 2)))
    score, label = rng.random(count), rng.integers(0, len(LABELS), count)
    return np.column_stack([score, label, x[:, 0], y[:, 0], x[:, 1], y[:, 1]]).astype(np.float32)


@pytest.mark.parametrize("count", [0, 1, 7, 100])
def test_packed_boxes_come_out_to_the_pixel(count):
    found = boxes(np.random.default_rng(count), count)
    data = pack(found, LABELS, 640, 375)
    assert len(data) == -(-(33 + count * (3 + 6 + 2 * 10 + 2 * 9)) // 8)
    known = unpack(data, LABELS)
    assert known.shape == (count, 6)
    assert (known[:, 1] == found[:, 1]).all()
    assert np.abs(known[:, 2:] - found[:, 2:]).max(initial=0) <= 0.5
    assert np.abs(known[:, 0] - found[:, 0]).max(initial=0) <= 0.5 / 63 + 1e-6


@given(st.integers(1, 4096), st.integers(1, 4096), st.integers(0, 127), st.integers(0, 99))
def test_any_size_of_picture_packs(width, height, count, seed):
    found = boxes(np.random.default_rng(seed), count, width, height)
    assert np.abs(unpack(pack(found, LABELS, width, height), LABELS) - found).max(initial=0) <= 0.5


def test_corners_on_the_far_edge_fit():
    found = np.array([[1.0, 4, 0, 0, 640, 375]], np.float32)
    assert (unpack(pack(found, LABELS, 640, 375), LABELS) == found).all()


def test_the_wire_message_keeps_everything():
    found = boxes(np.random.default_rng(1), 5)
    data = wire(found, LABELS, 640, 375)
    assert (unwire(data, LABELS) == found).all()
    assert len(unwire(wire(found[:0], LABELS, 640, 375), LABELS)) == 0
    assert len(pack(found, LABELS, 640, 375)) < len(data) / 4
