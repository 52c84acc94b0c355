"""A network over a picture that is too large for it at once: tiles that overlap and are blended."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

SIDE_PX, OVERLAP_PX = 768, 64  # multiples of 32
_MOST_PX = 1 << 20  # a picture of more pixels is cut on the CPU; a GPU is asked first
_SHORT = "decoded in tiles: the GPU's memory was short"


class Tiles:
    """Runs a network whole where it can be, else in tiles; says so in `notes` where it had to."""

    def __init__(self, notes: list[str]) -> None:
        self._notes, self._small = notes, False

    def run(self, network: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """inputs B C H W, the first at full size, others as large or a whole fraction of it.

        Returns what the network does of the first one's size. Raises what it raises.
        """
        height, width = inputs[0].shape[2:]
        on_cpu = inputs[0].device.type == "cpu"
        if not self._small and not (on_cpu and height * width > _MOST_PX):
            try:
                return network(*inputs)
            except torch.cuda.OutOfMemoryError:
                torch.cuda.empty_cache()
                self._small = True
                self._notes.append(_SHORT)
        total, weight = None, torch.zeros(1, 1, height, width, device=inputs[0].device)
        for top in _starts(height):
            for left in _starts(width):
                bottom, right = min(top + SIDE_PX, height), min(left + SIDE_PX, width)
                parts = [_part(x, height, top, bottom, left, right) for x in inputs]
                made = network(*parts)
                share = _window(bottom - top, right - left).to(made.device)
                if total is None:
                    total = torch.zeros(*made.shape[:2], height, width, device=made.device)
                total[:, :, top:bottom, left:right] += made * share
                weight[:, :, top:bottom, left:right] += share
        if total is None:
            raise ValueError(f"a picture of {width} x {height} pixels")
        return total / weight


def _starts(length: int) -> range:
    return range(0, max(1, length - OVERLAP_PX), SIDE_PX - OVERLAP_PX)


def _part(x: Tensor, height: int, top: int, bottom: int, left: int, right: int) -> Tensor:
    scale = height // x.shape[2]
    return x[:, :, top // scale : bottom // scale, left // scale : right // scale]


def _window(height: int, width: int) -> Tensor:
    """1 1 h w: 1 inside, falling to almost 0 over the overlap at every side."""
    sides = []
    for length in (height, width):
        at = torch.arange(length, dtype=torch.float32) + 0.5
        sides.append((torch.minimum(at, length - at) / OVERLAP_PX).clamp(max=1.0))
    return sides[0][None, None, :, None] * sides[1][None, None, None, :]
