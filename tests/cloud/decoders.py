"""A small decoder that is whole: integers to pixels, steps, progress, cancelling; no network.

It runs where the real one does, in a process of its own, so a test speaks to it through files in
its folder: `hold` keeps it before its next step, `fail` has what it raises, `failed` is there once
it did, `log` gets a line for all that it does. An auxiliary layer is one of the container whose
body begins with its base's name.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cloud.pictures.values import OnStep, Pixels, Reference
from common.auxiliary import name_of
from common.bitstream import Header, Kind, pack, unpack
from common.codec import Coded
from common.errors import CorruptStream, ModelMismatch, WrongBase

MODEL, VERSION = 0x0D0D, "tiny"


@dataclass(frozen=True)
class Restored:
    pixels: Pixels
    seen: NDArray[np.float32] | None = None
    notes: tuple[str, ...] = ()


class TinyDecoder:
    model_id, version = MODEL, VERSION

    def __init__(self, folder: Path, machine_id: int) -> None:
        self.machine_id = machine_id
        self._folder = folder
        self._log(f"load {os.nice(0)}")
        if (folder / "broken").exists():
            raise ModelMismatch("these are not the weights of a decoder")

    def restore(
        self,
        base: Coded,
        auxiliary: bytes | None = None,
        reference: Reference | None = None,
        *,
        steps: int = 0,
        fidelity: float = 1.0,
        seed: int = 0,
        on_step: OnStep | None = None,
    ) -> Restored:
        self._log(f"begin {steps}")
        pixels = _faithful(base, self._read(auxiliary, base))
        if reference is not None:
            pixels = _as_seen(pixels, base, reference)
        if on_step:
            self._pause()
            on_step(0, steps, pixels)
        rng = np.random.default_rng(seed)
        for step in range(steps):
            self._pause()
            noise = rng.integers(0, 1 + round(8 * (2 - fidelity)), pixels.shape, np.uint8)
            pixels = pixels // 2 + 56 + noise
            if on_step:
                on_step(step + 1, steps, pixels)
        height, width = pixels.shape[:2]
        seen = np.full((-(-height // 8), -(-width // 8)), 0.5, np.float32)
        self._log("end")
        has_seen = auxiliary is not None or reference is not None
        return Restored(pixels, seen if has_seen else None, ("it is tiny",))

    def _read(self, auxiliary: bytes | None, base: Coded) -> bytes:
        if auxiliary is None:
            return b""
        header, body = unpack(auxiliary, MODEL)
        if header.kind is not Kind.AUXILIARY_INTRA:
            raise CorruptStream("no auxiliary layer")
        if not body.startswith(name_of(base)):
            raise WrongBase("this auxiliary layer belongs to another machine layer")
        return body

    def _pause(self) -> None:
        while (self._folder / "hold").exists():
            time.sleep(0.01)
        if (self._folder / "die").exists():
            os._exit(9)
        if (self._folder / "fail").exists():
            (self._folder / "failed").touch()
            raise RuntimeError((self._folder / "fail").read_text())

    def _log(self, line: str) -> None:
        with (self._folder / "log").open("a") as log:
            log.write(line + "\n")


def _faithful(base: Coded, auxiliary: bytes) -> Pixels:
    """Soft cells in colours that follow from the integers, and from the auxiliary layer."""
    rows, columns = base.y.shape[1:]
    start = hashlib.sha256(base.y.astype("<i2").tobytes() + auxiliary).digest()
    rng = np.random.default_rng(int.from_bytes(start[:8], "big"))
    cells = rng.integers(0, 256, (rows, columns, 3), np.uint8)
    size = base.header.width, base.header.height
    return np.asarray(Image.fromarray(cells).resize(size, Image.Resampling.BICUBIC))


def _as_seen(pixels: Pixels, base: Coded, reference: Reference) -> Pixels:
    """The reference where the integers of a cell are those of its layer."""
    size = pixels.shape[1], pixels.shape[0]
    same = Image.fromarray((reference.base.y == base.y).all(0))
    kept = np.asarray(same.resize(size, Image.Resampling.NEAREST))[..., None]
    return np.where(kept, np.asarray(Image.fromarray(reference.pixels).resize(size)), pixels)


def auxiliary_of(base: Coded, *, model: int = MODEL, body: bytes = b"detail" * 20) -> bytes:
    header = Header(
        Kind.AUXILIARY_INTRA, model, 0, 128, 0, base.header.width, base.header.height,
        base.header.side,
    )  # fmt: skip
    return pack(header, name_of(base) + body)


def decoder_folder(folder: Path, *, prior: bool = True) -> Path:
    """What stands for its weights, and for those of its prior."""
    folder.mkdir(parents=True, exist_ok=True)
    if prior:
        (folder / "prior").mkdir(exist_ok=True)
    (folder / "manifest.json").write_text('{"name": "tiny"}')
    return folder


def loads(folder: Path, machine_id: int) -> Callable[[], TinyDecoder]:
    """What a DecoderProcess takes."""
    return partial(TinyDecoder, folder, machine_id)


def did(folder: Path) -> list[str]:
    """What it did so far."""
    log = folder / "log"
    return log.read_text().splitlines() if log.exists() else []
