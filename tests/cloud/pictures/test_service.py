"""ReconstructionService over real gRPC, by hand: what is told, what is refused, who may look."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image

from cloud.folder import data_files
from cloud.store import Auxiliary
from cloud.store.sqlite import SqliteFrameStore
from cloud.weights import CloudWeights
from common.types import FrameId, Layer
from edge.capture.picture import Picture
from edge.coding.encoder import Encoder
from edge.coding.weights import load_weights as load_edge_weights
from glimpse.v1 import ingest_pb2, reconstruction_pb2_grpc
from glimpse.v1 import reconstruction_pb2 as pb
from tests.cloud.decoders import auxiliary_of, decoder_folder, did, loads
from tests.cloud.films import Film
from tests.cloud.serving import PATIENCE_S, Served, raw_channel, serving, until
from tests.human import made, tiny_human
from tests.weights import tiny_weights

INVALID, MISSING = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
IMPOSSIBLE, FULL = grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.RESOURCE_EXHAUSTED
GATE = {"frame": pb.FrameName(camera="gate", boot="b1", seq=0)}


def frame(seq: int) -> dict[str, Any]:
    return {"frame": pb.FrameName(camera="gate", boot="b1", seq=seq)}


@dataclass
class Told:
    """One call, whole. pictures: files with what is said of them."""

    kinds: list[str] = field(default_factory=list)
    pictures: list[tuple[bytes, pb.Done]] = field(default_factory=list)
    steps: list[pb.Step] = field(default_factory=list)


class Pictures:
    def __init__(self, stub: Any, metadata: tuple[tuple[str, str], ...]) -> None:
        self._stub, self._metadata = stub, metadata

    def call(self, **fields: Any) -> Any:
        request = pb.ReconstructRequest(**fields)
        return self._stub.Reconstruct(request, metadata=self._metadata, timeout=3 * PATIENCE_S)

    async def told(self, **fields: Any) -> Told:
        told, file = Told(), b""
        async for message in self.call(**fields):
            kind = message.WhichOneof("message")
            told.kinds.append(kind)
            if kind == "chunk":
                file += message.chunk.data
            if kind == "step":
                told.steps.append(message.step)
            if kind == "done":
                told.pictures.append((file, message.done))
                file = b""
        return told

    async def code(self, **fields: Any) -> grpc.StatusCode:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await self.told(**fields)
        assert refused.value.details()
        return refused.value.code()


@asynccontextmanager
async def pictures(served: Served, token: str | None = None) -> AsyncIterator[Pictures]:
    endpoint = served.endpoint(served.viewer_token if token is None else token)
    async with raw_channel(endpoint) as channel:
        stub = reconstruction_pb2_grpc.ReconstructionServiceStub(channel)
        yield Pictures(stub, endpoint.metadata)


@pytest.fixture
def human(tmp_path: Path) -> Path:
    return decoder_folder(tmp_path / "human")


@pytest.fixture
def data(tmp_path: Path, layers: list[bytes]) -> Path:
    """Frames 0..5 of the gate."""
    folder = tmp_path / "data"
    store = SqliteFrameStore(data_files(folder)[0])
    names = [FrameId("gate", "b1", n) for n in range(6)]
    store.put([Layer(name, 100.0 + name.seq, layers[name.seq]) for name in names])
    store.close()
    return folder


@asynccontextmanager
async def open_studio(
    data: Path, human: Path, weights: CloudWeights, /, **changes: Any
) -> AsyncIterator[tuple[Served, Pictures]]:
    load = loads(human, weights.manifest.model_id)
    async with serving(data, load, human=human, **changes) as served, pictures(served) as viewer:
        yield served, viewer


async def test_a_picture_of_a_stored_frame(
    data: Path, human: Path, weights: CloudWeights, layers: list[bytes]
) -> None:
    async with open_studio(data, human, weights) as (served, viewer):
        told = await viewer.told(**frame(2), steps=2, seed=7, fidelity=0.5, why="case 12")
        assert told.kinds[-2:] == ["chunk", "done"]
        assert {"queued", "loading"} & set(told.kinds)
        assert all(step.preview[:4] == b"RIFF" and step.of == 2 for step in told.steps)
        [(file, done)] = told.pictures
        assert done.picture_bytes == len(file)
        assert (done.width, done.height, done.machine_bytes) == (160, 120, len(layers[2]))
        assert (done.steps, done.seed, done.fidelity, done.generated) == (2, 7, 0.5, True)
        assert (done.auxiliary_bytes, done.cached, done.upgrade_expected) == (0, False, False)
        assert (done.decoder, list(done.notes)) == ("tiny-0d0d", ["it is tiny"])
        assert not done.HasField("seen")
        with Image.open(io.BytesIO(file)) as picture:
            picture.load()
            said = json.loads(picture.info["glimpse"])
        assert said == json.loads(done.provenance)
        assert (said["frame"], said["generated"]) == ("gate/b1/2", True)
        [line] = (data / "audit.jsonl").read_text().splitlines()
        entry = json.loads(line)
        assert (entry["who"], entry["call"]) == ("viewer local", "Reconstruct")
        assert (entry["frame"], entry["why"], entry["steps"]) == ("gate/b1/2", "case 12", 2)
        assert served.count("glimpse_decode_cache_total", hit="false") == 1


async def test_a_layer_at_hand_with_its_auxiliary_layer(
    data: Path, human: Path, weights: CloudWeights, layers: list[bytes]
) -> None:
    auxiliary = auxiliary_of(weights.codec.decode(layers[1]))
    async with open_studio(data, human, weights) as (_, viewer):
        [(_, done)] = (await viewer.told(layer=layers[1], auxiliary=auxiliary)).pictures
        assert (done.auxiliary_bytes, done.generated) == (len(auxiliary), False)
        assert (done.seen.columns, done.seen.rows) == (20, 15)
        assert len(done.seen.shares) == 300
        assert json.loads(done.provenance)["frame"] is None
        assert '"a layer at hand"' in (data / "audit.jsonl").read_text()


async def test_an_auxiliary_layer_in_the_store_is_used(
    data: Path, human: Path, weights: CloudWeights, layers: list[bytes]
) -> None:
    store = SqliteFrameStore(data_files(data)[0])
    auxiliary = auxiliary_of(weights.codec.decode(layers[1]))
    store.put_auxiliary(FrameId("gate", "b1", 1), Auxiliary(auxiliary, 128))
    store.close()
    async with open_studio(data, human, weights) as (_, viewer):
        [(_, done)] = (await viewer.told(**frame(1))).pictures
        assert done.auxiliary_bytes == len(auxiliary)
        never = pb.AUXILIARY_WISH_NEVER
        [(_, done)] = (await viewer.told(**frame(1), auxiliary_wish=never)).pictures
        assert done.auxiliary_bytes == 0


async def test_a_frame_in_the_middle_of_a_chain(
    tmp_path: Path, human: Path, tiny_folder: Path, film: Film
) -> None:
    from cloud.weights import load_weights

    data = tmp_path / "chain"
    store = SqliteFrameStore(data_files(data)[0])
    store.put(film.layers())
    store.close()
    weights = load_weights(tiny_folder)
    async with open_studio(data, human, weights, weights=tiny_folder) as (_, viewer):
        [(_, done)] = (await viewer.told(**frame(5))).pictures
        assert done.machine_bytes == len(film.chained[5])


async def test_a_camera_that_is_not_there_leaves_the_machine_layer_and_a_note(
    data: Path, human: Path, weights: CloudWeights
) -> None:
    async with open_studio(data, human, weights) as (_, viewer):
        told = await viewer.told(**frame(0), auxiliary_wish=pb.AUXILIARY_WISH_FETCH)
        assert told.kinds[0] == "waiting_for_auxiliary"
        [(_, done)] = told.pictures
        assert done.auxiliary_bytes == 0
        assert done.notes[0].startswith("no auxiliary layer: ")


@pytest.mark.parametrize(
    "fields",
    [
        {"steps": 9},
        {"fidelity": -0.1},
        {"fidelity": 1.5},
        {"fidelity": float("nan")},
        {"auxiliary_quality": 256},
        {"why": "x" * 257},
        {"auxiliary": b"x" * ((1 << 20) + 1)},
    ],
    ids=lambda fields: f"{next(iter(fields))}",
)
async def test_what_no_picture_can_be_made_by(
    data: Path, human: Path, weights: CloudWeights, fields: dict[str, Any]
) -> None:
    async with open_studio(data, human, weights) as (_, viewer):
        assert await viewer.code(**GATE, **fields) is INVALID
        assert did(human) == []


async def test_frames_and_layers_that_are_none(
    data: Path, human: Path, weights: CloudWeights, layers: list[bytes], corrupt: bytes, film: Film
) -> None:
    async with open_studio(data, human, weights) as (_, viewer):
        assert await viewer.code() is INVALID
        assert await viewer.code(frame=pb.FrameName(camera="../gate", boot="b1")) is INVALID
        assert await viewer.code(layer=b"no layer") is INVALID
        assert await viewer.code(layer=corrupt) is INVALID
        assert await viewer.code(layer=film.chained[1]) is INVALID  # leans on another
        assert await viewer.code(layer=film.chained[0]) is IMPOSSIBLE  # of another model
        assert await viewer.code(**frame(77)) is MISSING
        store = SqliteFrameStore(data_files(data)[0])
        store.expire(6)
        store.close()
        assert await viewer.code(**frame(1)) is MISSING  # gone by retention


async def test_auxiliary_layers_at_hand_that_do_not_fit(
    data: Path, human: Path, weights: CloudWeights, layers: list[bytes]
) -> None:
    base, other = (weights.codec.decode(layers[n]) for n in (1, 2))
    async with open_studio(data, human, weights) as (_, viewer):
        for auxiliary, expected in (
            (b"damaged", INVALID),
            (auxiliary_of(base)[:-3], INVALID),
            (auxiliary_of(other), INVALID),
            (auxiliary_of(base, model=5), IMPOSSIBLE),
        ):
            assert await viewer.code(layer=layers[1], auxiliary=auxiliary) is expected


async def test_a_server_without_a_decoder_says_so(data: Path, tmp_path: Path) -> None:
    async with serving(data, human=tmp_path / "none") as served, pictures(served) as viewer:
        with pytest.raises(grpc.aio.AioRpcError, match="no human decoder") as refused:
            await viewer.told(**GATE)
        assert refused.value.code() is IMPOSSIBLE


async def test_weights_without_a_prior_take_no_steps(
    data: Path, tmp_path: Path, weights: CloudWeights
) -> None:
    human = decoder_folder(tmp_path / "plain", prior=False)
    async with open_studio(data, human, weights) as (_, viewer):
        with pytest.raises(grpc.aio.AioRpcError, match="ask for 0 steps") as refused:
            await viewer.told(**GATE, steps=1)
        assert refused.value.code() is IMPOSSIBLE
        assert did(human) == []  # and nothing was loaded for it
        [(_, done)] = (await viewer.told(**GATE)).pictures
        assert done.steps == 0


async def test_weights_that_cannot_be_loaded(
    data: Path, human: Path, weights: CloudWeights
) -> None:
    (human / "broken").touch()
    async with open_studio(data, human, weights) as (_, viewer):
        assert await viewer.code(**GATE) is IMPOSSIBLE


async def test_a_decoder_that_fails_or_dies(data: Path, human: Path, weights: CloudWeights) -> None:
    async with open_studio(data, human, weights) as (_, viewer):
        for trouble in ("fail", "die"):
            (human / trouble).write_text("no memory")
            assert await viewer.code(**GATE) is grpc.StatusCode.UNAVAILABLE
            (human / trouble).unlink()
        [(_, done)] = (await viewer.told(**GATE)).pictures
        assert done.width == 160


async def test_too_many_pictures(data: Path, human: Path, weights: CloudWeights) -> None:
    async with open_studio(data, human, weights, decode_queue_each=1) as (_, viewer):
        (human / "hold").touch()
        first = asyncio.create_task(viewer.told(**frame(0)))
        await until(lambda: "begin 0" in did(human))
        assert await viewer.code(**frame(1)) is FULL
        (human / "hold").unlink()
        assert (await first).pictures


async def test_a_caller_that_leaves_frees_the_decoder_within_a_step(
    data: Path, human: Path, weights: CloudWeights
) -> None:
    async with open_studio(data, human, weights) as (served, viewer):
        (human / "hold").touch()
        call = viewer.call(**frame(0), steps=8)
        assert (await call.read()).WhichOneof("message") in ("queued", "loading")
        await until(lambda: "begin 8" in did(human))
        call.cancel()
        line = served.running.pictures._line
        await until(lambda: not any(entry.askers for entry in line.entries()))
        (human / "hold").unlink()
        assert (await viewer.told(**frame(1))).pictures
        assert did(human)[1:] == ["begin 8", "begin 0", "end"]


async def test_viewers_only(data: Path, human: Path, weights: CloudWeights) -> None:
    async with open_studio(data, human, weights) as (served, _):
        for token, expected in (
            (served.token("camera", "gate"), grpc.StatusCode.PERMISSION_DENIED),
            ("guess", grpc.StatusCode.UNAUTHENTICATED),
        ):
            async with pictures(served, token) as stranger:
                assert await stranger.code(**GATE) is expected
        assert (data / "audit.jsonl").read_text() == ""


async def test_a_server_that_shuts_down_tells_those_who_wait(
    data: Path, human: Path, weights: CloudWeights
) -> None:
    (human / "hold").touch()
    load = loads(human, weights.manifest.model_id)
    server = serving(data, load, human=human, drain_s=0.5)
    served = await server.__aenter__()
    async with pictures(served) as viewer:
        first = asyncio.create_task(viewer.code(**frame(0)))
        await until(lambda: "begin 0" in did(human))
        second = asyncio.create_task(viewer.code(**frame(1)))
        await until(lambda: served.count("glimpse_decode_queue_depth") == 1)
        await server.__aexit__(None, None, None)
        assert await second is grpc.StatusCode.UNAVAILABLE
        assert await first in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


async def test_the_real_decoder_with_random_weights(tmp_path: Path) -> None:
    """Nothing tiny but the networks: the settings' own folder, steps, a prior that is not there."""
    folder = tmp_path / "weights"
    tiny_weights(folder, detector=True)
    human = tiny_human(folder)
    encoder = Encoder(load_edge_weights(folder), threads=1)
    picture = Picture.whole(made(np.random.default_rng(1), 96, 128))
    layer = encoder.layer(encoder.analyse(picture), 0.5)
    options: dict[str, Any] = {"weights": folder, "decode_device": "cpu", "decode_threads": 1}
    async with serving(tmp_path / "data", **options) as served, pictures(served) as viewer:
        told = await viewer.told(layer=layer, steps=2, seed=1)
        [(file, done)] = told.pictures
        assert (done.width, done.height, done.decoder[:12]) == (128, 96, "tiny-human-0")
        with Image.open(io.BytesIO(file)) as opened:
            assert opened.size == (128, 96)
        again = (await viewer.told(layer=layer)).pictures[0][1]
        assert (again.cached, again.steps) == (True, 0)
        shutil.rmtree(human / "prior")
    async with serving(tmp_path / "data", **options) as served, pictures(served) as viewer:
        assert await viewer.code(layer=layer, steps=1) is IMPOSSIBLE


