"""A picture from files at hand, without a server: what `glimpse-cloud view` does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from cloud.drawing import read_photo
from cloud.pictures.avif import layer_of
from cloud.pictures.human import HumanDecoder, Restored
from cloud.pictures.likeness import Likeness, likeness
from cloud.pictures.process import as_picture
from cloud.pictures.provenance import provenance, with_provenance
from cloud.pictures.values import OnStep, Reference, Still, Subject, Wish, Work
from cloud.weights import load_weights
from common.bitstream import is_inter
from common.codec import Coded, MachineCodec
from common.errors import BadPicture, BrokenChain, DecoderUnavailable, ModelMismatch

LAYER_SUFFIX, STILL_SUFFIX = ".glimpse", ".avif"


@dataclass(frozen=True, slots=True)
class Files:
    """What is at hand. reference: a still, with its machine layer in it or beside it, of the same
    name with the suffix .glimpse; like: the original, to compare with."""

    layer: Path
    auxiliary: Path | None = None
    reference: Path | None = None
    like: Path | None = None


@dataclass(frozen=True, slots=True)
class Viewed:
    """png: with its provenance; bpp: of all layers, by the source's pixels."""

    png: bytes
    restored: Restored
    decoder: str
    machine_bytes: int
    auxiliary_bytes: int
    bpp: float
    likeness: Likeness | None


def load_decoder(weights: Path, human: Path | None, device: str, threads: int) -> Decoding:
    """Raises ModelMismatch for weights that are not there, or do not fit."""
    torch.set_num_threads(threads)
    try:
        decoder = HumanDecoder.load(human or weights / "human", device)
    except OSError as error:
        raise ModelMismatch(str(error)) from error
    return Decoding(load_weights(weights).codec, decoder)


@dataclass(frozen=True, slots=True)
class Decoding:
    """The two codecs of a view."""

    codec: MachineCodec
    decoder: HumanDecoder

    def view(self, files: Files, wish: Wish, on_step: OnStep) -> Viewed:
        """Raises BadPicture for files that cannot be read, CorruptStream and ModelMismatch for
        layers that do not fit, BadSettings without the measures."""
        original = None if files.like is None else read_photo(files.like)
        base = self._layer(files.layer)
        auxiliary = None if files.auxiliary is None else _read(files.auxiliary)
        reference, still = self._reference(files.reference)
        plain = wish.plain
        work = Work(base, auxiliary, plain.steps, plain.fidelity, plain.seed, still)
        try:
            restored = self.decoder.restore(
                base, auxiliary, reference,
                steps=work.steps, fidelity=work.fidelity, seed=work.seed, on_step=on_step,
            )  # fmt: skip
        except DecoderUnavailable as error:  # no weights for steps
            raise ModelMismatch(str(error)) from error
        picture = as_picture(restored, self.decoder)
        said = provenance(Subject(base), work, picture, restored.notes)
        size = len(base.data) + len(auxiliary or b"")
        return Viewed(
            with_provenance(picture.png, said),
            restored,
            picture.decoder,
            len(base.data),
            len(auxiliary or b""),
            size * 8 / (base.header.width * base.header.height),
            None if original is None else likeness(original, restored.pixels),
        )

    def _layer(self, path: Path) -> Coded:
        data = _read(path)
        if is_inter(data):
            raise BrokenChain(f"{path}: an inter layer says nothing without the layers before it")
        return self.codec.decode(data)

    def _reference(self, path: Path | None) -> tuple[Reference | None, Still | None]:
        if path is None:
            return None, None
        pixels, data = np.asarray(read_photo(path)), _read(path)
        own = layer_of(data) if path.suffix.lower() == STILL_SUFFIX else None
        base = (
            self._layer(path.with_suffix(LAYER_SUFFIX)) if own is None else self.codec.decode(own)
        )
        return Reference(pixels, base), Still(data, base)


def lines(viewed: Viewed, file: Path, out: Path) -> list[str]:
    """For people."""
    height, width = viewed.restored.pixels.shape[:2]
    layers = f"{viewed.machine_bytes} B machine"
    if viewed.auxiliary_bytes:
        layers += f" + {viewed.auxiliary_bytes} B auxiliary"
    said = [f"{file}  {width}x{height}  {layers}  {viewed.bpp:.4f} bpp  {viewed.decoder}  -> {out}"]
    if (seen := viewed.restored.seen) is not None:
        said.append(f"  seen in the reference: {float(seen.mean()):.0%}")
    if (like := viewed.likeness) is not None:
        ms_ssim = "too small" if like.ms_ssim is None else f"{like.ms_ssim:.4f}"
        said.append(
            f"  PSNR {like.psnr:.2f} dB  MS-SSIM {ms_ssim}  SSIMULACRA2 {like.ssimulacra2:.2f}"
        )
    return [*said, *(f"  note: {note}" for note in viewed.restored.notes)]


@contextmanager
def progress_bar(steps: int) -> Iterator[OnStep]:
    """A bar on standard error; what it gives is to be told of each step."""
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("loading the decoder", total=steps + 2)

        def on_step(done: int, of: int, _: object) -> None:
            what = f"step {done} of {of}" if done else "faithful view"
            shown.update(task, completed=done + 1, description=what)

        yield on_step


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadPicture(f"{path}: {error.strerror or error}") from error
