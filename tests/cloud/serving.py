"""A real server in this process, and small clients of it that speak the contract by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from cloud.access.certificates import CertificateFiles
from cloud.access.identity import Identities, Role
from cloud.folder import data_files
from cloud.pictures.values import Decoder
from cloud.server import Running, prepare, running
from cloud.settings import CloudSettings
from cloud.store import StoredFrame
from cloud.store.sqlite import SqliteFrameStore
from glimpse.v1 import detection_pb2_grpc, ingest_pb2, ingest_pb2_grpc

PATIENCE_S = 20.0  # a test that waits longer has failed; the machine may be busy


def settings(data: Path, **changes: Any) -> CloudSettings:
    """For a server on free ports of this machine."""
    free: dict[str, Any] = {
        "listen": "127.0.0.1:0",
        "metrics_listen": "",
        "web_listen": "",
        "data": data,
        "threads": 1,
    }
    return CloudSettings(**(free | changes))


@dataclass(frozen=True)
class Endpoint:
    """Where a server is, whom to trust, what to prove oneself with."""

    server: str
    authority: Path | None
    token: str
    insecure: bool = False
    own: CertificateFiles | None = None

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()


@dataclass
class Served:
    """A running server and what its clients need to know."""

    running: Running
    settings: CloudSettings

    def token(self, role: Role, name: str) -> str:
        return Identities(data_files(self.settings.data)[1]).add(role, name)

    @property
    def viewer_token(self) -> str:
        return (self.settings.data / "viewer.token").read_text().strip()

    def endpoint(self, token: str) -> Endpoint:
        authority = data_files(self.settings.data)[2].authority
        insecure = self.settings.insecure
        address = f"127.0.0.1:{self.running.port}"
        return Endpoint(address, None if insecure else authority, token, insecure)

    def mutual(self, own: CertificateFiles | None, token: str = "") -> Endpoint:
        """The port that asks for a certificate."""
        authority = data_files(self.settings.data)[2].authority
        return Endpoint(f"127.0.0.1:{self.running.mtls_port}", authority, token, own=own)

    def count(self, name: str, **labels: str) -> float:
        return self.running.metrics.registry.get_sample_value(name, labels) or 0.0

    def stored(self) -> dict[int, StoredFrame]:
        """What the store has by now, by seq, read through a connection of its own."""
        store = SqliteFrameStore(data_files(self.settings.data)[0])
        try:
            return {stored.frame.seq: stored for stored in store.frames(limit=10_000)}
        finally:
            store.close()

    @asynccontextmanager
    async def camera(
        self,
        name: str = "gate",
        *,
        hello: bool = True,
        token: str | None = None,
        endpoint: Endpoint | None = None,
        **fields: Any,
    ) -> AsyncIterator[Camera]:
        """A camera's stream; with `hello` it has been welcomed."""
        endpoint = endpoint or self.endpoint(token or self.token("camera", name))
        async with raw_channel(endpoint) as channel:
            call = ingest_pb2_grpc.IngestServiceStub(channel).Stream(metadata=endpoint.metadata)
            camera = Camera(call, name, self.running.ingest.intake.model_id)
            try:
                if hello:
                    await camera.hello(**fields)
                    assert (await camera.read()).HasField("welcome")
                yield camera
            finally:
                call.cancel()

    @asynccontextmanager
    async def viewer(self, token: str | None = None) -> AsyncIterator[Viewer]:
        endpoint = self.endpoint(token or self.viewer_token)
        async with raw_channel(endpoint) as channel:
            yield Viewer(detection_pb2_grpc.DetectionServiceStub(channel), endpoint.metadata)


@dataclass
class Viewer:
    stub: Any
    metadata: tuple[tuple[str, str], ...]

    def watch(self, request: Any) -> Any:
        return self.stub.Watch(request, metadata=self.metadata)

    async def detect(self, request: Any) -> Any:
        return await self.stub.Detect(request, metadata=self.metadata, timeout=PATIENCE_S)


