"""The client for asyncio; glimpse/client.py is its twin for programs with threads."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc

from glimpse import pictures, wire
from glimpse.connection import Connection
from glimpse.errors import Closed, Error, InvalidLayer, InvalidRequest, Unavailable
from glimpse.pictures import AuxiliaryWish, Reconstruction, reconstruct_request
from glimpse.retry import Outages, Retry, may_pass
from glimpse.types import Detection, Frame, FrameId, Picture, Progress, Sighting
from glimpse.v1 import archive_pb2_grpc, detection_pb2_grpc, reconstruction_pb2_grpc
from glimpse.wire import Moment

TIMEOUT_S = 10.0


class AsyncClient:
    """One server, over one connection that is made when it is needed. Belongs to one event loop.

    Every call raises the errors of glimpse/errors.py. One that finds no server is tried again until
    its deadline: `timeout_s` of the call or else of the client. Close it, or use
    `async with`.
    """

    def __init__(
        self, connection: Connection, *, timeout_s: float = TIMEOUT_S, retry: Retry | None = None
    ) -> None:
        self._connection, self._timeout_s = connection, timeout_s
        self._retry = retry or Retry()
        self._closed = asyncio.Event()
        if connection.insecure:
            self._channel = grpc.aio.insecure_channel(connection.server, options=connection.options)
        else:
            self._channel = grpc.aio.secure_channel(
                connection.server, connection.credentials, options=connection.options
            )
        self._detection = detection_pb2_grpc.DetectionServiceStub(self._channel)
        self._archive = archive_pb2_grpc.ArchiveServiceStub(self._channel)
        self._reconstruction = reconstruction_pb2_grpc.ReconstructionServiceStub(self._channel)

    @classmethod
    def connect(
        cls,
        server: str,
        *,
        ca: str | Path | bytes | None = None,
        token: str = "",
        insecure: bool = False,
        timeout_s: float = TIMEOUT_S,
        retry: Retry | None = None,
    ) -> AsyncClient:
        """A client of the server at HOST:PORT; nothing is sent yet. To be called in the event loop.

        ca        PEM file, or its bytes, to trust; None: what this system trusts
        token     of a viewer, as `glimpse-cloud token viewer NAME` prints it
        insecure  plaintext instead of TLS: whoever is on the way can read the token

        Raises ValueError for a server or token that cannot be one, OSError for a file.
        """
        return cls(Connection.to(server, ca, token, insecure), timeout_s=timeout_s, retry=retry)

    async def detect(
        self, layer: bytes, *, min_score: float | None = None, timeout_s: float | None = None
    ) -> Detection:
        """What is in this machine layer. Raises InvalidLayer, ModelMismatch; nothing is stored."""
        request = wire.detect_request(layer, min_score)
        found = await self._call(self._detection.Detect, request, timeout_s, InvalidLayer)
        return wire.detection(found)

    def watch(
        self,
        cameras: Iterable[str] = (),
        *,
        min_score: float | None = None,
        on_lost: Callable[[Unavailable], None] | None = None,
    ) -> AsyncIterator[Sighting]:
        """Every frame of these cameras from now on, of all cameras if none is named.

        Lost connections are made again, by the client's `retry`; Sighting.reconnects tells of them,
        and `on_lost` is called at each failure, with the reason. Ends when the client is closed.
        Raises Unavailable when `retry.patience_s` are over, and what no other try can mend.
        """
        request, outages = wire.watch_request(cameras, min_score), Outages(self._retry)
        return self._watch(request, outages, on_lost)

    async def _watch(
        self, request: Any, outages: Outages, on_lost: Callable[[Unavailable], None] | None
    ) -> AsyncIterator[Sighting]:
        while not self._closed.is_set():
            fault: Error = Unavailable(f"{self._connection.server} ended the watch")
            call = self._detection.Watch(request, metadata=self._connection.metadata)
            try:
                # It comes when the server has taken the call, or the call has failed.
                await call.initial_metadata()
                if not call.done():
                    outages.up(time.monotonic())
                async for response in call:
                    yield wire.sighting(response, outages.delivered())
            except grpc.aio.AioRpcError as error:
                fault = self._connection.explain(error)
            except asyncio.CancelledError:
                if not self._ended_the_call():
                    raise
            finally:
                call.cancel()
            if self._closed.is_set():
                return
            wait = outages.down(fault, time.monotonic())
            if on_lost is not None and isinstance(fault, Unavailable):
                on_lost(fault)
            await self._pause(wait)

    def frames(
        self,
        *,
        camera: str | None = None,
        label: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        limit: int | None = None,
        timeout_s: float | None = None,
    ) -> AsyncIterator[Frame]:
        """Stored frames, newest capture first, without their layers; asked for page by page.

        camera        only of this one
        label         only with one of these in view, such as "person"
        since, until  captured in [since, until): unix seconds, or a datetime with a time zone
        limit         at most so many; None: all
        timeout_s     of each page

        Raises ValueError for a datetime without a time zone.
        """
        return self._frames(wire.frames_request(camera, label, since, until), limit, timeout_s)

    async def _frames(
        self, request: Any, limit: int | None, timeout_s: float | None
    ) -> AsyncIterator[Frame]:
        left = limit
        while left is None or left > 0:
            request.page_size = wire.page_size(left)
            page = await self._call(self._archive.ListFrames, request, timeout_s)
            for found in page.frames[:left]:
                yield wire.frame(found)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
            left = None if left is None else left - len(page.frames)

    async def frame(self, frame: FrameId | str, *, timeout_s: float | None = None) -> Frame:
        """One stored frame with its layer, by name or as 'CAMERA/BOOT/SEQ'. Raises NotFound."""
        found = await self._call(self._archive.GetFrame, wire.frame_request(frame), timeout_s)
        return wire.frame(found.frame, found.layer)

    async def reconstruct(
        self,
        of: FrameId | str | bytes,
        *,
        steps: int = 0,
        fidelity: float = 0.65,
        seed: int = 0,
        auxiliary: AuxiliaryWish | bytes = "if stored",
        quality: int | None = None,
        why: str = "",
        urgent: bool = True,
        on_progress: Callable[[Progress], None] | None = None,
        timeout_s: float | None = None,
    ) -> Picture:
        """A picture of a stored frame, by name or as 'CAMERA/BOOT/SEQ', or of a layer at hand.

        steps        0: the faithful view; 1..8: with detail that is generated, and is no evidence
        fidelity     0..1, how much of the faithful view stays
        seed         chooses among plausible details, 0..2**32-1
        auxiliary    of a stored frame: 'never', 'if stored', 'fetch' (from the camera, which costs
                     it bytes); or the auxiliary layer itself
        quality      of one that is fetched, 0..255; None: the server's default
        why          for the server's audit
        urgent       before those of whom nobody waits for an answer
        on_progress  is told of each change; what it raises ends the call, as leaving does
        timeout_s    of all of it; None: 300

        Where the auxiliary layer cannot be had the picture is made without, and its notes say why.
        Raises NotFound, InvalidLayer, InvalidRequest, and ModelMismatch for a server without a
        decoder of this layer; ValueError for arguments that no server takes.
        """
        request = reconstruct_request(
            of, steps=steps, fidelity=fidelity, seed=seed, auxiliary=auxiliary, quality=quality,
            why=why, urgent=urgent,
        )  # fmt: skip
        invalid = InvalidLayer if isinstance(of, bytes) else InvalidRequest
        deadline = time.monotonic() + (pictures.TIMEOUT_S if timeout_s is None else timeout_s)
        failures = begun = 0
        while True:
            made = Reconstruction()
            left = max(deadline - time.monotonic(), 0.0)
            try:
                return await self._picture(made, request, on_progress, left, invalid)
            except Unavailable as fault:
                wait, failures = self._retry.wait(failures), failures + 1
                begun += made.begun
                if (
                    not may_pass(fault)
                    or begun >= pictures.TRIES
                    or time.monotonic() + wait >= deadline
                ):
                    raise
            await self._pause(wait)

    async def _picture(
        self,
        made: Reconstruction,
        request: Any,
        on_progress: Callable[[Progress], None] | None,
        timeout_s: float,
        invalid: type[Error],
    ) -> Picture:
        call = self._start(self._reconstruction.Reconstruct, request, timeout=timeout_s)
        try:
            async for message in call:
                if (progress := made.take(message)) and on_progress is not None:
                    on_progress(progress)
        except grpc.aio.AioRpcError as error:
            fault = self._connection.explain(error, invalid)
            if self._closed.is_set():
                raise Closed("the client was closed during the call") from fault
            raise fault from error
        except asyncio.CancelledError:
            if not self._ended_the_call():
                raise
            raise Closed("the client was closed during the call") from None
        finally:
            call.cancel()
        if made.picture is None:
            raise Error(f"{self._connection.server} ended the call without a picture")
        return made.picture

    async def close(self) -> None:
        """Ends every call and lets the connection go. May be called twice."""
        self._closed.set()
        await self._channel.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _call(
        self,
        method: Any,
        request: Any,
        timeout_s: float | None,
        invalid: type[Error] = InvalidRequest,
    ) -> Any:
        deadline = time.monotonic() + (self._timeout_s if timeout_s is None else timeout_s)
        failures = 0
        while True:
            left = max(deadline - time.monotonic(), 0.0)
            try:
                return await self._start(method, request, timeout=left)
            except grpc.aio.AioRpcError as error:
                fault = self._connection.explain(error, invalid)
            except asyncio.CancelledError:
                if not self._ended_the_call():
                    raise
                raise Closed("the client was closed during the call") from None
            if self._closed.is_set():
                raise Closed("the client was closed during the call") from fault
            wait, failures = self._retry.wait(failures), failures + 1
            if not may_pass(fault) or time.monotonic() + wait >= deadline:
                raise fault
            await self._pause(wait)

    def _start(self, method: Any, request: Any, **options: Any) -> Any:
        if self._closed.is_set():
            raise Closed("the client is closed")
        return method(request, metadata=self._connection.metadata, **options)

    async def _pause(self, seconds: float) -> None:
        """Until so much later, or until the client is closed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closed.wait()

    def _ended_the_call(self) -> bool:
        """gRPC cancels whoever waits for a call of a closed channel: that is not for the task."""
        task = asyncio.current_task()
        return self._closed.is_set() and not (task and task.cancelling())
