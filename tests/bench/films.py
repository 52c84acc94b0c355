"""A short film on disk, and an untrained pixel detector that is sure of what it sees."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import av
import numpy as np
import torch

from cloud.models.detector import DetectorConfig
from cloud.models.machine import MachineConfig
from tests.weights import film
from train.machine import Network


def make_film(path: Path, frames: int, width: int = 192, height: int = 144) -> Path:
    """A lossless video at 10 frames a second of a thing that goes through a still scene."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", 10)
        stream.width, stream.height, stream.pix_fmt = width, height, "bgr0"
        for pixels in film(np.random.default_rng(3), frames, height, width):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def make_run(folder: Path, classes: int = 5) -> Path:
    """A folder as `train pixel` leaves it."""
    machine = MachineConfig(widths=(8, 8, 8, 8), depths=(1, 1, 1), latent=16)
    detector = DetectorConfig(latent=16, classes=classes, widths=(8, 16, 16), head=8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Network(machine, detector)
    for name, parameter in network.named_parameters():
        if name.endswith("score.1.bias"):
            torch.nn.init.zeros_(parameter)
    folder.mkdir()
    state = {"average": network.state_dict(), "step": 0, "elapsed": 0.0}
    configs = {"machine": asdict(machine), "detector": asdict(detector)}
    torch.save(state | configs, folder / "last.pt")
    return folder