class Camera:
    """The client's end of one stream."""

    def __init__(self, call: Any, name: str, model_id: int) -> None:
        self.call, self.name, self.model_id = call, name, model_id
        self.sent = 0
        self.acked = 0
        self.credits = 0
        self.results: dict[int, Any] = {}  # FrameResult by seq, the last one of each

    async def hello(self, **fields: Any) -> None:
        names: dict[str, Any] = {
            "camera": self.name,
            "boot": "b1",
            "model_id": self.model_id,
            "want_boxes": True,
        }
        await self.write(hello=ingest_pb2.Hello(**(names | fields)))

    async def send(
        self, *layers: tuple[int, bytes], boot: str = "", at_us: int = 1_000_000
    ) -> None:
        """(seq, data) each, in one message."""
        entries = [
            ingest_pb2.Layer(boot=boot, seq=seq, captured_at_us=at_us + seq, data=data)
            for seq, data in layers
        ]
        await self.write(layers=ingest_pb2.Layers(first=self.sent, layers=entries))
        self.sent += len(layers)

    async def write(self, **message: Any) -> None:
        await asyncio.wait_for(self.call.write(ingest_pb2.StreamRequest(**message)), PATIENCE_S)

    async def read(self) -> Any:
        """The next message; grpc.aio.EOF at the end."""
        message = await asyncio.wait_for(self.call.read(), PATIENCE_S)
        if message is grpc.aio.EOF:
            return message
        if message.HasField("welcome"):
            self.credits = message.welcome.credits
        if message.HasField("results"):
            self.acked = message.results.acked
            self.credits = message.results.credits
            self.results.update({frame.seq: frame for frame in message.results.frames})
        return message

    async def until(self, done: Callable[[], bool]) -> None:
        """Reads until `done()`; the stream must not end before."""
        while not done():
            message = await self.read()
            assert message is not grpc.aio.EOF, await self.call.code()
            assert not message.HasField("goodbye"), message

    async def acks(self, count: int) -> None:
        await self.until(lambda: self.acked >= count)

    async def boxes(self, seqs: Iterable[int]) -> None:
        """Reads until there is a word on each of these."""
        wanted = set(seqs)
        await self.until(lambda: wanted <= self.results.keys())

    async def goodbye(self) -> Any:
        """Reads to the Goodbye and to the end of the stream after it."""
        while not (message := await self.read()).HasField("goodbye"):
            pass
        assert await self.read() is grpc.aio.EOF
        assert await self.call.code() is grpc.StatusCode.OK
        return message.goodbye

    async def status(self) -> grpc.StatusCode:
        return await asyncio.wait_for(self.call.code(), PATIENCE_S)


@asynccontextmanager
async def raw_channel(endpoint: Endpoint) -> AsyncIterator[grpc.aio.Channel]:
    """A channel with nothing of ours in it."""
    if endpoint.insecure:
        channel = grpc.aio.insecure_channel(endpoint.server)
    else:
        assert endpoint.authority is not None
        own = endpoint.own
        pair = (own.key.read_bytes(), own.certificate.read_bytes()) if own else (None, None)
        trust = grpc.ssl_channel_credentials(endpoint.authority.read_bytes(), *pair)
        alone = [("grpc.use_local_subchannel_pool", 1)]  # no connection of an earlier channel
        channel = grpc.aio.secure_channel(endpoint.server, trust, options=alone)
    async with channel:
        yield channel


@asynccontextmanager
async def serving(
    data: Path, load_decoder: Callable[[], Decoder] | None = None, /, **changes: Any
) -> AsyncIterator[Served]:
    chosen = settings(data, **changes)
    prepare(chosen)
    async with running(chosen, load_decoder) as server:
        yield Served(server, chosen)


async def until(done: Callable[[], bool]) -> None:
    """Waits for something that happens by itself in this process or another."""
    async with asyncio.timeout(PATIENCE_S):
        while not done():  # noqa: ASYNC110 - what it waits for may be in another process
            await asyncio.sleep(0.01)
