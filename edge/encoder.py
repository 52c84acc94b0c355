"""A picture -> a machine layer: scale, network, gain and round, entropy code.

    pixels ──scale to `side`, pad to 16──> x ──encoder.onnx──> y ──* gain(quality), round──>
    integers ──common/codec.py──> bytes

The network runs once a picture; every quality, and a search for a size in bytes, starts from y.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image

from common.bitstream import SIDE_STEP_PX
from common.codec import MachineCodec
from common.errors import BadPicture, BadSettings
from common.geometry import MAX_SIDE_PX, STRIDE, working_size
from edge.pictures import Picture, scale
from edge.rate import Plan
from edge.weights import EdgeWeights

_GREY = 128  # what the networks saw beyond a picture's edge in training
_LARGEST_INTEGER = 32767
_FIRST_STEP = 8  # of 255 in quality, down from a layer that was too large


@dataclass(frozen=True)
class Analysis:
    """y: M h w float32, unit variance per channel; width, height of the source; side in pixels."""

    y: NDArray[np.float32]
    width: int
    height: int
    side: int


@dataclass(frozen=True, slots=True)
class Coded:
    """A machine layer and the quality 0..255 that it has."""

    data: bytes
    quality: int


class Encoder:
    """The edge's half of the machine codec. Not thread-safe.

    threads  1 or more; ONNX Runtime's own pool, which sleeps between pictures
    side     longer side of the working picture in pixels, a multiple of 32, 32..4096
    """

    def __init__(self, weights: EdgeWeights, *, threads: int = 2, side: int = 640) -> None:
        if side % SIDE_STEP_PX or not SIDE_STEP_PX <= side <= MAX_SIDE_PX:
            raise BadSettings(f"side {side}: a multiple of {SIDE_STEP_PX} up to {MAX_SIDE_PX}")
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_cpu_mem_arena = False  # an arena keeps the largest picture's memory for good
        providers = ["CPUExecutionProvider"]
        self._network = ort.InferenceSession(weights.encoder, options, providers=providers)
        self._log_gain = weights.log_gain
        self._codec = MachineCodec(weights.entropy, weights.manifest.model_id)
        self._side = side

    @property
    def model_id(self) -> int:
        return self._codec.model_id

    @property
    def side(self) -> int:
        return self._side

    def analyse(self, picture: Picture) -> Analysis:
        """Runs the network. Raises BadPicture for pixels of another shape, type or size."""
        pixels = picture.pixels
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
            raise BadPicture(f"not H x W x 3 bytes: {pixels.shape} {pixels.dtype}")
        size = working_size(picture.width, picture.height, self._side)
        if size != (pixels.shape[1], pixels.shape[0]):
            pixels = np.asarray(scale(Image.fromarray(pixels), size))
        bottom, right = -size[1] % STRIDE, -size[0] % STRIDE
        x = np.pad(pixels, ((0, bottom), (0, right), (0, 0)), constant_values=_GREY)
        (y,) = self._network.run(["y"], {"x": x[None]})
        return Analysis(y[0], picture.width, picture.height, self._side)

    def layer(self, analysis: Analysis, quality: float, profile: int = 0) -> bytes:
        """The machine layer's bytes at quality 0..1 (256 steps of it)."""
        if not 0.0 <= quality <= 1.0:
            raise BadSettings(f"quality {quality} is outside 0..1")
        return self._at(analysis, round(quality * 255), profile)

    def layer_within(self, analysis: Analysis, most: int, profile: int = 0) -> bytes:
        """The best layer of at most `most` bytes; where even quality 0 is larger, quality 0."""
        low, best = 0, self._at(analysis, 0, profile)
        high = 256
        while high - low > 1:
            middle = (low + high) // 2
            tried = self._at(analysis, middle, profile)
            if len(tried) <= most:
                low, best = middle, tried
            else:
                high = middle
        return best

    def coded(self, analysis: Analysis, plan: Plan, profile: int = 0) -> Coded:
        """A layer as planned: the first that fits, from `best` down in growing steps.

        Coarser than `layer_within`, and mostly done at the first try: rate control follows the
        scene by small steps of `best`.
        """
        quality, step = plan.best, _FIRST_STEP
        data = self._at(analysis, quality, profile)
        while plan.most is not None and len(data) > plan.most and quality > plan.least:
            quality, step = max(quality - step, plan.least), 2 * step
            data = self._at(analysis, quality, profile)
        return Coded(data, quality)

    def integers(self, analysis: Analysis, quality: float, profile: int = 0) -> NDArray[np.int16]:
        """What `layer` codes at this quality: M h w."""
        return quantise(analysis.y, self._log_gain[profile], round(quality * 255))

    def _at(self, analysis: Analysis, quality: int, profile: int) -> bytes:
        integers = quantise(analysis.y, self._log_gain[profile], quality)
        return self._codec.encode(
            integers,
            width=analysis.width,
            height=analysis.height,
            side=analysis.side,
            quality=quality,
            profile=profile,
        )


def quantise(
    y: NDArray[np.float32], log_gain: NDArray[np.float32], quality: int
) -> NDArray[np.int16]:
    """y M h w times the gain at quality 0..255, rounded; log_gain is levels x M.

    Between levels the gain is interpolated exponentially (Cui et al. 2021, eq. 5).
    """
    at = quality / 255 * (len(log_gain) - 1)
    low = min(int(at), len(log_gain) - 2)
    part = np.float32(at - low)
    gain = np.exp(log_gain[low] * (1 - part) + log_gain[low + 1] * part)
    scaled = np.rint(y * gain[:, None, None]).clip(-_LARGEST_INTEGER, _LARGEST_INTEGER)
    integers: NDArray[np.int16] = scaled.astype(np.int16)
    return integers
