"""Machine layers -> boxes: entropy decode, inverse gain, detector, suppression. Synchronous.

    bytes ──MachineCodec──> integers ──* inverse gain(quality)──┬─> y_hat ──Detector──> boxes
                                                    recognise:  └─> s_hat ──Recogniser──> presences

Layers of one profile and size share a batch. No pixel is made on the way. Who reads inter layers
knows the ones before them (cloud/chains.py).
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
from common.bitstream import DETECT, Header, Kind, read_header
from common.codec import Coded, MachineCodec
from common.errors import ModelMismatch
from common.geometry import working_size
from common.types import Box, Presence

_FAR = 1e5  # beyond any picture, and far enough from float32's end to multiply two


@dataclass(frozen=True)
class Detection:
    """What a layer tells.

    header     of the layer
    boxes      by falling score, in pixels of the source picture; none from a recognise layer
    presences  by falling score; none from a detect layer
    """

    header: Header
    boxes: tuple[Box, ...]
    presences: tuple[Presence, ...] = ()


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

    @property
    def profiles(self) -> tuple[str, ...]:
        """Task profile names by their number in a header."""
        return self._weights.manifest.profiles

    @property
    def codec(self) -> MachineCodec:
        return self._weights.codec

    def detect(self, layer: bytes, last: Coded | None = None) -> Detection:
        """One layer, as `read` takes it."""
        return self.detect_read([self.read(layer, last)])[0]

    def read(self, layer: bytes, last: Coded | None = None) -> Coded:
        """What is in a layer; `last`, the layer before it, is for inter layers.

        Raises CorruptStream, ModelMismatch.
        """
        self.inspect(layer)
        return self.codec.decode(layer, last)

    def inspect(self, layer: bytes) -> None:
        """Judges a layer by itself, undecoded. Raises CorruptStream, ModelMismatch."""
        if self.codec.inspect(layer) is Kind.MACHINE_INTRA:  # an inter layer has no profile
            profile = read_header(layer).profile
            if profile >= len(self._weights.log_inverse):
                raise ModelMismatch(f"model {self.model} has no task profile {profile}")

    def detect_read(self, layers: Sequence[Coded]) -> tuple[Detection, ...]:
        """Layers already read, in the order given; those of one kind and size run as one batch."""
        alike: dict[tuple[int, ...], list[int]] = {}
        for i, layer in enumerate(layers):
            alike.setdefault((layer.header.profile, *layer.y.shape), []).append(i)
        found: dict[int, Detection] = {}
        for (profile, *_), members in alike.items():
            headers = [layers[i].header for i in members]
            y_hat = torch.stack([self._y_hat(layers[i].header, layers[i].y) for i in members])
            look = self._detect if profile == DETECT else self._recognise
            with torch.inference_mode():
                seen = look(headers, y_hat.contiguous(memory_format=torch.channels_last))
            found |= zip(members, seen, strict=True)
        return tuple(found[i] for i in range(len(layers)))

    def _detect(self, headers: Sequence[Header], y_hat: Tensor) -> list[Detection]:
        logits, boxes = self._weights.detector(y_hat)
        return [
            Detection(header, self._boxes(header, *found))
            for header, *found in zip(headers, logits, boxes, strict=True)
        ]

    def _recognise(self, headers: Sequence[Header], s_hat: Tensor) -> list[Detection]:
        if self._weights.recogniser is None:
            raise ModelMismatch(f"model {self.model} has no recogniser")
        logits = self._weights.recogniser(s_hat).nan_to_num(nan=-_FAR, posinf=_FAR, neginf=-_FAR)
        return [
            Detection(header, (), self._presences(scores))
            for header, scores in zip(headers, logits.sigmoid().tolist(), strict=True)
        ]

    def _presences(self, scores: Sequence[float]) -> tuple[Presence, ...]:
        named = (Presence(*pair) for pair in zip(self.labels, scores, strict=True))
        surest = sorted(named, key=lambda presence: -presence.score)
        return tuple(presence for presence in surest if presence.score > self._min_score)

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
