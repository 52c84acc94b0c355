"""What a client hands out: plain values, frozen, of the standard library's types only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True, order=True)
class FrameId:
    """The name of one frame for ever; written 'gate/b1/7'.

    camera  1..64 characters of [a-z0-9_-]
    boot    which start of the camera process: 1..64 characters of [A-Za-z0-9_-]
    seq     counts up within a boot, 0..2**63-1
    """

    camera: str
    boot: str
    seq: int

    def __str__(self) -> str:
        return f"{self.camera}/{self.boot}/{self.seq}"

    @classmethod
    def parse(cls, text: str) -> FrameId:
        """The inverse of str(). Raises ValueError."""
        match text.split("/"):
            case [camera, boot, seq] if camera and boot and seq.isascii() and seq.isdigit():
                return cls(camera, boot, int(seq))
        raise ValueError(f"not CAMERA/BOOT/SEQ: {text[:200]!r}")


@dataclass(frozen=True, slots=True)
class Box:
    """One detected object: score 0..1; x1 <= x2, y1 <= y2 in pixels of the source picture."""

    label: str
    score: float
    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True, slots=True)
class Presence:
    """That something of a class is in view, wherever it is: score 0..1."""

    label: str
    score: float


@dataclass(frozen=True, slots=True)
class Detection:
    """What is in a layer.

    width, height  pixels of the source picture
    model_id       the model that coded the layer, 0..65535
    profile        its task profile: 0 detect, 1 recognise
    quality        0 (fewest bytes) .. 1
    boxes          by falling score; none from a recognise layer
    presences      what is in view, by falling score, from a recognise layer
    """

    width: int
    height: int
    model_id: int
    profile: int
    quality: float
    boxes: tuple[Box, ...]
    presences: tuple[Presence, ...] = ()


@dataclass(frozen=True, slots=True)
class Sighting:
    """What is in a frame that has just come in.

    captured_at    seconds since 1970-01-01 UTC, by the camera's clock
    layer_bytes    length of its layer
    width, height  pixels of the source picture
    boxes          by falling score; none from a recognise layer
    presences      what is in view, by falling score, from a recognise layer
    missed         frames that the server dropped before this one, because they were read too slowly
    reconnects     connections lost since the sighting before. If not 0, some frames may have gone
                   unseen that `missed` does not count; Client.frames has them
    """

    frame: FrameId
    captured_at: float
    layer_bytes: int
    width: int
    height: int
    boxes: tuple[Box, ...]
    missed: int = 0
    reconnects: int = 0
    presences: tuple[Presence, ...] = ()

    @property
    def camera(self) -> str:
        return self.frame.camera


@dataclass(frozen=True, slots=True)
class Progress:
    """What is going on with a picture that was asked for.

    phase       'queued', 'loading' (the decoder), 'waiting' (for the camera's auxiliary layer),
                'step', or 'picture': one is there, and a better one is still expected
    place       how many go before, while queued
    patience_s  the longest that the auxiliary layer is waited for, while waiting
    done, of    steps, in 'step'; done 0: the faithful view
    preview     WebP of the picture so far, in 'step'
    picture     the one that is there, in 'picture'
    """

    phase: Literal["queued", "loading", "waiting", "step", "picture"]
    place: int = 0
    patience_s: float = 0.0
    done: int = 0
    of: int = 0
    preview: bytes = b""
    picture: Picture | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """Which parts of a picture were seen in a reference picture of the same camera.

    columns, rows  of cells of 8 x 8 pixels
    shares         a byte for each, row by row: 0 (restored) .. 255 (as it was seen)
    captured_at    of the reference picture: seconds since 1970-01-01 UTC, by the camera's clock
    """

    columns: int
    rows: int
    shares: bytes
    captured_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a frame, for people.

    png              the file; it says of itself what `provenance` says
    width, height    pixels
    generated        detail in it is generated, and is not evidence
    machine_bytes    of the layer as the camera sent it
    auxiliary_bytes  of the auxiliary layer, 0: made without one
    steps, fidelity, seed  by which it was made
    decoder          which one made it
    notes            what a person should know, such as why there is no auxiliary layer
    seen             None: there was no reference picture
    provenance       all of this and more, a JSON object
    cached           it had been made before
    """

    png: bytes = field(repr=False)
    width: int
    height: int
    generated: bool
    machine_bytes: int
    auxiliary_bytes: int
    steps: int
    fidelity: float
    seed: int
    decoder: str
    notes: tuple[str, ...]
    seen: Seen | None
    provenance: dict[str, Any] = field(repr=False)
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame in the archive.

    captured_at    seconds since 1970-01-01 UTC, by the camera's clock
    layer_bytes    length of its layer
    width, height  pixels of the source picture; 0: the layer cannot be read, or leans on the one
                   before and no detector has looked yet
    boxes          by falling score; None: no detector has looked yet, or none could
    presences      what is in view, by falling score, from a recognise layer, which has no boxes
    detector       which detector found the boxes; empty while there are none
    fault          why no detector can read the layer; empty: nothing is known against it
    pinned         kept whatever its age
    layer          the layer, one that needs no other; None in a list
    """

    frame: FrameId
    captured_at: float
    layer_bytes: int
    width: int
    height: int
    boxes: tuple[Box, ...] | None
    detector: str = ""
    fault: str = ""
    pinned: bool = False
    layer: bytes | None = None
    presences: tuple[Presence, ...] = ()

    @property
    def camera(self) -> str:
        return self.frame.camera
