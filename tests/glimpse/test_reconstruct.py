"""Pictures by both clients, from a real server with the tiny decoder."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import glimpse
from cloud.folder import data_files
from cloud.store.sqlite import SqliteFrameStore
from cloud.weights import load_weights
from common.types import FrameId, Layer
from glimpse.pictures import Reconstruction
from glimpse.v1 import reconstruction_pb2 as pb
from tests.cloud.decoders import auxiliary_of, decoder_folder, did, loads
from tests.cloud.serving import Served, serving, until
from tests.glimpse.clients import KINDS, Either, client

CODEC = load_weights().codec


@pytest.fixture
def human(tmp_path: Path) -> Path:
    return decoder_folder(tmp_path / "human")


@asynccontextmanager
async def studio(
    folder: Path, human: Path, layers: list[bytes], kind: str, **options: Any
) -> AsyncIterator[tuple[Served, Either]]:
    """Frames 0..5 of the gate, and a client of their server."""
    data = folder / "data"
    store = SqliteFrameStore(data_files(data)[0])
    names = [FrameId("gate", "b1", n) for n in range(6)]
    store.put([Layer(name, 100.0 + name.seq, layers[name.seq]) for name in names])
    store.close()
    load = loads(human, CODEC.model_id)
    async with (
        serving(data, load, human=human, **options) as served,
        client(kind, served) as viewer,
    ):
        yield served, viewer


@pytest.mark.parametrize("kind", KINDS)
async def test_a_picture_and_how_it_came_about(
    tmp_path: Path, human: Path, layers: list[bytes], kind: str
) -> None:
    told: list[glimpse.Progress] = []
    async with studio(tmp_path, human, layers, kind) as (_, viewer):
        options = {"steps": 2, "seed": 7, "fidelity": 0.3, "why": "a look"}
        picture = await viewer.reconstruct("gate/b1/2", **options, on_progress=told.append)
        again = await viewer.reconstruct(glimpse.FrameId("gate", "b1", 2), **options)
    with Image.open(io.BytesIO(picture.png)) as opened:
        assert opened.size == (160, 120) == (picture.width, picture.height)
    assert (picture.steps, picture.seed, picture.fidelity) == (2, 7, 0.3)
    assert (picture.generated, picture.cached, picture.seen) == (True, False, None)
    assert (picture.machine_bytes, picture.auxiliary_bytes) == (len(layers[2]), 0)
    assert (picture.decoder, picture.notes) == ("tiny-0d0d", ("it is tiny",))
    assert picture.provenance["frame"] == "gate/b1/2"
    assert (again.cached, again.png) == (True, picture.png)
    assert {progress.phase for progress in told} <= {"queued", "loading", "step"}
    assert all(p.preview[:4] == b"RIFF" for p in told if p.phase == "step")


@pytest.mark.parametrize("kind", KINDS)
async def test_layers_at_hand(tmp_path: Path, human: Path, layers: list[bytes], kind: str) -> None:
    auxiliary = auxiliary_of(CODEC.decode(layers[1]))
    async with studio(tmp_path, human, layers, kind) as (_, viewer):
        picture = await viewer.reconstruct(layers[1], auxiliary=auxiliary)
        assert picture.auxiliary_bytes == len(auxiliary)
        assert picture.seen is not None
        assert len(picture.seen.shares) == picture.seen.columns * picture.seen.rows
        with pytest.raises(glimpse.InvalidLayer):
            await viewer.reconstruct(layers[1], auxiliary=b"damaged")
        with pytest.raises(glimpse.InvalidLayer):
            await viewer.reconstruct(b"no layer")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_camera_that_is_away(
    tmp_path: Path, human: Path, layers: list[bytes], kind: str
) -> None:
    told: list[glimpse.Progress] = []
    async with studio(tmp_path, human, layers, kind) as (_, viewer):
        picture = await viewer.reconstruct(
            "gate/b1/0", auxiliary="fetch", quality=99, on_progress=told.append
        )
    assert told[0] == glimpse.Progress("waiting", patience_s=3.0)
    assert picture.auxiliary_bytes == 0
    assert picture.notes[0].startswith("no auxiliary layer")


@pytest.mark.parametrize("kind", KINDS)
async def test_what_cannot_be(tmp_path: Path, human: Path, layers: list[bytes], kind: str) -> None:
    async with studio(tmp_path, human, layers, kind) as (_, viewer):
        with pytest.raises(glimpse.NotFound):
            await viewer.reconstruct("gate/b1/77")
        with pytest.raises(glimpse.InvalidRequest):
            await viewer.reconstruct("gate/b1/0", steps=9)
        for wrong in ({"steps": -1}, {"seed": 2**32}, {"auxiliary": "sometimes"}):
            with pytest.raises(ValueError):
                await viewer.reconstruct("gate/b1/0", **wrong)
        (human / "manifest.json").unlink()
        with pytest.raises(glimpse.ModelMismatch, match="no human decoder"):
            await viewer.reconstruct("gate/b1/0")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_decoder_that_fails_once_is_asked_again(
    tmp_path: Path, human: Path, layers: list[bytes], kind: str
) -> None:
    (human / "fail").write_text("no memory")

    def mend(_: glimpse.Progress) -> None:
        if (human / "failed").exists():
            (human / "fail").unlink(missing_ok=True)

    async with studio(tmp_path, human, layers, kind) as (served, viewer):
        picture = await viewer.reconstruct("gate/b1/0", on_progress=mend)
        assert picture.width == 160
        assert served.count("glimpse_decode_failures_total") >= 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_decoder_that_goes_on_failing_is_left_alone(
    tmp_path: Path, human: Path, layers: list[bytes], kind: str
) -> None:
    (human / "fail").write_text("no memory")
    async with studio(tmp_path, human, layers, kind) as (_, viewer):
        with pytest.raises(glimpse.Unavailable, match="the decoder failed"):
            await viewer.reconstruct("gate/b1/0")
        assert did(human).count("begin 0") == 3


@pytest.mark.parametrize("kind", KINDS)
async def test_who_has_seen_enough_ends_the_call(
    tmp_path: Path, human: Path, layers: list[bytes], kind: str
) -> None:
    (human / "hold").touch()

    def leave(_: glimpse.Progress) -> None:
        raise RuntimeError("seen enough")

    async with studio(tmp_path, human, layers, kind) as (served, viewer):
        with pytest.raises(RuntimeError, match="seen enough"):
            await viewer.reconstruct("gate/b1/0", steps=8, on_progress=leave)
        line = served.running.pictures._line
        await until(lambda: not any(entry.askers for entry in line.entries()))
        (human / "hold").unlink()


@pytest.mark.parametrize("kind", KINDS)
async def test_time_that_is_over_and_a_client_that_is_closed(
    tmp_path: Path, human: Path, layers: list[bytes], kind: str
) -> None:
    (human / "hold").touch()
    async with studio(tmp_path, human, layers, kind) as (_, viewer):
        with pytest.raises(glimpse.TimedOut):
            await viewer.reconstruct("gate/b1/0", timeout_s=0.3)
        asking = asyncio.create_task(viewer.reconstruct("gate/b1/1"))
        await until(lambda: "begin 0" in did(human))
        await viewer.close()
        with pytest.raises(glimpse.Closed):
            await asking
        (human / "hold").unlink()


def test_a_picture_with_a_part_missing_is_none() -> None:
    made = Reconstruction()
    made.take(pb.ReconstructResponse(chunk=pb.PictureChunk(data=b"half")))
    with pytest.raises(glimpse.Error, match="4 of a picture's 8 bytes"):
        made.take(pb.ReconstructResponse(done=pb.Done(picture_bytes=8, provenance="{}")))


def test_a_picture_before_a_better_one_is_progress() -> None:
    made = Reconstruction()
    first = made.take(pb.ReconstructResponse(done=pb.Done(provenance="{}", upgrade_expected=True)))
    assert first is not None
    assert (first.phase, first.picture) == ("picture", made.picture)
    assert made.take(pb.ReconstructResponse()) is None
