from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.weights import photograph
from train.data import Pixels
from train.int8 import int8, last_convolutions

RNG = np.random.default_rng(3)


def network(*, heads: int = 1) -> onnx.ModelProto:
    """Two convolutions in a row and `heads` behind them: x uint8 1 H W 3 -> y0, y1, ... at 1/16."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["floats"], to=TensorProto.FLOAT),
    ]
    weights, outputs = [], []

    def convolution(name: str, source: str, c_in: int, c_out: int) -> None:
        values = RNG.normal(0, 0.3 / np.sqrt(c_in * 16), (c_out, c_in, 4, 4)).astype(np.float32)
        weights.append(numpy_helper.from_array(values, f"{name}_weight"))
        weights.append(numpy_helper.from_array(np.zeros(c_out, np.float32), f"{name}_bias"))
        inputs = [source, f"{name}_weight", f"{name}_bias"]
        nodes.append(helper.make_node("Conv", inputs, [name], name=name, strides=[4, 4]))

    convolution("first", "floats", 3, 24)
    nodes.append(helper.make_node("Relu", ["first"], ["active"]))
    for i in range(heads):
        convolution(f"head{i}", "active", 24, 16)
        nodes.append(helper.make_node("Identity", [f"head{i}"], [f"y{i}"]))
        outputs.append(helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, [1, 16, "h", "w"]))
    given = helper.make_tensor_value_info("x", TensorProto.UINT8, [1, "H", "W", 3])
    graph = helper.make_graph(nodes, "two", [given], outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def run(content: bytes, x: Pixels) -> Any:
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x[None]})[0][0]


def test_int8_computes_what_float_does() -> None:
    model = network()
    pictures = [photograph(RNG, 96, 130) for _ in range(4)]
    content = int8(model.SerializeToString(), pictures)
    for size in ((96, 128), (64, 208)):
        x = photograph(RNG, *size)
        y, wanted = run(content, x), run(model.SerializeToString(), x)
        assert y.shape == wanted.shape
        assert np.square(y - wanted).mean() < 1e-3 * wanted.var()  # 30 dB

    made = onnx.load_from_string(content)
    tensors = {t.name: numpy_helper.to_array(t) for t in made.graph.initializer}
    first = next(v for v in tensors.values() if v.shape == (24, 3, 4, 4))
    assert first.dtype == np.int8
    assert np.abs(first.astype(int)).max() <= 64, "two products with a byte fit into 16 bits"
    assert next(v for v in tensors.values() if v.shape == (16, 24, 4, 4)).dtype == np.float32


def test_the_last_convolutions_stay_float() -> None:
    assert last_convolutions(network()) == ["head0"]
    assert sorted(last_convolutions(network(heads=3))) == ["head0", "head1", "head2"]


def test_without_pictures_there_are_no_ranges() -> None:
    with pytest.raises(ValueError, match="no pictures"):
        int8(network().SerializeToString(), [])
