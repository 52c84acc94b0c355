"""A picture over its machine layer -> an auxiliary layer, for a better picture for people.

    pixels ──scale to `side`, pad──> common/coding/blocks.py ──> coefficients
    ──common/coding/choice.py──> integers ──common/auxiliary.py──> bytes

A transform and tables: no network runs for it.

"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from common.auxiliary import AuxiliaryCodec
from common.bitstream import SIDE_STEP_PX
from common.codec import Coded
from common.coding.blocks import analyse
from common.coding.choice import chosen
from common.coding.coefficients import CoefficientModel, describe
from common.errors import BadPicture, BadSettings, ModelMismatch
from common.geometry import MAX_SIDE_PX, STRIDE, working_size
from common.manifest import Manifest
from edge.capture.picture import Pixels, scale

if TYPE_CHECKING:
    from edge.settings import EdgeSettings

HUMAN = "human"  # folder of the human decoder within the weights
TABLES = "auxiliary.npz"


def open_auxiliary(settings: EdgeSettings) -> AuxiliaryEncoder:
    """The encoder that these settings ask for. Raises BadSettings for weights without one."""
    encoder = AuxiliaryEncoder.load(settings.weights, side=settings.side)
    if encoder is None:
        raise BadSettings(f"{settings.weights}: these weights have no auxiliary layers")
    return encoder


class AuxiliaryEncoder:
    """Makes auxiliary layers. Not thread-safe.

    side  longer side in pixels of what is coded, a multiple of 32
    """

    def __init__(self, codec: AuxiliaryCodec, machine_id: int, *, side: int = 640) -> None:
        if side % SIDE_STEP_PX or not SIDE_STEP_PX <= side <= MAX_SIDE_PX:
            raise BadSettings(f"side {side}: a multiple of {SIDE_STEP_PX} up to {MAX_SIDE_PX}")
        self._codec, self._machine_id, self._side = codec, machine_id, side

    @classmethod
    def load(cls, weights: Path, *, side: int = 640) -> AuxiliaryEncoder | None:
        """The encoder in a weights folder; None where that has no human decoder.

        Raises ModelMismatch naming the file that is not the manifest's.
        """
        folder = weights / HUMAN
        if not (folder / "manifest.json").exists():
            return None
        manifest = Manifest.parse((folder / "manifest.json").read_bytes())
        try:
            data = (folder / TABLES).read_bytes()
        except OSError as error:
            raise ModelMismatch(f"{folder / TABLES}: {error.strerror or error}") from error
        manifest.verify(TABLES, data)
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            model = CoefficientModel.from_arrays(dict(arrays))
        codec = AuxiliaryCodec(model, manifest.model_id)
        return cls(codec, manifest.codec["base"], side=side)

    def encode(self, picture: Pixels, base: Coded, quality: int) -> bytes:
        """The auxiliary layer of a picture H W 3 uint8 over its machine layer; quality 0..255.

        Raises BadPicture for pixels of another shape or type, ModelMismatch for a base of a model
        that this one does not build on.
        """
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
            raise BadPicture(f"not H x W x 3 bytes: {picture.shape} {picture.dtype}")
        if base.header.model != self._machine_id:
            raise ModelMismatch(
                f"machine layer of model {base.header.model:04x}; "
                f"this auxiliary codec builds on {self._machine_id:04x}"
            )
        if not 0 <= quality <= 255:
            raise BadSettings(f"quality {quality} is outside 0..255")
        pixels = _prepared(picture, base, self._side)
        coefficients = analyse(pixels)
        described = describe(base.y, (coefficients.shape[0], coefficients.shape[1]))
        q = chosen(self._codec.model, coefficients, described, quality)
        return self._codec.encode(q, base, side=self._side, quality=quality)


def _prepared(picture: Pixels, base: Coded, side: int) -> Pixels:
    """Scaled to the working size of the base's source at `side`; its last row and column repeat."""
    width, height = size = working_size(base.header.width, base.header.height, side)
    pixels = picture
    if pixels.shape[:2] != (height, width):
        pixels = np.asarray(scale(Image.fromarray(pixels), size))
    padding = ((0, -height % STRIDE), (0, -width % STRIDE), (0, 0))
    return np.pad(pixels, padding, mode="edge")
