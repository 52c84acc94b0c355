"""What the detector saw in one frame, as it goes over the bus to everyone who watches."""

from __future__ import annotations

from dataclasses import dataclass

from common.types import Box, FrameId, Presence

UNREADABLE = "unreadable: "  # stored in place of the model's name, with why there are no boxes


@dataclass(frozen=True, slots=True)
class Sighting:
    """width, height: source pixels; captured_at: unix seconds; the rest by falling score.

    A layer has boxes, or presences if it says no more than what is in view.
    """

    frame: FrameId
    captured_at: float
    layer_bytes: int
    width: int
    height: int
    boxes: tuple[Box, ...]
    presences: tuple[Presence, ...] = ()
