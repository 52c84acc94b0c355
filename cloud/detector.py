"""Machine layers -> boxes: entropy decode, inverse gain, detector, suppression. Synchronous.

    bytes ──MachineCodec──> integers ──* inverse gain(quality)──> y_hat ──Detector──> boxes

Layers of one latent size share a batch. No pixel is made on the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cloud.models.detector import select
from cloud.weights import CloudWeights
from common.bitstream import Header
from common.errors import ModelMismatch
from common.geometry import working_size
from common.types import Box

_FAR = 1e5  # beyond any picture, and far enough from float32's end to multiply two


@dataclass(frozen=True)
class Detection:
    """header of the layer; boxes by falling score, in pixels of the source picture."""

    header: Header
    boxes: tuple[Box, ...]


class LayerDetector:
    """Detects on layers. One call at a time; `threads` is torch's own pool."""

    def __init__(self, weights: CloudWeights, *, threads: int = 2, min_score: float = 0.25) -> None:
        torch.set_num_threads(threads)
        self._weights = weights
        self._min_score = min_score

    @property
    def model_id(self) -> int:
        return self._weights.manifest.model_id

    @property
    def model(self) -> str:
        """Name and id, for people and for the store."""
        return f"{self._weights.manifest.name}-{self.model_id:04x}"

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the detector's order."""
        return self._weights.manifest.labels

    def detect(self, layer: bytes) -> Detection:
        """One layer. Raises CorruptStream, ModelMismatch."""
        return self.detect_read([self.read(layer)])[0]

    def read(self, layer: bytes) -> tuple[Header, NDArray[np.int16]]:
        """The layer's header and integers M h w. Raises CorruptStream, ModelMismatch."""
        self.inspect(layer)
        return self._weights.codec.decode(layer)

    def inspect(self, layer: bytes) -> None:
        """Judges a layer by its header and checksum. Raises CorruptStream, ModelMismatch."""
        header, _ = self._weights.codec.open(layer)
        if header.profile >= len(self._weights.log_inverse):
            raise ModelMismatch(f"model {self.model} has no task profile {header.profile}")

    def detect_read(
        self, layers: Sequence[tuple[Header, NDArray[np.int16]]]
    ) -> tuple[Detection, ...]:
        """Layers already read, in the order given; those of one size run as one batch."""
        sizes: dict[tuple[int, ...], list[int]] = {}
        for i, (_, integers) in enumerate(layers):
            sizes.setdefault(integers.shape, []).append(i)
        found: dict[int, Detection] = {}
        for members in sizes.values():
            y_hat = torch.stack([self._y_hat(*layers[i]) for i in members])
            with torch.inference_mode():
                logits, boxes = self._weights.detector(
                    y_hat.contiguous(memory_format=torch.channels_last)
                )
            for row, i in enumerate(members):
                header = layers[i][0]
                found[i] = Detection(header, self._boxes(header, logits[row], boxes[row]))
        return tuple(found[i] for i in range(len(layers)))

    def _y_hat(self, header: Header, integers: NDArray[np.int16]) -> Tensor:
        table = self._weights.log_inverse[header.profile]
        at = header.quality / 255 * (len(table) - 1)
        low = min(int(at), len(table) - 2)
        inverse = torch.lerp(table[low], table[low + 1], at - low).exp()
        return torch.from_numpy(integers.astype(np.float32)) * inverse[:, None, None]

    def _boxes(self, header: Header, logits: Tensor, boxes: Tensor) -> tuple[Box, ...]:
        # Integers that no encoder makes can drive the network to infinity: nothing is there.
        logits = logits.nan_to_num(nan=-_FAR, posinf=_FAR, neginf=-_FAR)
        nowhere = ~boxes.isfinite().all(1, keepdim=True)
        logits = logits.masked_fill(nowhere, -_FAR)
        boxes = boxes.masked_fill(nowhere, 0.0).clamp(-_FAR, _FAR)
        scores, labels, corners = select(logits, boxes, min_score=self._min_score)
        width, _ = working_size(header.width, header.height, header.side)
        limits = np.array([header.width, header.height] * 2, np.float32)
        corners = (corners * (header.width / width)).clip(0, limits)
        names = self._weights.manifest.labels
        return tuple(
            Box(names[label], float(score), *(round(v, 1) for v in corner))
            for score, label, corner in zip(scores, labels, corners.tolist(), strict=True)
        )
