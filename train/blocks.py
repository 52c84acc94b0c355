"""How an int8 network begins: with a camera's bytes, in blocks of 2 x 2 pixels.

    x uint8 1 H W 3 ──rows in pairs──> uint8 1 H/2 W/2 12 ──> convolution k/2+1 x k/2+1, stride 1

Integer kernels take their inputs four channels at a time, and like many: a convolution of stride 2
on three channels costs them as much as three of the usual ones. On blocks it is the same sum. And
its inputs are integers already: what a network does to its bytes first, (x - zero) * step, is just
what a zero point and a scale say, so nothing is quantised there that could lose a bit.

`begin` is for the float network, before it is quantised, `feed_bytes` for what became of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Floats = NDArray[np.float32]

_AFFINE: dict[str, Callable[[float, float, float], tuple[float, float]]] = {
    "Add": lambda step, shift, c: (step, shift + c),
    "Sub": lambda step, shift, c: (step, shift - c),
    "Mul": lambda step, shift, c: (step * c, shift * c),
    "Div": lambda step, shift, c: (step / c, shift / c),
}
_BLOCKS = "blocks"


@dataclass(frozen=True, slots=True)
class Scale:
    """What a network's first convolution is given of a byte: (byte - zero) * step."""

    step: float
    zero: int


def begin(model: onnx.ModelProto) -> Scale | None:
    """Rewrites a float network x uint8 1 H W 3 that begins with a convolution of stride 2.

    Before the convolution may stand a transposition, a cast, and sums and products with constants.
    Another network stays as it is, and None is returned.
    """
    graph = model.graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    before: list[onnx.NodeProto] = []
    step, shift, at = 1.0, 0.0, "x"
    while True:
        users = [node for node in graph.node if at in node.input]
        if len(users) != 1:
            return None
        (node,) = users
        if node.op_type == "Conv":
            break
        if node.op_type in _AFFINE:
            value = constants.get(node.input[1])
            if value is None or value.size != 1:
                return None
            step, shift = _AFFINE[node.op_type](step, shift, float(value.item()))
        elif node.op_type not in ("Cast", "Transpose"):
            return None
        before.append(node)
        at = node.output[0]
    settings = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    weight: Floats = constants[node.input[1]]
    kernel, edge = weight.shape[2], weight.shape[2] // 4
    if (
        weight.shape[1:] != (3, kernel, kernel)
        or kernel % 4 != 1
        or settings.get("strides") != [2, 2]
        or settings.get("pads") != [2 * edge] * 4
    ):
        return None
    zero = round(-shift / step)
    bias = constants[node.input[2]] if len(node.input) > 2 else np.zeros(len(weight), np.float32)
    bias = bias + (shift + zero * step) * weight.sum((1, 2, 3))  # half a byte, where it is 127.5
    added = {
        f"{_BLOCKS}_weight": on_blocks(weight),
        f"{_BLOCKS}_bias": bias.astype(np.float32),
        f"{_BLOCKS}_zero": np.float32(zero),
        f"{_BLOCKS}_steps": np.float32(1 / step),
        f"{_BLOCKS}_shape": np.array([0, 0, -1, 6]),
        f"{_BLOCKS}_0": np.array([0]),
        f"{_BLOCKS}_1": np.array([1]),
        f"{_BLOCKS}_2": np.array([2]),
        f"{_BLOCKS}_end": np.array([np.iinfo(np.int32).max]),
    }
    graph.initializer.extend(numpy_helper.from_array(np.asarray(v), k) for k, v in added.items())
    nodes = [*_rows("upper", 0), *_rows("lower", 1)]
    nodes += [
        helper.make_node("Concat", ["upper_pairs", "lower_pairs"], ["pairs"], axis=3),
        helper.make_node("Transpose", ["pairs"], [_BLOCKS], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", [_BLOCKS], ["blocks_float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Sub", ["blocks_float", f"{_BLOCKS}_zero"], ["blocks_zeroed"]),
        helper.make_node("Div", ["blocks_zeroed", f"{_BLOCKS}_steps"], ["blocks_scaled"]),
    ]
    new = helper.make_node(
        "Conv",
        ["blocks_scaled", f"{_BLOCKS}_weight", f"{_BLOCKS}_bias"],
        list(node.output),
        name=node.name,
        pads=[edge] * 4,
    )
    rest = [n for n in graph.node if n not in before and n != node]
    del graph.node[:]
    graph.node.extend([*nodes, new, *rest])
    _sweep(graph)
    return Scale(step, zero)


def on_blocks(weight: Floats) -> Floats:
    """A kernel O 3 k k of stride 2, k = 4 n + 1 -> O 12 2n+1 2n+1 of stride 1 on blocks.

    Channels of a block: row, column, colour. The block's last row and column of a kernel are 0.
    """
    out, colours, k, _ = weight.shape
    blocks = (k + 1) // 2
    even = np.pad(weight, ((0, 0), (0, 0), (0, 1), (0, 1)))
    parts = even.reshape(out, colours, blocks, 2, blocks, 2)
    return np.ascontiguousarray(parts.transpose(0, 3, 5, 1, 2, 4).reshape(out, 12, blocks, blocks))


def feed_bytes(model: onnx.ModelProto, scale: Scale) -> None:
    """Gives the quantised network of `begin`, which returned `scale`, its bytes as they are."""
    graph = model.graph
    constants = {t.name: t for t in graph.initializer}
    at, dropped = _BLOCKS, []
    while True:
        (node,) = (n for n in graph.node if at in n.input)
        dropped.append(node)
        at = node.output[0]
        if node.op_type == "QuantizeLinear":
            break
    exact = {node.input[1]: np.float32(scale.step), node.input[2]: np.uint8(scale.zero)}
    for name, value in exact.items():
        constants[name].CopyFrom(numpy_helper.from_array(np.asarray(value), name))
    for user in graph.node:
        for i, name in enumerate(user.input):
            if name == at:
                user.input[i] = _BLOCKS
    for node in dropped:
        graph.node.remove(node)
    _sweep(graph)


def _sweep(graph: onnx.GraphProto) -> None:
    """Drops the constants that nobody reads any more."""
    read = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _rows(name: str, start: int) -> list[onnx.NodeProto]:
    """Every other row, its pixels in pairs: 1 H W 3 -> 1 H/2 W/2 6."""
    ends = [f"{_BLOCKS}_{part}" for part in (start, "end", 1, 2)]  # from, to, axis, in steps of
    return [
        helper.make_node("Slice", ["x", *ends], [f"{name}_rows"]),
        helper.make_node("Reshape", [f"{name}_rows", f"{_BLOCKS}_shape"], [f"{name}_pairs"]),
    ]
