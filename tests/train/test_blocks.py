from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.weights import photograph
from train.blocks import begin
from train.data import Pixels
from train.int8 import int8

RNG = np.random.default_rng(4)
FIRST = [("Div", 255.0), ("Sub", 0.5)]


def network(
    first: list[tuple[str, float]] = FIRST, *, kernel: int = 5, stride: int = 2, bias: bool = True
) -> onnx.ModelProto:
    """x uint8 1 H W 3 -> what `first` says -> two convolutions."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["v0"], to=TensorProto.FLOAT),
    ]
    tensors = {
        "first": RNG.normal(0, 0.2, (8, 3, kernel, kernel)),
        "bias": RNG.normal(0, 0.1, 8),
        "last": RNG.normal(0, 0.2, (4, 8, 1, 1)),
    }
    for i, (kind, value) in enumerate(first):
        tensors[f"c{i}"] = np.array(value)
        nodes.append(helper.make_node(kind, [f"v{i}", f"c{i}"], [f"v{i + 1}"]))
    inputs = [f"v{len(first)}", "first", "bias"][: 3 if bias else 2]
    pads = [kernel // 2] * 4
    nodes += [
        helper.make_node("Conv", inputs, ["a"], name="first", strides=[stride] * 2, pads=pads),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "last"], ["y"], name="last"),
    ]
    graph = helper.make_graph(
        nodes,
        "begins",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, "H", "W", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, "h", "w"])],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def run(model: onnx.ModelProto, x: Pixels) -> Any:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x[None]})[0][0]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("first", [FIRST, [("Sub", 128.0), ("Mul", 0.01)], []])
def test_it_computes_what_it_did(first: list[tuple[str, float]], bias: bool) -> None:
    model = network(first, bias=bias)
    before = {size: run(model, x) for size, x in pictures().items()}
    scale = begin(model)
    assert scale is not None
    assert scale.zero == (0 if not first else 128)
    onnx.checker.check_model(model)
    for size, x in pictures().items():
        after, wanted = run(model, x)[:, 1:-1, 1:-1], before[size][:, 1:-1, 1:-1]
        np.testing.assert_allclose(after, wanted, atol=1e-4 * np.abs(wanted).max())


def test_half_a_byte_at_the_edges_is_all_that_changes() -> None:
    model = network()
    x = pictures()[64, 96]
    wanted = run(model, x)
    begin(model)
    off = np.abs(run(model, x) - wanted)
    assert 0 < off.max() < 0.03 * wanted.std()


@pytest.mark.parametrize(
    "other",
    [
        network(kernel=3),
        network(stride=1),
        network([("Div", 255.0), ("Pow", 2.0)]),
    ],
)
def test_another_network_stays_as_it_is(other: onnx.ModelProto) -> None:
    before = other.SerializeToString()
    assert begin(other) is None
    assert other.SerializeToString() == before


def test_in_int8_it_is_fed_with_bytes() -> None:
    model = network()
    seen = list(pictures().values())
    made = onnx.load_from_string(int8(model.SerializeToString(), seen))
    kinds = [node.op_type for node in made.graph.node]
    assert not {"Cast", "Sub", "Div"} & set(kinds)
    for x in seen:
        y, wanted = run(made, x), run(model, x)
        assert np.square(y - wanted).mean() < 1e-3 * wanted.var()  # 30 dB


def pictures() -> dict[tuple[int, int], Pixels]:
    return {size: photograph(np.random.default_rng(5), *size) for size in ((64, 96), (32, 160))}
