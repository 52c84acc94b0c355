"""ArchiveService: what is stored, for viewers; the store is read on threads of its own.

A page token is the place of a page's last frame, so pages join up while frames come and expire.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import grpc

from cloud.access.attempts import address_of
from cloud.access.audit import Audit
from cloud.access.identity import Identities
from cloud.alone import Alone
from cloud.metrics import Metrics
from cloud.places import from_token, to_token
from cloud.sightings import UNREADABLE
from cloud.status import errors_as_status
from cloud.store import FrameStore, Place, StoredFrame
from cloud.wire import MICROSECONDS, box_messages, presence_messages
from common.errors import NotStored
from common.types import FrameId, check_camera
from glimpse.v1 import archive_pb2, archive_pb2_grpc

T = TypeVar("T")

PAGE_FRAMES, MOST_FRAMES = 100, 1000
_PAGE_BYTES = 1 << 20  # a message of more than 4 MiB would not be taken by a gRPC client
_AT_ONCE = 100  # frames in one query: bounds memory, and how long a commit may have to wait
_READERS = 2  # threads; the others of the pool are for those who write


class ArchiveService(archive_pb2_grpc.ArchiveServiceServicer):
    """Both calls are for viewers; who reads a layer is in the audit."""

    def __init__(
        self,
        store: FrameStore,
        alone: Alone,
        identities: Identities,
        metrics: Metrics,
        audit: Audit,
    ) -> None:
        self._store, self._identities, self._metrics = store, identities, metrics
        self._alone, self._audit = alone, audit
        self._readers = asyncio.Semaphore(_READERS)

    async def ListFrames(  # noqa: N802 - the contract's name
        self,
        request: archive_pb2.ListFramesRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> archive_pb2.ListFramesResponse:
        async with errors_as_status(context, self._metrics):
            self._identities.viewer(context)
            if request.camera:
                check_camera(request.camera)
            before = from_token(request.page_token) if request.page_token else None
            return await self._read(lambda: self._page(request, before))

    async def GetFrame(  # noqa: N802 - the contract's name
        self,
        request: archive_pb2.GetFrameRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> archive_pb2.GetFrameResponse:
        async with errors_as_status(context, self._metrics):
            who = self._identities.viewer(context)
            frame = FrameId(request.camera, request.boot, request.seq)
            stored = await self._read(lambda: self._store.get(frame))
            if stored is None:
                raise NotStored(f"{frame} is not stored")
            layer = await self._read(lambda: self._alone(stored))
            address = address_of(context.peer())
            self._audit.read(who, address, "GetFrame", frame, len(layer))
        return archive_pb2.GetFrameResponse(frame=_message(stored), layer=layer)

    async def _read(self, work: Callable[[], T]) -> T:
        async with self._readers:
            return await asyncio.to_thread(work)

    def _page(
        self, request: archive_pb2.ListFramesRequest, before: Place | None
    ) -> archive_pb2.ListFramesResponse:
        size = min(request.page_size or PAGE_FRAMES, MOST_FRAMES)
        page = archive_pb2.ListFramesResponse()
        room = _PAGE_BYTES
        while True:
            wanted = min(size - len(page.frames), _AT_ONCE)
            some = self._store.frames(
                camera=request.camera or None,
                label=request.label or None,
                since=_seconds(request, "since_us"),
                until=_seconds(request, "until_us"),
                limit=wanted,
                before=before,
            )
            for stored in some:
                message = _message(stored)
                page.frames.append(message)
                before = stored.place
                room -= message.ByteSize()
                if room < 0 or len(page.frames) == size:
                    page.next_page_token = to_token(before)
                    return page
            if len(some) < wanted:
                return page


def _message(stored: StoredFrame) -> archive_pb2.ArchivedFrame:
    fault = stored.model.startswith(UNREADABLE)
    message = archive_pb2.ArchivedFrame(
        camera=stored.frame.camera,
        boot=stored.frame.boot,
        seq=stored.frame.seq,
        captured_at_us=round(stored.captured_at * MICROSECONDS),
        layer_bytes=len(stored.data),
        has_boxes=stored.boxes is not None and not fault,
        boxes=box_messages(stored.boxes or ()),
        presences=presence_messages(stored.presences),
        detector="" if fault else stored.model[:128],
        fault=stored.model.removeprefix(UNREADABLE)[:512] if fault else "",
        pinned=stored.pinned,
    )
    if header := stored.header:
        message.width, message.height = header.width, header.height
    elif not stored.is_inter:  # layers are looked at before they are stored: it has rotted
        message.fault = message.fault or "the stored layer is damaged"
    return message


def _seconds(request: archive_pb2.ListFramesRequest, field: str) -> float | None:
    if not request.HasField(field):  # type: ignore[arg-type]  # one of its two optional fields
        return None
    return float(getattr(request, field)) / MICROSECONDS
