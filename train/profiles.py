"""What each task profile makes of a latent: integers, as the edge codes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.coding.temporal import usual_hold
from train.machine import Network
from train.recognise import Recognition

Ints = NDArray[np.int16]
Profile = Callable[[Tensor, int, Ints | None], Ints]
"""y 1 M h w, quality 0..255, integers of the layer before (None: an intra layer) -> M h w."""


def detect(network: Network) -> Profile:
    """The latent itself."""

    @torch.inference_mode()
    def integers(y: Tensor, quality: int, last: Ints | None) -> Ints:
        gain, _ = network.machine.gains(0, torch.tensor([quality / 255]))
        return _rounded(y * gain, last, usual_hold(quality))

    return integers


def recognise(recognition: Recognition) -> Profile:
    """A summary of the latent."""

    @torch.inference_mode()
    def integers(y: Tensor, quality: int, last: Ints | None) -> Ints:
        gain, _ = recognition.gains(0, torch.tensor([quality / 255]))
        s, _ = recognition.summariser(y, torch.ones_like(y[:, :1]))
        return _rounded(s * gain, last, usual_hold(quality))

    return integers


def _rounded(x: Tensor, last: Ints | None, hold: float) -> Ints:
    """Rounded, and held where the layer before has nearly the same."""
    wanted: NDArray[Any] = x[0].numpy()
    nearest = np.rint(wanted)
    if last is not None:
        nearest = np.where(np.abs(wanted - last) < hold, last, nearest)
    rounded: Ints = nearest.astype(np.int16)
    return rounded
