"""Quality 0 further down than was trained, in the direction in which it falls.

The gains below the lowest anchor are where the line through the two lowest leads (in logarithms:
Cui et al. 2021, eq. 5, beyond its end). All that was trained stays within the scale.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

_GAINS = ("machine.gains.log_gain", "machine.gains.log_inverse")  # profiles x levels x M each


def lower(run: Path, levels: float, out: Path) -> None:
    """Writes out/last.pt: `run`, quality 0 so many of its levels further down; 0 to 1.

    Raises ValueError for other levels, and for a run without a bottleneck.
    """
    if not 0 <= levels <= 1:
        raise ValueError(f"{levels} levels: 0 to 1")
    state: dict[str, Any] = torch.load(run / "last.pt", map_location="cpu", weights_only=True)
    if not state["recipe"]["bottleneck"]:
        raise ValueError(f"{run} is a pixel detector's: it has no bottleneck")
    for weights in (state["network"], state["average"]):
        for name in _GAINS:
            gain = weights[name]
            gain[:, 0] += levels * (gain[:, 0] - gain[:, 1])
    out.mkdir(parents=True, exist_ok=True)
    torch.save(state, out / "last.pt")
