"""What takes long and does not depend on our weights is kept for the next time.

A file's name is made of all that its content depends on, so nothing that has changed is found.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.accuracy.matching import Found

Arrays = dict[str, NDArray[Any]]


def place(folder: Path, name: str, about: Mapping[str, Any]) -> Path:
    """The file for what `name` gives under all that `about` says; JSON values."""
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    return folder / f"{name}-{key[:16]}.npz"


def write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez_compressed(file, **dict(arrays))
    part.replace(path)


def read(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def packed(found: Sequence[Found], suffix: str = "") -> Arrays:
    """What was found on some pictures, as arrays: how many boxes on each, and all of them."""
    return {
        f"counts{suffix}": np.array([len(boxes) for boxes in found]),
        f"boxes{suffix}": np.concatenate(found),
    }


def unpacked(arrays: Mapping[str, NDArray[Any]], suffix: str = "") -> list[Found]:
    """Undoes `packed`."""
    return np.split(arrays[f"boxes{suffix}"], np.cumsum(arrays[f"counts{suffix}"])[:-1])
