"""What a task that asks for less than boxes codes: a summary of the latent.

    y ──1x1, ReLU──> evidence ──mean over factor x factor blocks──> summary

The ReLU comes before the mean so that a small thing is not averaged away by what is around it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Summary:
    """weight: M M (out, in); bias: M; factor: 1 or more positions on a block's side.

    Raises ValueError for shapes that do not fit.
    """

    weight: Floats
    bias: Floats
    factor: int

    def __post_init__(self) -> None:
        m = len(self.bias)
        if self.weight.shape != (m, m) or self.bias.shape != (m,) or self.factor < 1:
            raise ValueError(f"a summary of {self.weight.shape} and {self.bias.shape}")

    def of(self, y: Floats) -> Floats:
        """y: M h w -> M ceil(h/factor) ceil(w/factor), nothing negative."""
        m, h, w = y.shape
        evidence = self.weight @ y.reshape(m, h * w) + self.bias[:, None]
        return block_means(np.maximum(evidence, 0.0).reshape(m, h, w), self.factor)


def block_means(x: Floats, factor: int) -> Floats:
    """Return the means over factor x factor blocks of the last two axes, h w.

    A block at the right or the lower edge is the mean of what is there.
    """
    h, w = x.shape[-2:]
    rows, columns = np.arange(0, h, factor), np.arange(0, w, factor)
    sums = np.add.reduceat(np.add.reduceat(x, rows, axis=-2), columns, axis=-1)
    high, wide = np.diff(np.append(rows, h)), np.diff(np.append(columns, w))
    means: Floats = sums / (high[:, None] * wide).astype(np.float32)
    return means
