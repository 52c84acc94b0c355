"""The decoder's own process: it takes work from a pipe, and tells of each step.

Nothing else runs here, so the process can be less urgent than the server, it can be killed when it
hangs, and all its memory is given back when it ends. It ends when its pipe does.
"""

from __future__ import annotations

import io
import itertools
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cloud.pictures.avif import read_still
from cloud.pictures.values import (
    Decoder,
    Picture,
    Pixels,
    Reference,
    Restored,
    Step,
    Still,
    Work,
)
from common.errors import BadPicture, DecoderUnavailable, GlimpseError, ModelMismatch

PREVIEW_PX = 320
_PREVIEW_QUALITY = 75
_PNG_LEVEL = 4  # of zlib: half of the time of its default, some per cent more bytes


@dataclass(frozen=True, slots=True)
class Job:
    number: int
    work: Work


@dataclass(frozen=True, slots=True)
class Cancel:
    """Of the job of this number, which may have ended meanwhile."""

    number: int


@dataclass(frozen=True, slots=True)
class Ready:
    """The decoder is in memory."""


@dataclass(frozen=True, slots=True)
class Made:
    """A picture. faithful: the same at 0 steps, where it came about on the way.

    seconds  by phase: preview, diffuse, encode
    """

    picture: Picture
    faithful: Picture | None = None
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failed:
    """error: one of ours, for the caller; None: `reason` is for the log."""

    reason: str
    error: GlimpseError | None = None


@dataclass(frozen=True, slots=True)
class Cancelled:
    number: int


Answer = Ready | Step | Made | Failed | Cancelled


class _Stop(Exception):
    """Raised by `on_step` through the decoder."""


def main(pipe: Connection, load: Callable[[], Decoder], nice: int) -> None:
    """Loads the decoder, then works until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server ends it, in its own time
    os.nice(nice)
    try:
        decoder = load()
    except (GlimpseError, OSError) as error:
        pipe.send(Failed(str(error), ModelMismatch(str(error))))
        return
    pipe.send(Ready())
    worker = _Worker(pipe, decoder)
    while True:
        try:
            message = pipe.recv()
        except (EOFError, OSError):
            return
        if isinstance(message, Job):
            try:
                pipe.send(worker.answer(message))
            except (BrokenPipeError, EOFError):
                return


class _Worker:
    def __init__(self, pipe: Connection, decoder: Decoder) -> None:
        self._pipe, self._decoder = pipe, decoder

    def answer(self, job: Job) -> Answer:
        try:
            return self._make(job)
        except _Stop:
            return Cancelled(job.number)
        except DecoderUnavailable as error:  # it has no such weights: asking again is no use
            return Failed(str(error), ModelMismatch(str(error)))
        except GlimpseError as error:
            return Failed(str(error), error)
        except (BrokenPipeError, EOFError):
            raise
        except Exception as error:  # noqa: BLE001 - the next job may be luckier; told and logged
            return Failed(f"{type(error).__name__}: {error}")

    def _make(self, job: Job) -> Made:
        work, decoder = job.work, self._decoder
        if work.base.header.model != decoder.machine_id:
            theirs, ours = work.base.header.model, decoder.machine_id
            raise ModelMismatch(f"the decoder reads layers of model {ours:04x}, not {theirs:04x}")
        preview: list[Pixels] = []
        moments = [time.perf_counter()]

        def on_step(done: int, of: int, pixels: Pixels) -> None:
            if not preview:
                preview.append(pixels.copy())
                moments.append(time.perf_counter())
            self._check(job.number)
            self._pipe.send(Step(done, of, _webp(pixels)))

        self._check(job.number)
        reference, notes = self._reference(work.still)
        restored = decoder.restore(
            work.base, work.auxiliary, reference, steps=work.steps, fidelity=work.fidelity,
            seed=work.seed, on_step=on_step,
        )  # fmt: skip
        moments.append(time.perf_counter())
        self._check(job.number)
        picture = as_picture(restored, decoder)
        picture = replace(picture, notes=(*notes, *picture.notes))
        faithful = None
        if work.steps and preview and preview[0].shape == restored.pixels.shape:
            faithful = replace(picture, png=_png(preview[0]))
        moments.append(time.perf_counter())
        spent = [after - before for before, after in itertools.pairwise(moments)]
        phases = ("preview", "diffuse", "encode") if preview else ("diffuse", "encode")
        return Made(picture, faithful, dict(zip(phases, spent, strict=True)))

    def _reference(self, still: Still | None) -> tuple[Reference | None, tuple[str, ...]]:
        """A still as the decoder takes it; where it cannot be used, why not."""
        if still is None:
            return None, ()
        try:
            if still.base.header.model != self._decoder.machine_id:
                raise BadPicture("its frame's layer is another model's")
            return Reference(read_still(still.data), still.base), ()
        except BadPicture as error:
            return None, (f"the reference picture cannot be used: {error}",)

    def _check(self, number: int) -> None:
        """Raises _Stop if this job was cancelled, EOFError if the server has gone."""
        while self._pipe.poll():
            message = self._pipe.recv()
            if isinstance(message, Cancel) and message.number == number:
                raise _Stop


def as_picture(restored: Restored, decoder: Decoder) -> Picture:
    """The picture as a file, and what the decoder says of it."""
    height, width = restored.pixels.shape[:2]
    return Picture(
        _png(restored.pixels),
        width,
        height,
        decoder=f"{decoder.version}-{decoder.model_id:04x}",
        notes=restored.notes,
        seen=None if restored.seen is None else _shares(restored.seen),
    )


def _png(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=_PNG_LEVEL)
    return file.getvalue()


def _webp(pixels: Pixels) -> bytes:
    picture = Image.fromarray(pixels)
    picture.thumbnail((PREVIEW_PX, PREVIEW_PX))
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=_PREVIEW_QUALITY, method=2)
    return file.getvalue()


def _shares(seen: NDArray[np.float32]) -> tuple[int, int, bytes]:
    rows, columns = seen.shape
    return columns, rows, (seen.clip(0, 1) * 255).round().astype(np.uint8).tobytes()
