"""A picture that is asked for <-> protobuf: the request, and what comes until it is whole."""

from __future__ import annotations

import json
from typing import Literal

from glimpse.errors import Error
from glimpse.types import FrameId, Picture, Progress, Seen
from glimpse.v1 import reconstruction_pb2 as pb
from glimpse.wire import bounded, plain

TIMEOUT_S = 300.0
TRIES = 3  # that the server took up: a decoder that fails so often will fail again

AuxiliaryWish = Literal["never", "if stored", "fetch"]

_WISHES: dict[str, pb.AuxiliaryWish.ValueType] = {
    "never": pb.AUXILIARY_WISH_NEVER,
    "if stored": pb.AUXILIARY_WISH_IF_STORED,
    "fetch": pb.AUXILIARY_WISH_FETCH,
}


def reconstruct_request(
    of: FrameId | str | bytes,
    *,
    steps: int,
    fidelity: float,
    seed: int,
    auxiliary: AuxiliaryWish | bytes,
    quality: int | None,
    why: str,
    urgent: bool,
) -> pb.ReconstructRequest:
    """Raises ValueError for what cannot be said, InvalidLayer for what no server reads."""
    request = pb.ReconstructRequest(
        steps=steps,
        fidelity=fidelity,
        seed=seed,
        auxiliary_quality=quality,
        priority=pb.PRIORITY_VIEWER if urgent else pb.PRIORITY_BACKGROUND,
        why=why,
    )
    if isinstance(auxiliary, bytes):
        request.auxiliary = bounded(auxiliary)
    elif auxiliary in _WISHES:
        request.auxiliary_wish = _WISHES[auxiliary]
    else:
        raise ValueError(f"auxiliary: neither a layer nor one of {', '.join(_WISHES)}")
    if isinstance(of, bytes):
        request.layer = bounded(of)
    else:
        name = FrameId.parse(of) if isinstance(of, str) else of
        request.frame.CopyFrom(pb.FrameName(camera=name.camera, boot=name.boot, seq=name.seq))
    return request


class Reconstruction:
    """Puts the messages of one call together.

    picture  the last one that came
    begun    the server has taken the call: when it fails now, it is not for want of a server
    """

    def __init__(self) -> None:
        self._file = bytearray()
        self.begun = False
        self.picture: Picture | None = None

    def take(self, message: pb.ReconstructResponse) -> Progress | None:
        """What there is to tell, if anything. Raises Error for a picture with a part missing."""
        self.begun = True
        match message.WhichOneof("message"):
            case "queued":
                return Progress("queued", place=message.queued.place)
            case "loading":
                return Progress("loading")
            case "waiting_for_auxiliary":
                patience_s = message.waiting_for_auxiliary.patience_ms / 1000
                return Progress("waiting", patience_s=patience_s)
            case "step":
                step = message.step
                return Progress("step", done=step.done, of=step.of, preview=step.preview)
            case "chunk":
                self._file += message.chunk.data
            case "done":
                self.picture = _picture(message.done, bytes(self._file))
                self._file.clear()
                if message.done.upgrade_expected:
                    return Progress("picture", picture=self.picture)
        return None


def _picture(done: pb.Done, file: bytes) -> Picture:
    if len(file) != done.picture_bytes:
        raise Error(f"{len(file)} of a picture's {done.picture_bytes} bytes came")
    seen = done.seen if done.HasField("seen") else None
    return Picture(
        png=file,
        width=done.width,
        height=done.height,
        generated=done.generated,
        machine_bytes=done.machine_bytes,
        auxiliary_bytes=done.auxiliary_bytes,
        steps=done.steps,
        fidelity=plain(done.fidelity),
        seed=done.seed,
        decoder=done.decoder,
        notes=tuple(done.notes),
        seen=seen and Seen(seen.columns, seen.rows, seen.shares, seen.captured_at_us / 1e6),
        provenance=json.loads(done.provenance),
        cached=done.cached,
    )
