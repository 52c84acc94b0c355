"""A network in int8, made after training: the same convolutions on 8-bit integers.

    encoder.onnx + pictures ──ranges──> QuantizeLinear/DequantizeLinear around each operation

The form (QDQ) is ONNX's own; ONNX Runtime and OpenVINO turn it into integer kernels. What was
chosen, each measured against its neighbours (docs/decisions.md):

weights      int8 per output channel, in 7 bits: two products with a byte then fit into 16 bits,
             where processors without VNNI add them up, so the result is the same on all of them
activations  uint8 per tensor, from the mean of the pictures' extremes: what is rarer is clipped,
             and the usual values keep more steps
first layer  on blocks of pixels, fed with the picture's own bytes (blocks.py)
last layers  float: the steps of an 8-bit latent would be as coarse as its integers are
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from train import blocks
from train.data import Pixels
from train.evaluate import pad


def int8(network: bytes, pictures: Iterable[Pixels]) -> bytes:
    """The ONNX network x uint8 1 H W 3 -> float outputs, with its convolutions in int8.

    pictures  H W 3 uint8, about a hundred of what it will see: they set the ranges

    Raises ValueError for no pictures.
    """
    reader = _Pictures(pictures)
    model = onnx.load_from_string(network)
    scale = blocks.begin(model)
    with tempfile.TemporaryDirectory() as folder:  # the quantiser works on files
        given, ready, done = (Path(folder) / f"{name}.onnx" for name in ("given", "ready", "done"))
        onnx.save(model, given)
        quant_pre_process(given, ready, skip_symbolic_shape=True)
        quantize_static(
            ready,
            done,
            reader,
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_exclude=last_convolutions(onnx.load(ready)),
            extra_options={"CalibMovingAverage": True},
        )
        model = onnx.load(done)
    if scale is not None:
        blocks.feed_bytes(model, scale)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def last_convolutions(model: onnx.ModelProto) -> list[str]:
    """Names of the convolutions with no other behind them."""
    makers = {name: node for node in model.graph.node for name in node.output}
    seen: set[str] = set()
    found: list[str] = []
    waiting = [output.name for output in model.graph.output]
    while waiting:
        name = waiting.pop()
        if name in seen or name not in makers:
            continue
        seen.add(name)
        node = makers[name]
        if node.op_type == "Conv":
            found.append(node.name)
        else:
            waiting += node.input
    return found


class _Pictures(CalibrationDataReader):  # type: ignore[misc]  # published without types
    """Feeds pictures one by one, padded to the network's stride."""

    def __init__(self, pictures: Iterable[Pixels]) -> None:
        self._left: Iterator[Pixels] = iter(pictures)
        self._count = 0

    def get_next(self) -> dict[str, Pixels] | None:
        """The next picture, or None after the last."""
        for picture in self._left:
            self._count += 1
            return {"x": pad(picture)[None]}
        if not self._count:
            raise ValueError("no pictures to take ranges from")
        return None