@pytest.mark.parametrize("gone", [False, True], ids=["sent", "expired"])
async def test_a_camera_that_is_connected_gives_its_auxiliary_layer_or_says_why_not(
    tmp_path: Path, human: Path, weights: CloudWeights, layers: list[bytes], gone: bool
) -> None:
    data = auxiliary_of(weights.codec.decode(layers[0]))
    answer = {"outcome": ingest_pb2.AUXILIARY_OUTCOME_SENT, "size": len(data), "data": data}
    expired = {"outcome": ingest_pb2.AUXILIARY_OUTCOME_EXPIRED, "reason": "the ring is full"}
    options = {"auxiliary_patience_s": PATIENCE_S}
    async with (
        open_studio(tmp_path / "data", human, weights, **options) as (served, viewer),
        served.camera("gate", auxiliary=True) as camera,
    ):
        await camera.send((0, layers[0]))
        await camera.boxes([0])
        fetch = {"auxiliary_wish": pb.AUXILIARY_WISH_FETCH, "auxiliary_quality": 77}
        asking = asyncio.create_task(viewer.told(**frame(0), **fetch))
        while not (message := await camera.read()).HasField("auxiliary_request"):
            pass
        request = message.auxiliary_request
        assert (request.boot or "b1", request.seq, request.quality) == ("b1", 0, 77)
        reply = ingest_pb2.AuxiliaryReply(
            request=request.request,
            **(expired if gone else answer),  # type: ignore[arg-type]
        )
        await camera.write(auxiliary_reply=reply)
        [(_, done)] = (await asking).pictures
        assert done.auxiliary_bytes == (0 if gone else len(data))
        assert not done.upgrade_expected
        outcome = "gone" if gone else "fetched"
        assert served.count("glimpse_auxiliary_fetch_total", outcome=outcome) == 1
        if gone:
            assert done.notes[0].startswith("no auxiliary layer: ")
        else:
            assert served.stored()[0].auxiliary_bytes == len(data)
