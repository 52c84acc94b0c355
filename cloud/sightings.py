"""What the detector saw in one frame, as it goes over the bus to everyone who watches."""

from __future__ import annotations

from dataclasses import dataclass

from common.types import Box, FrameId

UNREADABLE = "unreadable: "  # stored in place of the model's name, with why there are no boxes


@dataclass(frozen=True, slots=True)
class Sighting:
    """width, height: source pixels; captured_at: unix seconds; boxes by falling score."""

    frame: FrameId
    captured_at: float
    layer_bytes: int
    width: int
    height: int
    boxes: tuple[Box, ...]
