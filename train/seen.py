"""How differently the camera's encoder sees two pictures: what a person is shown of a frame is to
look to the machine as the frame did.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cloud.models.machine import Encoder

EDGES = (3, 5)  # so many layers of the trunk: what stands at 1/4, at 1/8
WHOLE = (*EDGES, 7)  # and the latent y that detection is made of


def apart(encoder: Encoder, made: Tensor, x: Tensor, ends: tuple[int, ...] = WHOLE) -> Tensor:
    """The mean over layers of |features of `made` - features of x| / |features of x|.

    made, x  B 3 H W in 0..1; the gradient goes to `made`
    ends     so many layers of the trunk each; all of them: y
    """
    parts = []
    at = 0
    one, other = made - 0.5, x - 0.5
    for end in ends:
        layers = encoder.trunk[at:end]
        one = layers(one)
        with torch.no_grad():
            other = layers(other)
        if end == len(encoder.trunk):
            one, other = (encoder.normalise(encoder.project(part)) for part in (one, other))
        parts.append((one - other).abs().mean() / (other.abs().mean() + 1e-3))
        at = end
    return torch.stack(parts).float().mean()
