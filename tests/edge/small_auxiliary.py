"""A small real auxiliary codec for tests: the picture at 16 x 16, coarser the less the quality."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from common.bitstream import Kind, pack
from common.codec import Coded
from common.errors import BadPicture
from edge.capture.picture import Pixels

BLACK = 2.0  # mean value below which there is nothing to code


class SmallAuxiliary:
    """Deterministic. Raises BadPicture for a black picture, as a real one may fail."""

    def encode(self, picture: Pixels, base: Coded, quality: int) -> bytes:
        if picture.mean() < BLACK:
            raise BadPicture("it is black")
        small = np.asarray(Image.fromarray(picture).convert("L").resize((16, 16)))
        step = 1 + (255 - quality) // 4
        header = replace(base.header, kind=Kind.AUXILIARY_INTRA, quality=quality)
        return pack(header, bytes([step]) + (small // step).tobytes())
