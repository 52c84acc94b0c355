"""Multiplications of a network, counted from its ONNX graph."""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx
from onnx import ModelProto, shape_inference

_UNCOUNTED = {"Gemm", "MatMul", "ConvTranspose", "Einsum", "LSTM", "GRU"}


def macs(network: bytes, shape: Sequence[int]) -> int:
    """Multiply-accumulates of all convolutions, for one input of this shape.

    What is counted is what the graph asks for; a runtime that pads channels does more. Raises
    ValueError for operations that multiply in other ways, and for sizes that cannot be told.
    """
    model = onnx.load_from_string(network)
    if others := {node.op_type for node in model.graph.node} & _UNCOUNTED:
        raise ValueError(f"{', '.join(sorted(others))} is not counted")
    shapes = _shapes(model, shape)
    total = 0
    for node in model.graph.node:
        if node.op_type == "Conv":
            _, *kernel = shapes[node.input[1]]  # O, I / groups, kernel rows and columns
            total += math.prod(shapes[node.output[0]]) * math.prod(kernel)
    return total


def _shapes(model: ModelProto, shape: Sequence[int]) -> dict[str, list[int]]:
    """Every tensor's shape."""
    del model.graph.value_info[:]  # what was inferred for any size
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    dims = model.graph.input[0].type.tensor_type.shape.dim
    for dim, length in zip(dims, shape, strict=True):
        dim.dim_value = length
    graph = shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {w.name: list(w.dims) for w in graph.initializer}
    for value in [*graph.value_info, *graph.output]:
        dims = value.type.tensor_type.shape.dim
        shapes[value.name] = [dim.dim_value for dim in dims]
    for node in graph.node:
        if node.op_type == "Conv" and not math.prod(shapes.get(node.output[0], [0])):
            raise ValueError(f"{node.name}: the size of its output cannot be told")
    return shapes
