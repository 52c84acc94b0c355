"""How like an original a picture is, by the measures that people publish."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from cloud.pictures.values import Pixels
from common.errors import BadPicture, BadSettings

MS_SSIM_PX = 161  # of the shorter side: five scales of a window of 11


@dataclass(frozen=True, slots=True)
class Likeness:
    """psnr in dB over RGB, inf where they are equal; ms_ssim 0..1, None where the picture is too
    small for its five scales; ssimulacra2 at most 100."""

    psnr: float
    ms_ssim: float | None
    ssimulacra2: float


def likeness(original: Image.Image, pixels: Pixels) -> Likeness:
    """pixels H W 3. Raises BadPicture for sizes that differ, BadSettings without the measures."""
    truth = np.asarray(original.convert("RGB"))
    if truth.shape != pixels.shape:
        sizes = " and ".join(f"{shape[1]} x {shape[0]}" for shape in (truth.shape, pixels.shape))
        raise BadPicture(f"pictures of {sizes} pixels cannot be compared")
    return Likeness(_psnr(truth, pixels), _ms_ssim(truth, pixels), _ssimulacra2(truth, pixels))


def _psnr(a: Pixels, b: Pixels) -> float:
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def _ms_ssim(a: Pixels, b: Pixels) -> float | None:
    import torch

    try:
        from pytorch_msssim import ms_ssim
    except ImportError as error:
        raise _missing(error) from error
    if min(a.shape[:2]) < MS_SSIM_PX:
        return None
    x, y = (torch.tensor(pixels).permute(2, 0, 1)[None].double() for pixels in (a, b))
    return float(ms_ssim(x, y, data_range=255))


def _ssimulacra2(a: Pixels, b: Pixels) -> float:
    try:
        from ssimulacra2 import compute_ssimulacra2
    except ImportError as error:
        raise _missing(error) from error
    return float(compute_ssimulacra2(_file(a), _file(b)))


def _file(pixels: Pixels) -> io.BytesIO:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=0)
    file.seek(0)
    return file


def _missing(error: ImportError) -> BadSettings:
    return BadSettings(f"--like: {error.name} is not installed: pip install -e '.[bench]'")
