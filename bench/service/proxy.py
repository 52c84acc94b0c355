"""A TCP proxy with a rate, a delay and outages; what it carries is counted by the kernel."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from edge.link.counter import WireBytes, count

_CHUNK = 1448  # bytes: one segment
_HEADERS = 52  # bytes of a segment's headers
_BUFFER = 4096
SAMPLE_S = 0.25
_OUTAGE_LOOK_S = 0.05


@dataclass
class _Connection:
    """camera: the socket towards the camera process; its count goes on after its end."""

    camera: socket.socket
    seen: WireBytes = field(default_factory=lambda: WireBytes(0, 0))

    def end(self) -> None:
        """Tells the camera: our own socket keeps the connection open else."""
        with suppress(OSError):
            self.seen = count(self.camera) or self.seen  # it cannot be asked afterwards
            self.camera.shutdown(socket.SHUT_RDWR)


class Proxy:
    """Lets connections through to `server`, each way for itself.

    rate     seconds since the first connection -> bit/s; 0: nothing passes
    delay    seconds, one way
    history  (seconds since the first connection, wire bytes up, wire bytes down), totals
    """

    def __init__(self, server: str, rate: Callable[[float], float], delay: float) -> None:
        self.history: list[tuple[float, int, int]] = []
        self._host, _, port = server.rpartition(":")
        self._port = int(port)
        self._rate = rate
        self._delay = delay
        self._began: float | None = None
        self._connections: list[_Connection] = []
        self._pumps: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        """Listens; returns the address."""
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self._server = await asyncio.start_server(self._accept, sock=listener, limit=_CHUNK)
        return f"127.0.0.1:{listener.getsockname()[1]}"

    async def stop(self) -> None:
        self._server.close()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        self._look()
        for connection in self._connections:
            connection.camera.close()
        self._connections.clear()

    def cut(self) -> None:
        """Ends every connection; new ones are let through as the rate has it."""
        for pump in self._pumps:
            pump.cancel()

    async def sample(self) -> None:
        """Keeps the history; runs until it is cancelled."""
        while True:
            await asyncio.sleep(SAMPLE_S)
            self._look()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._began = self._began or asyncio.get_running_loop().time()
        # A socket of its own for the same connection: it can be asked until the very end.
        camera: socket.socket = writer.get_extra_info("socket")
        connection = _Connection(socket.fromfd(camera.fileno(), camera.family, 1))
        self._connections.append(connection)
        try:
            there = await asyncio.open_connection(self._host, self._port, limit=_CHUNK)
        except OSError:  # the server is away
            writer.close()
            connection.end()
            return
        for source, target in ((reader, there[1]), (there[0], writer)):
            pump = asyncio.create_task(self._pump(source, target))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)
            pump.add_done_callback(lambda _: connection.end())

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        """One direction of one connection: bytes leave at the rate, arrive after the delay."""
        arriving: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        delivery = asyncio.create_task(self._deliver(arriving, target))
        try:
            with suppress(ConnectionError):
                while data := await source.read(_CHUNK):
                    await self._pass(len(data) + _HEADERS)
                    arriving.put_nowait((self._now + self._delay, data))
            arriving.put_nowait((self._now + self._delay, b""))
            await delivery
        finally:
            delivery.cancel()
            target.close()

    async def _pass(self, size: int) -> None:
        """Takes as long as so many bytes take on the link."""
        left = float(size)
        while left > 0:
            rate = self._rate(self._now) / 8
            if rate > 0 and left / rate < _OUTAGE_LOOK_S:
                await asyncio.sleep(left / rate)
                return
            await asyncio.sleep(_OUTAGE_LOOK_S)
            left -= rate * _OUTAGE_LOOK_S

    async def _deliver(
        self, arriving: asyncio.Queue[tuple[float, bytes]], target: asyncio.StreamWriter
    ) -> None:
        with suppress(ConnectionError):
            while True:
                due, data = await arriving.get()
                await asyncio.sleep(max(due - self._now, 0.0))
                if not data:
                    target.close()
                    await target.wait_closed()
                    return
                target.write(data)
                await target.drain()

    @property
    def _now(self) -> float:
        """Seconds since the first connection."""
        now = asyncio.get_running_loop().time()
        return 0.0 if self._began is None else now - self._began

    def _look(self) -> None:
        for connection in self._connections:
            with suppress(OSError):  # it was reset: what was seen last will do
                connection.seen = count(connection.camera) or connection.seen
        up = sum(connection.seen.received for connection in self._connections)
        down = sum(connection.seen.sent for connection in self._connections)
        self.history.append((self._now, up, down))
