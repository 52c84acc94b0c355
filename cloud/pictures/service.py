"""ReconstructionService: pictures for viewers, with all that happens on the way to one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import grpc

from cloud.access.attempts import address_of
from cloud.access.audit import Audit
from cloud.access.identity import Identities, Identity
from cloud.metrics import Metrics
from cloud.pictures.reconstruct import Reconstructor
from cloud.pictures.values import (
    FIDELITY,
    Auxiliaries,
    Done,
    Loading,
    Priority,
    Progress,
    Queued,
    Step,
    Subject,
    WaitingForAuxiliary,
    Wish,
)
from cloud.status import errors_as_status
from cloud.wire import MICROSECONDS
from common.errors import CorruptStream, RemoteProtocolError
from common.types import FrameId
from glimpse.v1 import reconstruction_pb2 as pb
from glimpse.v1 import reconstruction_pb2_grpc

CHUNK_BYTES = 128 << 10
LONGEST_WHY = 256

_MAX_LAYER_BYTES = 1 << 20
_MOST_NOTES, _LONGEST_NOTE = 32, 512
_WISHES = {
    pb.AUXILIARY_WISH_UNSPECIFIED: Auxiliaries.IF_STORED,
    pb.AUXILIARY_WISH_NEVER: Auxiliaries.NEVER,
    pb.AUXILIARY_WISH_IF_STORED: Auxiliaries.IF_STORED,
    pb.AUXILIARY_WISH_FETCH: Auxiliaries.FETCH,
}
_PRIORITIES = {
    pb.PRIORITY_UNSPECIFIED: Priority.VIEWER,
    pb.PRIORITY_VIEWER: Priority.VIEWER,
    pb.PRIORITY_BACKGROUND: Priority.BACKGROUND,
}


class ReconstructionService(reconstruction_pb2_grpc.ReconstructionServiceServicer):
    """For viewers; each call is in the audit. quality: of auxiliary layers, unless one asks."""

    def __init__(
        self,
        reconstructor: Reconstructor,
        identities: Identities,
        metrics: Metrics,
        audit: Audit,
        *,
        quality: int,
    ) -> None:
        self._reconstructor, self._identities = reconstructor, identities
        self._metrics, self._audit, self._quality = metrics, audit, quality

    async def Reconstruct(  # noqa: N802 - the contract's name
        self,
        request: pb.ReconstructRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[pb.ReconstructResponse]:
        async with errors_as_status(context, self._metrics):
            who = self._identities.viewer(context)
            wish, why = self._wish(request), check_why(request.why)
            if len(request.auxiliary) > _MAX_LAYER_BYTES:
                raise CorruptStream(f"an auxiliary layer of more than {_MAX_LAYER_BYTES} bytes")
            subject = await self._subject(request)
            audited(self._audit, who, address_of(context.peer()), "Reconstruct", subject, wish, why)
            making = self._reconstructor.make(
                subject, wish, f"{who.role} {who.name}", request.auxiliary or None
            )
            async with aclosing(making) as news:
                async for progress in news:
                    for message in _messages(progress):
                        yield message

    async def _subject(self, request: pb.ReconstructRequest) -> Subject:
        match request.WhichOneof("of"):
            case "frame":
                name = request.frame
                return await self._reconstructor.of_frame(FrameId(name.camera, name.boot, name.seq))
            case "layer":
                return await self._reconstructor.at_hand(request.layer)
        raise RemoteProtocolError("neither a frame nor a layer to look at")

    def _wish(self, request: pb.ReconstructRequest) -> Wish:
        """What this version does not know of wishes and priorities is as if nothing was said."""
        asked = request.auxiliary_quality if request.HasField("auxiliary_quality") else None
        return Wish(
            steps=request.steps,
            fidelity=request.fidelity if request.HasField("fidelity") else FIDELITY,
            seed=request.seed,
            auxiliaries=_WISHES.get(request.auxiliary_wish, Auxiliaries.IF_STORED),
            quality=self._quality if asked is None else asked,
            priority=_PRIORITIES.get(request.priority, Priority.VIEWER),
        )


def check_why(why: str) -> str:
    """Raises RemoteProtocolError for more than the audit takes."""
    if len(why) > LONGEST_WHY:
        raise RemoteProtocolError(f"why: more than {LONGEST_WHY} characters")
    return why


def audited(
    audit: Audit,
    who: Identity,
    address: str,
    call: str,
    subject: Subject,
    wish: Wish,
    why: str,
) -> None:
    """A line before anything is shown. Raises StoreFull."""
    audit.read(
        who, address, call, subject.frame or "a layer at hand", len(subject.base.data),
        steps=wish.steps, fidelity=wish.fidelity, seed=wish.seed,
        auxiliary=wish.auxiliaries.value, why=why,
    )  # fmt: skip


def _messages(progress: Progress) -> Iterator[pb.ReconstructResponse]:
    match progress:
        case Queued(place):
            yield pb.ReconstructResponse(queued=pb.Queued(place=place))
        case Loading():
            yield pb.ReconstructResponse(loading=pb.Loading())
        case WaitingForAuxiliary(patience_s):
            waiting = pb.WaitingForAuxiliary(patience_ms=round(patience_s * 1000))
            yield pb.ReconstructResponse(waiting_for_auxiliary=waiting)
        case Step(done, of, preview):
            yield pb.ReconstructResponse(step=pb.Step(done=done, of=of, preview=preview))
        case Done():
            for start in range(0, len(progress.file), CHUNK_BYTES):
                data = progress.file[start : start + CHUNK_BYTES]
                yield pb.ReconstructResponse(chunk=pb.PictureChunk(data=data))
            yield pb.ReconstructResponse(done=_done(progress))


def _done(done: Done) -> pb.Done:
    return pb.Done(
        picture_bytes=len(done.file),
        width=done.picture.width,
        height=done.picture.height,
        machine_bytes=done.machine_bytes,
        auxiliary_bytes=done.auxiliary_bytes,
        steps=done.steps,
        fidelity=done.fidelity,
        seed=done.seed,
        decoder=done.picture.decoder[:128],
        notes=[note[:_LONGEST_NOTE] for note in done.notes[:_MOST_NOTES] if note],
        generated=done.steps > 0,
        seen=_seen(done),
        provenance=done.provenance,
        cached=done.cached,
        upgrade_expected=done.upgrade_expected,
    )


def _seen(done: Done) -> pb.Seen | None:
    if done.picture.seen is None:
        return None
    columns, rows, shares = done.picture.seen
    captured_at = 0.0 if done.still is None else done.still.captured_at or 0.0
    return pb.Seen(
        columns=columns, rows=rows, shares=shares, captured_at_us=round(captured_at * MICROSECONDS)
    )
