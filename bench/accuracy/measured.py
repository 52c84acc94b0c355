"""Opponents measured: every picture through every setting, and what each detector finds then.

Worker processes share the pictures out. What was measured is kept (kept.py), so that another
weights folder of ours does not measure the opponents again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from bench import kept
from bench.accuracy.matching import Found
from bench.accuracy.opponents import SIDE, Opponent, Source
from bench.accuracy.pixel import MIN_SCORE, PixelDetector
from edge.capture.picture import read_picture

_VERSION = 2  # of how it is measured: a change makes everything be measured anew

Look = tuple[str, int]
"""Which detector, and the longer side in pixels at which it looks."""


@dataclass(frozen=True)
class Measured:
    """S settings, I pictures: sizes and payloads S I in bytes; found S I for each look."""

    sizes: NDArray[np.int64]
    payloads: NDArray[np.int64]
    found: Mapping[Look, Sequence[Sequence[Found]]]


class Bench:
    """The worker processes, the pictures and the detectors that all opponents share."""

    def __init__(
        self,
        pictures: Sequence[Path],
        detectors: Mapping[str, PixelDetector],
        pool: ProcessPoolExecutor,
        folder: Path,
    ) -> None:
        self._pictures, self._detectors = pictures, detectors
        self._pool, self._kept = pool, folder
        content = hashlib.sha256()
        for path in pictures:
            content.update(hashlib.sha256(path.read_bytes()).digest())
        self._content = content.hexdigest()

    def measure(self, opponent: Opponent, looks: Sequence[Look]) -> Measured:
        """All pictures through `opponent`, or what was kept of the last time."""
        path = kept.place(self._kept, opponent.name, self._about(opponent, looks))
        if path.exists():
            return _measured(kept.read(path), looks)
        task = partial(_one, opponent, tuple(looks))
        rows = self._pool.map(task, self._pictures, chunksize=4)
        measured = _join(list(track(rows, opponent.name, total=len(self._pictures))), looks)
        kept.write(path, _arrays(measured, looks))
        return measured

    def _about(self, opponent: Opponent, looks: Sequence[Look]) -> dict[str, Any]:
        return {
            "version": _VERSION,
            "pictures": self._content,
            "opponent": opponent.about(),
            "settings": list(opponent.settings),
            "looks": [(self._detectors[name].digest, side) for name, side in looks],
            "min_score": MIN_SCORE,
        }


@contextmanager
def workers(jobs: int, runs: Mapping[str, Path]) -> Iterator[ProcessPoolExecutor]:
    """`jobs` processes of one thread each that hold the detectors of these training runs."""
    context = get_context("spawn")  # a fork would copy torch's threads half
    with ProcessPoolExecutor(jobs, context, _begin, (dict(runs),)) as pool:
        yield pool


_detectors: dict[str, PixelDetector] = {}  # a worker process's own


def _begin(runs: Mapping[str, Path]) -> None:
    torch.set_num_threads(1)
    _detectors.update({name: PixelDetector(run) for name, run in runs.items()})


def _one(
    opponent: Opponent, looks: Sequence[Look], path: Path
) -> tuple[list[tuple[int, int]], list[list[Found]]]:
    """One picture: (size, payload) of each setting; for each look what it finds at each setting."""
    picture = read_picture(path, SIDE)
    shown = opponent.show(Source(path.stat().st_size, picture))
    pixels = [one.pixels for one in shown]
    found = [
        _detectors[name].detect(pixels, picture.width, picture.height, side) for name, side in looks
    ]
    return [(one.size, one.payload) for one in shown], found


def _join(
    rows: Sequence[tuple[list[tuple[int, int]], list[list[Found]]]], looks: Sequence[Look]
) -> Measured:
    """Rows by picture -> arrays and lists by setting."""
    bytes_ = np.array([sizes for sizes, _ in rows], np.int64)  # I S 2
    found = {
        look: [list(setting) for setting in zip(*(row[i] for _, row in rows), strict=True)]
        for i, look in enumerate(looks)
    }
    return Measured(bytes_[..., 0].T, bytes_[..., 1].T, found)


def _arrays(measured: Measured, looks: Sequence[Look]) -> kept.Arrays:
    arrays: kept.Arrays = {"sizes": measured.sizes, "payloads": measured.payloads}
    for i, look in enumerate(looks):
        arrays |= kept.packed([boxes for row in measured.found[look] for boxes in row], str(i))
    return arrays


def _measured(arrays: kept.Arrays, looks: Sequence[Look]) -> Measured:
    found = {}
    step = arrays["sizes"].shape[1]
    for i, look in enumerate(looks):
        boxes = kept.unpacked(arrays, str(i))
        found[look] = [boxes[at : at + step] for at in range(0, len(boxes), step)]
    return Measured(arrays["sizes"], arrays["payloads"], found)
