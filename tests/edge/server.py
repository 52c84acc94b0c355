"""A small real server for the camera's tests: grpc.aio, CloudSession, a store in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from cloud.wire import from_request, to_response
from common.bitstream import check, is_inter, unpack
from common.session import CloudPolicy, CloudSession
from common.session.events import (
    Admit,
    Close,
    CloudAction,
    CloudEvent,
    Connected,
    Detected,
    Disconnected,
    LookedUp,
    Lookup,
    RateTarget,
    Received,
    Record,
    Send,
    Store,
    Stored,
    TargetChosen,
    Telemetry,
)
from common.session.shorthand import Shorthand
from common.types import Box, FrameId, Layer
from glimpse.v1 import ingest_pb2_grpc

BOX = Box("car", 0.75, 1.0, 2.0, 30.0, 40.0)


class Server(ingest_pb2_grpc.IngestServiceServicer):
    """What came in, and how often.

    cut_at  so many layers after the last cut, the stream breaks: they are stored and not acked
    """

    def __init__(self, model_id: int, *, token: str | None = None, cut_at: int = 0) -> None:
        self.model_id = model_id
        self.stored: dict[FrameId, Layer] = {}
        self.told: list[Telemetry] = []
        self.streams = 0
        self.cuts = 0
        self.cut_at = cut_at
        self.policy = CloudPolicy(window=8)
        self.target: RateTarget | None = None  # told to each stream
        self.address = ""
        self._token = token
        self._since_cut = 0

    async def Stream(  # type: ignore[override]  # noqa: N802 - the contract's name
        self, _: object, context: Any
    ) -> None:
        self.streams += 1
        given = dict(context.invocation_metadata()).get("authorization")
        if self._token is not None and given != f"Bearer {self._token}":
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "this token is not known here")
        model_id = self.model_id
        session = CloudSession(
            f"s{self.streams}",
            model_id,
            inspect=lambda data: check(data) if is_inter(data) else unpack(data, model_id),
            policy=self.policy,
        )
        shorthand = Shorthand()
        events: list[CloudEvent] = [Connected()]
        while True:
            while events:
                for action in session.on(events.pop(0), time.monotonic()):
                    if await self._perform(action, events, context):
                        return
            request = await context.read()
            if request is grpc.aio.EOF:
                events.append(Disconnected())
            elif (message := from_request(request, shorthand)) is not None:
                events.append(Received(message))
            if isinstance(events[0], Disconnected):
                return

    def look(self, layer: Layer) -> Detected:
        """What is in a layer: always a car."""
        return Detected(layer.frame, (BOX,))

    async def _perform(self, action: CloudAction, events: list[CloudEvent], context: Any) -> bool:
        match action:
            case Send(message):
                await context.write(to_response(message))
            case Lookup(frames):
                events.append(LookedUp(frozenset(f for f in frames if f in self.stored)))
            case Store(layers):
                self.stored.update((layer.frame, layer) for layer in layers)
                self._since_cut += len(layers)
                if self.cut_at and self._since_cut >= self.cut_at:
                    self._since_cut = 0
                    self.cuts += 1
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "the cable was pulled")
                events.append(Stored(tuple(layer.frame for layer in layers)))
                events += [self.look(layer) for layer in layers]
            case Record(telemetry):
                self.told.append(telemetry)
            case Admit():
                if self.target is not None:
                    events.append(TargetChosen(self.target))
            case Close():
                return True
        return False


async def until(condition: Callable[[], object]) -> None:
    """Waits for what happens in other tasks, threads or processes."""
    while not condition():  # noqa: ASYNC110 - conditions are of many kinds
        await asyncio.sleep(0.005)


@asynccontextmanager
async def serving(
    service: Server, credentials: grpc.ServerCredentials | None = None, address: str = "127.0.0.1:0"
) -> AsyncIterator[Server]:
    """Serves on a free port; `service.address` says where."""
    server = grpc.aio.server()
    ingest_pb2_grpc.add_IngestServiceServicer_to_server(service, server)
    if credentials is None:
        port = server.add_insecure_port(address)
    else:
        port = server.add_secure_port(address, credentials)
    service.address = f"127.0.0.1:{port}"
    await server.start()
    try:
        yield service
    finally:
        await server.stop(None)
        await asyncio.sleep(0)
