"""The pixel detector: the codec's own trunk and detector without a bottleneck, run on pictures.

It is what a cloud would run behind an image codec, trained on the same data by `train pixel`.
Networks run in bfloat16 where torch's autocast says so, whatever codec the pictures went through.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from bench.accuracy.matching import Found
from cloud.models.blocks import channels_last
from cloud.models.detector import Detector, DetectorConfig, select
from cloud.models.machine import Encoder, MachineConfig
from common.geometry import working_size
from train.codecs import resized
from train.data import Pixels
from train.evaluate import to_input

MIN_SCORE = 0.005
_BATCH = 8


class PixelDetector:
    """Raises FileNotFoundError where `run`, a folder of `train pixel`, holds no checkpoint."""

    def __init__(self, run: Path) -> None:
        path = run / "last.pt"
        if not path.exists():
            raise FileNotFoundError(f"{path}: make it with `python -m train pixel`")
        data = path.read_bytes()
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        encoder = Encoder(MachineConfig(**state["machine"]))
        detector = Detector(DetectorConfig(**state["detector"]))
        for name, part in (("machine.encoder.", encoder), ("detector.", detector)):
            weights = {k.removeprefix(name): v for k, v in state["average"].items()}
            part.load_state_dict({k: weights[k] for k in part.state_dict()})
        self.network = channels_last(torch.nn.Sequential(encoder, detector).eval())
        self.digest = hashlib.sha256(data).hexdigest()
        self.classes = detector.config.classes
        self.about = {"steps": state["step"], "minutes": round(state["elapsed"] / 60)}

    def detect(self, pictures: Sequence[Pixels], width: int, height: int, side: int) -> list[Found]:
        """Boxes, in pixels of the source of width x height, on copies of it in any size.

        side  longer side in pixels at which the detector looks; smaller sources stay as they are
        """
        wide, high = working_size(width, height, side)
        x = torch.cat([to_input(resized(picture, wide, high)) for picture in pictures])
        limits = np.array([width, height, width, height], np.float32)
        found = []
        for batch in x.split(_BATCH):
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                logits, boxes = self.network(batch.contiguous(memory_format=torch.channels_last))
            for some, where in zip(logits.float(), boxes.float(), strict=True):
                scores, labels, corners = select(some, where, min_score=MIN_SCORE)
                corners = (corners * np.float32(width / wide)).clip(0, limits)
                found.append(np.column_stack([scores, labels, corners]).astype(np.float32))
        return found
