"""The auxiliary codec's tables: weights by least squares, then frequencies by counting.

The transform is a DCT and is not trained; what is learned from pictures is how to expect a
magnitude from those around it (common/coding/coefficients.py), and how often each then comes.
Two walks over the same pictures: sums of products for the weights, then counts under them. All of
it twice: the second time with the integers that an encoder chooses by the first time's tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from common.coding.blocks import COEFFICIENTS, PLANES, analyse, quantise
from common.coding.choice import chosen
from common.coding.coefficients import (
    BANDS,
    BUCKETS,
    FEATURES,
    GROUPS,
    KINDS,
    LARGEST,
    LAYOUTS,
    REACH_CONTEXTS,
    REACHES,
    SCALE,
    CoefficientModel,
    Seen,
    band,
    describe,
    features,
    see,
)
from common.coding.rangecoder import TOTAL
from train.crops import pictures, read
from train.evaluate import pad, scaled, to_input
from train.machine import load_network
from train.profiles import detect

Ints = NDArray[np.int32]
Floats = NDArray[np.float64]

_RIDGE = 0.5
_QUIET = 0.05  # added to the activity that an observation is divided by
_SMOOTH = 0.05  # added to every count
_LARGEST_SEEN = 15


@dataclass(frozen=True)
class Sight:
    """A picture's coefficients h w 384, what its base says h w 2, and the quality 0..255."""

    coefficients: NDArray[np.float32]
    base: NDArray[np.int32]
    quality: int


@dataclass(frozen=True)
class _Chosen:
    q: NDArray[np.int16]
    base: NDArray[np.int32]
    quality: int


def sights(folders: Sequence[Path], machine: Path, count: int, seed: int = 0) -> Iterator[Sight]:
    """Of `count` pictures in these folders, over the codec of the run `machine`."""
    network, _ = load_network(machine)
    integers, rng = detect(network), np.random.default_rng(seed)
    files = pictures(folders)
    picked = rng.permutation(len(files))[:count]
    for at in track(picked, "pictures"):
        pixels = scaled(read(files[at]), int(rng.choice((640, 448, 320))))
        with torch.inference_mode():
            y = network.machine.encoder(to_input(pixels))
        coefficients = analyse(pad(pixels))
        size = coefficients.shape[0], coefficients.shape[1]
        base = describe(integers(y, int(rng.integers(0, 256)), None), size)
        yield Sight(coefficients, base, int(rng.integers(0, 256)))


def fit(sights: Sequence[Sight]) -> CoefficientModel:
    """Return the model that these pictures ask for. Raises ValueError for none."""
    if not sights:
        raise ValueError("no pictures to count")
    plain = [_Chosen(quantise(s.coefficients, s.quality), s.base, s.quality) for s in sights]
    model = _counted(plain)
    return _counted(
        [
            _Chosen(chosen(model, s.coefficients, s.base, s.quality), s.base, s.quality)
            for s in sights
        ]
    )


def _counted(sights: Sequence[_Chosen]) -> CoefficientModel:
    weights = _weights(sights)
    flat = np.ones((KINDS, GROUPS, BUCKETS, LARGEST + 2))
    reaches = np.full((len(PLANES), REACH_CONTEXTS, REACHES), _SMOOTH)
    model = CoefficientModel(weights, frequencies(flat), frequencies(reaches))
    values = np.full(flat.shape, _SMOOTH)
    for sight in sights:
        seen = see(sight.q, sight.base)
        for number, layout in enumerate(LAYOUTS):
            own = seen[number]
            np.add.at(reaches[number], (own.context, own.reach), 1)
            at, index = np.nonzero(layout.reach_of <= own.reach[:, None])
            bucket = model.expected(number, seen, sight.base, sight.quality)[at, index]
            symbol = np.minimum(own.magnitudes[at, index], LARGEST + 1)
            np.add.at(values[layout.kind], (layout.group[index], bucket, symbol), 1)
    return CoefficientModel(weights, frequencies(values), frequencies(reaches))


def frequencies(counts: Floats) -> NDArray[np.uint16]:
    """Counts -> frequencies that sum to 65536 along the last axis, each at least 1."""
    symbols = counts.shape[-1]
    share = counts / counts.sum(-1, keepdims=True)
    out = 1 + np.floor(share * (TOTAL - symbols)).astype(np.int64)
    largest = out.argmax(-1)[..., None]
    rest = TOTAL - out.sum(-1, keepdims=True)
    np.put_along_axis(out, largest, np.take_along_axis(out, largest, -1) + rest, -1)
    made: NDArray[np.uint16] = out.astype(np.uint16)
    return made


def _weights(sights: Iterable[_Chosen]) -> NDArray[np.int16]:
    """BANDS 384 FEATURES: weighted ridge regression of each frequency's magnitude.

    An observation weighs the less the more goes on around it: expectations near zero decide the
    most bits. A band that no picture has takes the nearest one's weights.
    """
    products = np.zeros((BANDS, COEFFICIENTS, FEATURES, FEATURES))
    targets = np.zeros((BANDS, COEFFICIENTS, FEATURES))
    for sight in sights:
        at, seen = band(sight.quality), see(sight.q, sight.base)
        for number, plane in enumerate(PLANES):
            x, y, weight = _observations(number, seen, sight)
            part = slice(plane.start, plane.end)
            heavy = x * weight[..., None]
            products[at, part] += np.matmul(heavy.transpose(1, 2, 0), x.transpose(1, 0, 2))
            targets[at, part] += np.einsum("pcf,pc->cf", heavy, y)
    some = [at for at in range(BANDS) if products[at].any()]
    out = np.empty((BANDS, COEFFICIENTS, FEATURES))
    for at in range(BANDS):
        nearest = min(some, key=lambda other: abs(other - at))
        whole = products[nearest] + _RIDGE * np.eye(FEATURES)
        out[at] = np.linalg.solve(whole, targets[nearest][..., None])[..., 0]
    weights: NDArray[np.int16] = np.rint(out * SCALE).clip(-32768, 32767).astype(np.int16)
    return weights


def _observations(
    number: int, seen: tuple[Seen, ...], sight: _Chosen
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """x P n*n F, y P n*n, weight P n*n (0 outside the reach)."""
    own, layout = seen[number], LAYOUTS[number]
    x = np.stack(list(_floats(features(number, seen, sight.base))), axis=-1)
    inside = layout.reach_of <= own.reach[:, None]
    weight = inside / (_QUIET + x[..., :7].mean(-1) + x[..., 8:16:2].mean(-1))
    y = np.minimum(own.magnitudes, _LARGEST_SEEN).astype(np.float32)
    return x, y, weight.astype(np.float32)


def _floats(rows: Iterator[Ints]) -> Iterator[NDArray[np.float32]]:
    for row in rows:
        yield row.astype(np.float32)
