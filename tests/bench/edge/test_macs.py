from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bench.edge.macs import macs


def graph(kind: str = "Conv", **more: Any) -> bytes:
    weight = numpy_helper.from_array(np.zeros((8, 4, 3, 3), np.float32), "w")
    nodes = [
        helper.make_node("Transpose", ["x"], ["p"], perm=[0, 3, 1, 2]),
        helper.make_node(kind, ["p", "w"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2], **more),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, "H", "W", "C"])
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, "h", "w"])
    model = helper.make_model(helper.make_graph(nodes, "one", [given], [made], [weight]))
    return onnx.shape_inference.infer_shapes(model).SerializeToString()


def test_a_convolution() -> None:
    assert macs(graph(), (1, 32, 48, 4)) == 16 * 24 * 8 * 4 * 3 * 3
    assert macs(graph(), (1, 64, 48, 4)) == 32 * 24 * 8 * 4 * 3 * 3


def test_a_grouped_one_sees_its_group_only() -> None:
    assert macs(graph(group=2), (1, 32, 48, 8)) == 16 * 24 * 8 * 4 * 3 * 3


def test_what_is_not_counted_is_said() -> None:
    with pytest.raises(ValueError, match="ConvTranspose is not counted"):
        macs(graph("ConvTranspose"), (1, 32, 48, 8))


def test_a_size_that_cannot_be_told() -> None:
    model = onnx.load_from_string(graph())
    model.graph.node[0].CopyFrom(helper.make_node("Reshape", ["x", "shape"], ["p"]))
    model.graph.input.append(helper.make_tensor_value_info("shape", TensorProto.INT64, [4]))
    with pytest.raises(ValueError, match="cannot be told"):
        macs(model.SerializeToString(), (1, 32, 48, 4))
