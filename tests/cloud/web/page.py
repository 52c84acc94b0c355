"""The page's server on a port of this machine: everything real but gRPC and the detector."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from prometheus_client import CollectorRegistry

from cloud.access.attempts import Attempts
from cloud.access.audit import Audit
from cloud.access.certificates import CertificateFiles
from cloud.access.identity import Identities, Role
from cloud.access.logins import Logins
from cloud.alone import Alone
from cloud.bus import Bus
from cloud.folder import data_files
from cloud.metrics import Metrics
from cloud.pictures.cache import PictureCache
from cloud.pictures.keeper import AuxiliaryKeeper
from cloud.pictures.reconstruct import Reconstructor
from cloud.pictures.stills import Stills
from cloud.pictures.worker import DecoderProcess
from cloud.sightings import Sighting
from cloud.store import Found
from cloud.store.sqlite import SqliteFrameStore
from cloud.web.app import About, make_app
from cloud.web.live import Live
from cloud.web.serving import WebServer
from cloud.web.sessions import Sessions
from common.bitstream import Header, Kind, pack
from common.codec import Coded, MachineCodec
from common.errors import CameraOffline
from common.types import Box, FrameId, Layer
from tests.cloud.decoders import decoder_folder, loads
from tests.common.latents import scene, scene_model

PATIENCE_S = 20.0
CODEC = MachineCodec(scene_model(8), 0x1A2B)
ABOUT = About("streets-1a2b", ("person", "car", "bus"), ("detect", "recognise"), keep_days=7.0)
PERSON = Box("person", 0.9, 10.0, 20.0, 30.0, 80.0)
CAR = Box("car", 0.6, 100.0, 40.0, 150.0, 70.0)


def layer_bytes(body: bytes = b"body", *, quality: int = 102) -> bytes:
    """A layer whose header is right; nobody decodes its body here."""
    return pack(Header(Kind.MACHINE_INTRA, 0x1A2B, 0, quality, 0, 160, 120, 160), body)


@dataclass
class Gate:
    """The camera, for who asks for its auxiliary layers: away, until it has an answer."""

    answer: bytes | None = None

    async def fetch(self, frame: FrameId, quality: int, deadline_s: float) -> bytes:
        if self.answer is None:
            raise CameraOffline("gate is not connected")
        return self.answer


def scene_layer(number: int = 0) -> Coded:
    """A layer that can be decoded, of 640 x 480."""
    y = scene(np.random.default_rng(number), 8, 30, 40, 1)[0]
    return CODEC.encode(y, width=640, height=480, side=640, quality=102)


def sighting(seq: int = 0, *boxes: Box, camera: str = "gate", at: float = 1000.0) -> Sighting:
    return Sighting(FrameId(camera, "b1", seq), at, 300, 160, 120, boxes)


@dataclass
class Page:
    """A page that is served. `connected`: cameras with an open stream, for the test to say."""

    data: Path
    store: SqliteFrameStore
    identities: Identities
    metrics: Metrics = field(default_factory=lambda: Metrics(CollectorRegistry()))
    bus: Bus[Sighting] = field(default_factory=Bus)
    connected: set[str] = field(default_factory=set)
    port: int = 0
    live: Live = field(init=False)
    pictures: Reconstructor = field(init=False)
    stills: Stills = field(init=False)
    gate: Gate = field(default_factory=lambda: Gate())
    tls: CertificateFiles | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def decoder(self, *, prior: bool = True) -> Path:
        """Puts a decoder there; its folder."""
        return decoder_folder(self.data / "human", prior=prior)

    def token(self, role: Role = "viewer", name: str = "alice") -> str:
        return self.identities.add(role, name)

    def keep(
        self,
        seq: int,
        boxes: Sequence[Box] | None = (),
        *,
        camera: str = "gate",
        at: float | None = None,
        data: bytes | None = None,
    ) -> None:
        """A frame in the store; boxes None: not yet detected."""
        name = FrameId(camera, "b1", seq)
        captured = 1000.0 + seq if at is None else at
        self.store.write([Layer(name, captured, data or layer_bytes())], [])
        if boxes is not None:
            self.store.write([], [Found(name, tuple(boxes), "streets-1a2b")])

    def keep_many(self, seqs: range, *, at: float = 1e6, fps: float = 5.0) -> None:
        """Frames of 'gate' in one commit; two of three show a person."""
        names = [FrameId("gate", "b1", seq) for seq in seqs]
        self.store.write(
            [Layer(name, at + name.seq / fps, layer_bytes()) for name in names],
            [Found(name, (PERSON,) if name.seq % 3 else (), "streets-1a2b") for name in names],
        )

    def client(self, **options: Any) -> httpx.AsyncClient:
        """A stranger's browser."""
        return httpx.AsyncClient(base_url=self.url, timeout=PATIENCE_S, **options)

    @asynccontextmanager
    async def viewer(self) -> AsyncIterator[httpx.AsyncClient]:
        """A browser that is logged in."""
        async with self.client() as client:
            assert (await log_in(client, self.token())).status_code == 303
            yield client


