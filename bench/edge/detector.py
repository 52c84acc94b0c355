"""The opponent that needs no uplink for pictures: the whole pixel detector on the camera.

The same trunk and detector as ours without a bottleneck, on the runtime that our encoder has.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime as ort
import onnxslim
import torch
from torch import Tensor, nn

from bench.accuracy.pixel import PixelDetector
from cloud.models.detector import select
from edge.coding.network import session_options
from train.data import Pixels

_MIN_SCORE = 0.3  # boxes below it are not worth sending: the server's own default


class EdgeDetector:
    """network: as `detector_onnx` gives it; threads: of ONNX Runtime."""

    def __init__(self, network: bytes, threads: int) -> None:
        self._network = ort.InferenceSession(
            network, session_options(threads), providers=["CPUExecutionProvider"]
        )

    def infer(self, x: Pixels) -> tuple[Tensor, Tensor]:
        """Logits N C and boxes N 4 of a picture of the network's size."""
        logits, boxes = self._network.run(["logits", "boxes"], {"x": x[None]})
        return torch.from_numpy(logits[0]), torch.from_numpy(boxes[0])

    def boxes(self, logits: Tensor, boxes: Tensor) -> int:
        """How many boxes are left to be sent."""
        return len(select(logits, boxes, min_score=_MIN_SCORE)[0])


def detector_onnx(run: Path, height: int, width: int) -> bytes:
    """x uint8 1 H W 3 -> logits 1 N C, boxes 1 N 4, for pictures of this one size."""
    program = torch.onnx.export(
        _Camera(PixelDetector(run).network).eval(),
        (torch.zeros(1, height, width, 3, dtype=torch.uint8),),
        dynamo=True,
        input_names=["x"],
        output_names=["logits", "boxes"],
        verbose=False,
    )
    if program is None:
        raise RuntimeError("the detector was not exported")
    content: bytes = onnxslim.slim(program.model_proto).SerializeToString()
    onnx.checker.check_model(content)
    return content


class _Camera(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits, boxes = self.network(x.permute(0, 3, 1, 2).float() / 255)
        return logits, boxes
