"""What is said about the making of a picture: the wish, the progress, the picture.

`Decoder` is what makes pictures (human.py is one); it blocks, in a process of its own (worker.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, IntEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from common.codec import Coded
from common.errors import RemoteProtocolError
from common.types import FrameId

Pixels = NDArray[np.uint8]
OnStep = Callable[[int, int, Pixels], None]

MOST_STEPS = 8
FIDELITY = 0.65  # unless somebody says otherwise: most of the texture for half of the loss
MAX_SEED = 2**32 - 1
CELL_PX = 8


@dataclass(frozen=True, slots=True)
class Reference:
    """An earlier still of the same camera: pixels H W 3, and the machine layer of what it shows."""

    pixels: Pixels
    base: Coded


@dataclass(frozen=True, slots=True)
class Still:
    """A reference picture as it is kept: the file, the machine layer of what it shows.

    frame, captured_at  of the frame that it was made with; None for a picture at hand
    stored_at           of that frame, by this machine's clock
    """

    data: bytes
    base: Coded
    frame: FrameId | None = None
    captured_at: float | None = None
    stored_at: float = 0.0


class Restored(Protocol):
    """pixels uint8 H W 3; seen float32 H/8 W/8, 0..1, or None; notes for people."""

    @property
    def pixels(self) -> Pixels: ...
    @property
    def seen(self) -> NDArray[np.float32] | None: ...
    @property
    def notes(self) -> tuple[str, ...]: ...


class Decoder(Protocol):
    """machine_id: the model of machine layers that it reads."""

    @property
    def model_id(self) -> int: ...
    @property
    def version(self) -> str: ...
    @property
    def machine_id(self) -> int: ...

    def restore(
        self,
        base: Coded,
        auxiliary: bytes | None = None,
        reference: Reference | None = None,
        *,
        steps: int = 0,
        fidelity: float = FIDELITY,
        seed: int = 0,
        on_step: OnStep | None = None,
    ) -> Restored:
        """Raises CorruptStream, ModelMismatch for an auxiliary layer that does not fit,
        DecoderUnavailable for steps that it has no weights for, and what `on_step` raises."""
        ...


class Auxiliaries(Enum):
    """What to do about the auxiliary layer of a stored frame."""

    NEVER = "never"
    IF_STORED = "if stored"
    FETCH = "fetch"


class Priority(IntEnum):
    """Who goes first: the least."""

    VIEWER = 0
    BACKGROUND = 1


@dataclass(frozen=True, slots=True)
class Wish:
    """How a picture is to be made.

    steps     0 (faithful, nothing is generated) .. 8
    fidelity  0..1
    seed      0..2**32-1
    quality   of an auxiliary layer that is fetched, 0..255

    Raises RemoteProtocolError for anything else.
    """

    steps: int = 0
    fidelity: float = FIDELITY
    seed: int = 0
    auxiliaries: Auxiliaries = Auxiliaries.IF_STORED
    quality: int = 128
    priority: Priority = Priority.VIEWER

    def __post_init__(self) -> None:
        if not 0 <= self.steps <= MOST_STEPS:
            raise RemoteProtocolError(f"steps: {self.steps} is not in 0..{MOST_STEPS}")
        if not 0.0 <= self.fidelity <= 1.0:  # nan is neither
            raise RemoteProtocolError(f"fidelity: {self.fidelity} is not in 0..1")
        if not 0 <= self.seed <= MAX_SEED:
            raise RemoteProtocolError(f"seed: {self.seed} is not in 0..{MAX_SEED}")
        if not 0 <= self.quality <= 255:
            raise RemoteProtocolError(f"auxiliary quality: {self.quality} is not in 0..255")

    @property
    def plain(self) -> Wish:
        """The same without what means nothing: fidelity and seed, where nothing is generated."""
        return self if self.steps else replace(self, fidelity=1.0, seed=0)


@dataclass(frozen=True, slots=True)
class Work:
    """All that a picture depends on beside the decoder."""

    base: Coded
    auxiliary: bytes | None
    steps: int
    fidelity: float
    seed: int
    still: Still | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as the decoder made it, of whichever frame.

    png      nothing in it but the pixels
    decoder  which one made it
    notes    of the decoder's, for people
    seen     (columns, rows, a byte for each cell of 8 x 8 pixels, row by row: 0 restored, 255 as it
             was seen in a reference picture); None: there was none
    """

    png: bytes
    width: int
    height: int
    decoder: str
    notes: tuple[str, ...] = ()
    seen: tuple[int, int, bytes] | None = None


@dataclass(frozen=True, slots=True)
class Queued:
    """place: how many go before, the one at work included."""

    place: int


@dataclass(frozen=True, slots=True)
class Loading:
    """The decoder comes into memory."""


@dataclass(frozen=True, slots=True)
class WaitingForAuxiliary:
    """The camera is asked; a picture is made without its answer after so many seconds."""

    patience_s: float


@dataclass(frozen=True, slots=True)
class Step:
    """preview: WebP of the picture so far, at most 320 pixels on a side."""

    done: int
    of: int
    preview: bytes


@dataclass(frozen=True, slots=True)
class Done:
    """A picture of a frame.

    file              PNG with its provenance in it
    provenance        the same as a JSON object
    machine_bytes     of the layer as the camera sent it
    auxiliary_bytes   0: made without one
    still             None: made without one
    notes             for people
    cached            it was made before
    upgrade_expected  the auxiliary layer is still awaited
    """

    file: bytes
    picture: Picture
    provenance: str
    machine_bytes: int
    auxiliary_bytes: int
    steps: int
    fidelity: float
    seed: int
    notes: tuple[str, ...]
    cached: bool = False
    upgrade_expected: bool = False
    still: Still | None = None


Progress = Queued | Loading | WaitingForAuxiliary | Step | Done


@dataclass(frozen=True, slots=True)
class Subject:
    """What a picture is of. frame, captured_at: None for a layer at hand; still: from before."""

    base: Coded
    frame: FrameId | None = None
    captured_at: float | None = None
    keep_until: float | None = None
    still: Still | None = None
