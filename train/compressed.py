"""Training pictures as image codecs leave them: what the bench's fine-tuned opponent learns from.

Each picture is coded `copies` times, each time by a random codec at a random scale and quality
(train/codecs.py), and decoded when a batch asks for it. The files are kept in the run's folder, so
that a resumed run codes nothing again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.progress import track
from torch.utils.data import DataLoader, Dataset

from train.codecs import Setting, decode, encode, resized
from train.data import Pixels, Sample
from train.run import cores

SCALES = (1.0, 0.75, 0.5, 0.35, 0.25)
QUALITIES = {"jpeg": (2, 60), "webp": (0, 60), "avif": (5, 60), "jxl": (0, 70), "hevc": (51, 28)}
"""Of each codec the worst and the best that is drawn, on its own scale."""


class CodedPictures(Sequence[Sample]):
    """Every sample as it is, and `copies` more times as a codec left it; pixels of the same size.

    The copies of one sample follow it: their boxes are its own.
    """

    def __init__(
        self, samples: Sequence[Sample], folder: Path, copies: int = 3, seed: int = 0
    ) -> None:
        self._samples, self._folder, self._copies = samples, folder, copies
        rng = np.random.default_rng(seed)
        self._settings = [[random_setting(rng) for _ in range(copies)] for _ in samples]
        folder.mkdir(parents=True, exist_ok=True)
        self._code()

    def __len__(self) -> int:
        return len(self._samples) * (1 + self._copies)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]  # never sliced
        at, copy = divmod(index, 1 + self._copies)
        sample = self._samples[at]
        if copy == 0:
            return sample
        setting = self._settings[at][copy - 1]
        height, width = sample.pixels.shape[:2]
        data = self._path(at, setting).read_bytes()
        pixels = decode(data, setting, width, height)
        return replace(sample, pixels=resized(pixels, width, height))

    def _code(self) -> None:
        """Codes what is not yet in the folder, on every core."""
        missing = _Missing(
            (path, self._samples[at].pixels, setting)
            for at, settings in enumerate(self._settings)
            for setting in settings
            if not (path := self._path(at, setting)).exists()
        )
        loader = DataLoader(missing, batch_size=None, num_workers=cores())
        for _ in track(loader, "coding pictures") if len(missing) else ():
            pass

    def _path(self, at: int, setting: Setting) -> Path:
        name = f"{self._samples[at].image_id}-{setting.scale:g}-{setting.quality}.{setting.codec}"
        return self._folder / name


def random_setting(rng: np.random.Generator) -> Setting:
    """Any codec, any scale, any quality between its worst and its best."""
    codec = str(rng.choice(list(QUALITIES)))
    low, high = sorted(QUALITIES[codec])
    return Setting(codec, float(rng.choice(SCALES)), int(rng.integers(low, high + 1)))


class _Missing(Dataset[int]):
    """Files to write; asking for one writes it and gives its length."""

    def __init__(self, files: Iterable[tuple[Path, Pixels, Setting]]) -> None:
        self._files = list(files)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> int:
        path, picture, setting = self._files[index]
        partial = path.with_suffix(path.suffix + ".part")
        length = partial.write_bytes(encode(picture, setting))
        partial.replace(path)
        return length
