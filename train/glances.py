"""Latents of the training pictures, made once with a trained trunk and kept as bytes.

A recogniser is small and its trunk stands still, so the trunk need not run for each step: every
picture is encoded a few times, scaled, mirrored and lit differently, and each step cuts a window of
its own out of a latent. What of a box is cut off decides which classes are in view there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track
from torch import Tensor

from cloud.models.machine import STRIDE, Encoder
from common.geometry import working_size
from train.data import Sample, jitter, place
from train.evaluate import to_input
from train.presence import Flags, presence

STEP = 1 / 16  # of a kept latent; it has about unit variance
_SIDE = 640  # longer side in pixels that an edge works at
_SCALES = (0.6, 1.3)
_WINDOW = 0.6  # shorter sides of a window are no less than this share of the latent's


@dataclass(frozen=True)
class Glance:
    """One picture as the trunk saw it: y M h w int8 in STEPs; the sample's boxes, no pixels."""

    y: NDArray[np.int8]
    sample: Sample

    @property
    def whole(self) -> tuple[NDArray[np.int8], Flags, Flags]:
        """(y, present C, known C)"""
        return self.y, *presence(self.sample)

    def window(self, rng: np.random.Generator, most: int) -> tuple[NDArray[np.int8], Flags, Flags]:
        """A part of it, at most `most` positions on a side: (y, present C, known C)."""
        _, h, w = self.y.shape
        rows, columns = (
            min(int(rng.integers(max(1, int(n * _WINDOW)), n + 1)), most) for n in (h, w)
        )
        top, left = int(rng.integers(h - rows + 1)), int(rng.integers(w - columns + 1))
        edges = np.array([left, top, left + columns, top + rows], np.float32) * STRIDE
        part = self.y[:, top : top + rows, left : left + columns]
        return part, *presence(self.sample, edges)


@dataclass(frozen=True)
class Glances:
    """A batch: y B M h w float32, zero where a smaller one is padded; inside B 1 h w, 0 there;
    present, known B C float32."""

    y: Tensor
    inside: Tensor
    present: Tensor
    known: Tensor

    def to(self, device: torch.device) -> Glances:
        return Glances(*(t.to(device) for t in vars(self).values()))


def glances(
    encoder: Encoder, samples: Sequence[Sample], rng: np.random.Generator | None, note: str
) -> list[Glance]:
    """A glance at every sample: as the edge sees it, or with `rng` scaled, mirrored and lit."""
    device = next(encoder.parameters()).device
    kept = []
    for sample in track(samples, note):
        seen = fitted(sample) if rng is None else _other(rng, sample)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
            y = encoder(to_input(np.ascontiguousarray(seen.pixels)).to(device))[0]
        steps = (y.float() / STEP).round().clamp(-128, 127).to(torch.int8).cpu().numpy()
        kept.append(Glance(steps, replace(seen, pixels=np.empty((0, 0, 3), np.uint8))))
    return kept


def fitted(sample: Sample) -> Sample:
    """The sample at the size that an edge works at."""
    height, width = sample.pixels.shape[:2]
    size = working_size(width, height, _SIDE)
    if size == (width, height):
        return sample
    picture = Image.fromarray(sample.pixels).resize(
        size, Image.Resampling.BILINEAR, reducing_gap=3.0
    )
    x, y = size[0] / width, size[1] / height
    grown = np.array([x, y, x, y], np.float32)
    return replace(
        sample,
        pixels=np.asarray(picture),
        boxes=sample.boxes * grown,
        regions=sample.regions * grown,
    )


def batches(
    rng: np.random.Generator, kept: Sequence[Glance], size: int, most: int
) -> Iterator[Glances]:
    """Endless batches; half of each are windows. most: positions on a side of a latent."""
    while True:
        rows = []
        for i in rng.integers(len(kept), size=size):
            glance = kept[i]
            is_whole = rng.random() < 0.5 and max(glance.y.shape[1:]) <= most
            rows.append(glance.whole if is_whole else glance.window(rng, most))
        yield collate(rows)


def collate(rows: Sequence[tuple[NDArray[np.int8], Flags, Flags]]) -> Glances:
    """Pads to the largest latent of the batch."""
    channels, classes = len(rows[0][0]), len(rows[0][1])
    h, w = (max(y.shape[axis] for y, _, _ in rows) for axis in (1, 2))
    y = np.zeros((len(rows), channels, h, w), np.int8)
    inside = np.zeros((len(rows), 1, h, w), np.float32)
    flags = np.zeros((2, len(rows), classes), np.float32)
    for i, (part, present, known) in enumerate(rows):
        y[i, :, : part.shape[1], : part.shape[2]] = part
        inside[i, :, : part.shape[1], : part.shape[2]] = 1
        flags[:, i] = present, known
    return Glances(
        torch.from_numpy(y).float() * STEP, torch.from_numpy(inside), *torch.from_numpy(flags)
    )


def _other(rng: np.random.Generator, sample: Sample) -> Sample:
    """The sample scaled, by even chance mirrored, and lit differently."""
    height, width = sample.pixels.shape[:2]
    scale = np.exp(rng.uniform(*np.log(_SCALES)))
    size = working_size(width, height, _SIDE)
    wide, high = (max(2 * STRIDE, round(float(scale) * n)) for n in size)
    return jitter(rng, place(rng, sample, wide, high, zoom=(1.0, 1.0)))