async def log_in(client: httpx.AsyncClient, token: str, **fields: str) -> httpx.Response:
    """What the login form does."""
    return await client.post(
        "/login", data={"token": token, **fields}, headers={"sec-fetch-site": "same-origin"}
    )


@asynccontextmanager
async def page(data: Path, **options: Any) -> AsyncIterator[Page]:
    """Serves the page of this data folder. options: free, most_s of Attempts; tls; port."""
    store_path, tokens, _ = data_files(data)
    metrics = Metrics(CollectorRegistry())
    store = SqliteFrameStore(store_path)
    served = Page(data, store, Identities(tokens), metrics, tls=options.get("tls"))
    live = served.live = Live(served.bus, store, served.identities, metrics, served.connected)
    alone = Alone(store, CODEC)
    served.stills = Stills(store, alone, metrics, most=9, age_s=3600)
    attempts = Attempts(free=options.get("free", 10), most_s=options.get("most_s", 300.0))
    pictures = served.pictures = Reconstructor(
        store, CODEC,
        AuxiliaryKeeper(store, served.gate, metrics, deadline_s=30),
        DecoderProcess(loads(data / "human", CODEC.model_id), timeout_s=60),
        PictureCache(data / "pictures", max_bytes=1 << 24, keep_s=3600),
        metrics, human=data / "human", stills=served.stills,
    )  # fmt: skip
    app = make_app(
        live, store, alone, Sessions(data / "sessions", served.identities),
        Logins(attempts, metrics), Audit(data / "audit.jsonl"), metrics, ABOUT, pictures,
        quality=128,
    )  # fmt: skip
    try:
        with WebServer(app, f"127.0.0.1:{options.get('port', 0)}", served.tls) as server:
            served.port = server.port
            async with asyncio.TaskGroup() as tasks:
                following = tasks.create_task(live.run())
                serving = tasks.create_task(server.run())
                decoding = tasks.create_task(pictures.run())
                yield served
                served.bus.close()
                await following
                serving.cancel()
                decoding.cancel()
    finally:
        store.close()


class Events:
    """The stream of a page, read an event at a time."""

    def __init__(self, reply: httpx.Response) -> None:
        self._lines = reply.aiter_lines()

    async def next(self, wanted: str = "") -> tuple[str, Any]:
        """(name, message) of the next event, or of the next one of that name."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                name = (await anext(self._lines)).removeprefix("event: ")
                message = json.loads((await anext(self._lines)).removeprefix("data: "))
                assert await anext(self._lines) == ""
                if wanted in ("", name):
                    return name, message

    async def end(self) -> None:
        """Reads to the end of the stream."""
        async with asyncio.timeout(PATIENCE_S):
            async for _ in self._lines:
                pass


@asynccontextmanager
async def events(client: httpx.AsyncClient) -> AsyncIterator[Events]:
    async with client.stream("GET", "/api/live") as reply:
        assert reply.status_code == 200
        assert reply.headers["content-type"].startswith("text/event-stream")
        yield Events(reply)
