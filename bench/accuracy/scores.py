"""mAP of many points over many bootstrap draws, shared out to the worker processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path

from bench.accuracy.matching import Draw, Found, Matches, Score, Truth


def all_scores(
    pool: ProcessPoolExecutor,
    dataset: Path,
    most: int | None,
    points: Sequence[Sequence[Found]],
    drawn: Sequence[Draw],
) -> Iterator[list[Score]]:
    """For each point, its score on all pictures and then on every draw."""
    return pool.map(partial(_scores, dataset, most, drawn), points)


def _scores(
    dataset: Path, most: int | None, drawn: Sequence[Draw], found: Sequence[Found]
) -> list[Score]:
    matches = Matches(_truth(dataset, most), found)
    return [matches.score(), *(matches.score(draw) for draw in drawn)]


@cache
def _truth(dataset: Path, most: int | None) -> Truth:
    return Truth(dataset, most)
