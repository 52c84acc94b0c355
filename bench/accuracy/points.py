"""What was measured at one setting, and how accurate it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.accuracy.matching import Found, Score

OURS = "glimpse"
UNCOMPRESSED = "uncompressed"


@dataclass(frozen=True)
class Point:
    """For each picture its bytes, those of them that are no file container, and what was found."""

    codec: str
    setting: str
    resolution: str
    detector: str
    sizes: NDArray[np.int64]
    payloads: NDArray[np.int64]
    found: Sequence[Found]


@dataclass(frozen=True)
class Scored:
    """A point's accuracy on all pictures, and on every bootstrap draw."""

    point: Point
    whole: Score
    drawn: Sequence[Score]
