"""Auxiliary layers of this camera's frames: made with the frame, or later from what was kept of it.

    with_frame  each frame's auxiliary layer is made at once, at one quality, and kept
    later       each frame's picture is kept, as a JPEG beside the integers of its machine layer;
                the auxiliary layer is made when somebody asks, at the quality that is asked for

Frames come faster than they can be kept on a slow machine: the newest wait, one at a time, and one
that is overtaken is not kept. What is kept is bounded (ring.py) and never sent unasked.
"""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import structlog
from PIL import Image

from common.codec import Coded, MachineCodec
from common.errors import GlimpseError, StoreFull
from common.session.events import AuxiliaryOutcome
from common.types import FrameId
from edge.capture.picture import Pixels, decode_picture
from edge.pictures.ring import Kept, Ring

log = structlog.get_logger()

Mode = Literal["off", "with_frame", "later"]

LAYER, PICTURE = "layer", "picture"  # kinds in the ring
_JPEG_QUALITY = 92
_LENGTH_BYTES = 4


class AuxiliaryEncoder(Protocol):
    """Makes auxiliary layers. Used by one thread at a time."""

    def encode(self, picture: Pixels, base: Coded, quality: int) -> bytes:
        """Of a picture H W 3 uint8 over its machine layer; quality 0..255."""
        ...


class Answer(NamedTuple):
    """To a request: the layer if the outcome is SENT, else why not."""

    outcome: AuxiliaryOutcome
    reason: str = ""
    data: bytes = b""


def no_auxiliary(frame: FrameId, quality: int) -> Answer:  # noqa: ARG001 - one answer to all
    """The answer of a camera that keeps nothing."""
    return Answer(AuxiliaryOutcome.UNSUPPORTED, "this camera keeps no pictures (auxiliary: off)")


@dataclass(frozen=True, slots=True)
class _Shot:
    frame: FrameId
    picture: Pixels
    coded: Coded


class Keeper:
    """Keeps frames in a thread of its own, from `with` to its end.

    quality  0..255, of layers that are made with the frame
    """

    def __init__(
        self,
        mode: Literal["with_frame", "later"],
        ring: Ring,
        encoder: AuxiliaryEncoder,
        codec: MachineCodec,
        *,
        quality: int,
    ) -> None:
        self.kept = 0
        self.missed = 0  # overtaken, or the disk or the encoder failed
        self._with_frame = mode == "with_frame"
        self._ring, self._encoder, self._codec, self._quality = ring, encoder, codec, quality
        self._encoding = threading.Lock()
        self._changed = threading.Condition()
        self._newest: _Shot | None = None
        self._busy = self._ended = False
        self._thread = threading.Thread(target=self._run, name="keep", daemon=True)

    def __enter__(self) -> Keeper:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join()

    def offer(self, frame: FrameId, picture: Pixels, coded: Coded) -> None:
        """A frame that was coded just now. Never blocks; `picture` is not to change any more."""
        with self._changed:
            self.missed += self._newest is not None
            self._newest = _Shot(frame, picture, coded)
            self._changed.notify_all()

    def settle(self, timeout: float | None = None) -> bool:
        """Waits until everything that was offered is kept or missed; False if it took too long."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._newest is None and not self._busy, timeout=timeout
            )

    def find(self, frame: FrameId, quality: int) -> Answer:
        """The auxiliary layer of a frame, made now if it has to be: blocks for as long."""
        kept = self._ring.get(frame)
        if kept is None:
            return Answer(AuxiliaryOutcome.EXPIRED, "the camera does not keep this frame any more")
        if kept.kind == LAYER:
            return Answer(AuxiliaryOutcome.SENT, data=kept.data)
        try:
            with self._encoding:
                picture, base = unpack_picture(kept.data, self._codec)
                return Answer(
                    AuxiliaryOutcome.SENT, data=self._encoder.encode(picture, base, quality)
                )
        except GlimpseError as error:
            log.warning("no auxiliary layer", frame=str(frame), reason=str(error))
            return Answer(AuxiliaryOutcome.FAILED, str(error))

    def _run(self) -> None:
        while (shot := self._next()) is not None:
            try:
                self._ring.put(shot.frame, self._kept(shot))
                self.kept += 1
            except GlimpseError as error:
                self.missed += 1
                if self.missed == 1 or not isinstance(error, StoreFull):
                    log.warning("a frame is not kept", frame=str(shot.frame), reason=str(error))
            finally:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()

    def _next(self) -> _Shot | None:
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._ended)
            shot, self._newest = self._newest, None
            self._busy = shot is not None
            return shot

    def _kept(self, shot: _Shot) -> Kept:
        if not self._with_frame:
            return Kept(PICTURE, pack_picture(shot.picture, shot.coded, self._codec))
        with self._encoding:
            return Kept(LAYER, self._encoder.encode(shot.picture, shot.coded, self._quality))


def pack_picture(picture: Pixels, coded: Coded, codec: MachineCodec) -> bytes:
    """A picture and the integers of its machine layer: length of the latter, it, a JPEG."""
    base = codec.alone(coded)
    jpeg = io.BytesIO()
    Image.fromarray(picture).save(jpeg, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return len(base).to_bytes(_LENGTH_BYTES, "big") + base + jpeg.getvalue()


def unpack_picture(data: bytes, codec: MachineCodec) -> tuple[Pixels, Coded]:
    """Undoes `pack_picture`, but for what JPEG loses.

    Raises BadPicture, CorruptStream or ModelMismatch for what was kept by another version.
    """
    end = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "big")
    base = codec.decode(data[_LENGTH_BYTES:end])
    return decode_picture(data[end:]).pixels, base
