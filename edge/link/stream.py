"""One connection: from the moment to connect to the stream's end, as events.

    wait until the moment -> channel -> Connected -> Received ... -> Disconnected, or a refusal

The writer is gRPC's own, fed from a queue: `send` never blocks, so that a stalled network does not
keep frames from the spool. Credits bound what is in the queue.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import grpc.aio

from common.errors import GlimpseError, RemoteProtocolError, Unreachable
from common.session.events import Connected, Disconnected, Received, ToEdge, ToServer, Welcome
from common.session.shorthand import Shorthand
from edge.link import Link, wire
from glimpse.v1 import ingest_pb2, ingest_pb2_grpc

_FAREWELL_S = 2.0  # for what was sent before a close, and for the server to end the stream

Requests = asyncio.Queue[ingest_pb2.StreamRequest | None]
StreamEvent = Connected | Received[ToEdge] | Disconnected | GlimpseError
"""A GlimpseError in place of Disconnected says why the connection failed."""


class Stream:
    """One try to reach the server, and the stream if it comes about.

    link       where to, asked when it is time
    at         when to connect, seconds of time.monotonic()
    emit       takes each event
    on_ending  called before the connection is closed by this side
    """

    def __init__(
        self,
        link: Callable[[], Link],
        at: float,
        emit: Callable[[Stream, StreamEvent], None],
        on_ending: Callable[[], None],
    ) -> None:
        self._link = link
        self._emit = emit
        self._on_ending = on_ending
        self._requests: Requests = asyncio.Queue()
        self._closing = False
        self._shorthand: Shorthand | None = None  # if the server reads it
        self._task = asyncio.create_task(self._run(at))

    def send(self, message: ToServer) -> None:
        self._requests.put_nowait(wire.to_wire(message, self._shorthand))

    def close(self) -> None:
        """Ends the stream after what was sent before; within two seconds in any case."""
        self._closing = True
        self._requests.put_nowait(None)
        asyncio.get_running_loop().call_later(_FAREWELL_S, self._task.cancel)

    async def closed(self) -> None:
        """Waits until everything is let go of. Raises nothing."""
        await asyncio.wait([self._task])

    def cancel(self) -> None:
        """Ends the stream at once."""
        self._task.cancel()

    async def _run(self, at: float) -> None:
        await asyncio.sleep(max(at - time.monotonic(), 0.0))
        link = self._link()
        channel = link.channel()
        try:
            event = await self._talk(link, channel)
            self._on_ending()
            self._emit(self, event)
        finally:
            await channel.close(None)

    async def _talk(self, link: Link, channel: grpc.aio.Channel) -> Disconnected | GlimpseError:
        stub = ingest_pb2_grpc.IngestServiceStub(channel)
        call = stub.Stream(_written(self._requests), metadata=link.metadata)
        try:
            await call.wait_for_connection()
            self._emit(self, Connected())
            async for response in call:
                message = wire.from_wire(response)
                if isinstance(message, Welcome) and message.short_layers:
                    self._shorthand = Shorthand()
                if message is not None:
                    self._emit(self, Received(message))
        except grpc.aio.AioRpcError as error:
            return link.explain(error)
        except RemoteProtocolError as error:
            return error
        finally:
            # Whatever ends this, CancelledError too, ends the call and its writer with it.
            self._requests.put_nowait(None)
            call.cancel()
        return Unreachable(f"{link.server} ended the stream")


async def _written(requests: Requests) -> AsyncIterator[ingest_pb2.StreamRequest]:
    while (request := await requests.get()) is not None:
        yield request
