"""Inter layers and a server process that is killed in mid-chain: the boxes stay what they were."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cloud.access.identity import Identities
from cloud.folder import data_files
from common.session.events import Outcome
from glimpse.v1 import ingest_pb2, ingest_pb2_grpc
from tests.cloud.films import filmed
from tests.cloud.serving import Camera, Endpoint, raw_channel
from tests.e2e.test_kill import House, wait_until
from tests.weights import tiny_weights

FRAMES = 12


class Served(House):
    """A server process with weights that code inter layers; cameras are played by the test."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.weights = folder / "weights"
        self.model_id = tiny_weights(self.weights, detector=True).model_id
        identities = Identities(data_files(self.data)[1])
        self.tokens = {name: identities.add("camera", name) for name in ("gate", "yard")}

    def start(self) -> None:
        self.start_server("--weights", self.weights)
        wait_until(self._listens, "the server is up")

    def _listens(self) -> bool:
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host, int(port))).close()
        except OSError:
            return False
        return True

    @asynccontextmanager
    async def speaking(self, name: str, **hello: Any) -> AsyncIterator[Camera]:
        """A camera's stream, which the server has welcomed."""
        authority = data_files(self.data)[2].authority
        endpoint = Endpoint(self.address, authority, self.tokens[name])
        async with raw_channel(endpoint) as channel:
            stub = ingest_pb2_grpc.IngestServiceStub(channel)
            call = stub.Stream(metadata=endpoint.metadata)
            camera = Camera(call, name, self.model_id)
            await camera.hello(**hello)
            welcome = (await camera.read()).welcome
            self.settled = [(r.first, r.last) for r in welcome.settled]
            yield camera
            call.cancel()


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("GLIMPSE_CLOUD_MIN_SCORE", "0")
    monkeypatch.setenv("GLIMPSE_CLOUD_BATCH", "1")  # company in a batch changes the last digits
    monkeypatch.setenv("GLIMPSE_CLOUD_THREADS", "1")
    house = Served(tmp_path)
    try:
        yield house
    finally:
        house.close()
        print(house.logs())  # shown if the test has failed


def seen(camera: Camera, seqs: Iterable[int]) -> list[list[str]]:
    """The boxes that came back, frame by frame."""
    assert all(camera.results[seq].has_boxes for seq in seqs)
    return [list(map(str, camera.results[seq].boxes)) for seq in seqs]


async def test_a_server_killed_in_mid_chain_goes_on_with_it(house: Served) -> None:
    film = filmed(house.weights, FRAMES)
    house.start()
    async with house.speaking("yard") as yard:
        await yard.send(*enumerate(film.alone))
        await yard.boxes(range(FRAMES))
        wanted = seen(yard, range(FRAMES))
        assert all(wanted)
    async with house.speaking("gate") as gate:
        await gate.send(*enumerate(film.chained[:5]))
        await gate.boxes(range(5))
        assert seen(gate, range(5)) == wanted[:5]

    house.kill_server()
    house.start()
    doubt = ingest_pb2.FrameRange(boot="b1", first=3, last=6)
    async with house.speaking("gate", in_doubt=[doubt]) as gate:
        assert house.settled == [(3, 4)]
        await gate.send(*enumerate(film.chained[5:9], 5))
        await gate.boxes(range(5, 9))
        assert seen(gate, range(5, 9)) == wanted[5:9]

        await gate.send((10, film.chained[10]), (11, film.chained[11]))  # 9 is lost
        await gate.boxes([10, 11])
        for seq in (10, 11):
            result = gate.results[seq]
            assert (result.outcome, result.has_boxes) == (Outcome.STORED, False)
            assert "missing" in result.reason

        await gate.send(*enumerate(film.chained, 100))  # a new chain
        await gate.boxes(range(100, 100 + FRAMES))
        assert seen(gate, range(100, 100 + FRAMES)) == wanted
