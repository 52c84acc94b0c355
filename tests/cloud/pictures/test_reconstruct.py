"""Pictures for many who ask: one decode for all, the cache, auxiliary layers that come or not."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from prometheus_client import CollectorRegistry

from cloud.alone import Alone
from cloud.metrics import Metrics
from cloud.pictures.cache import PictureCache
from cloud.pictures.keeper import AuxiliaryKeeper
from cloud.pictures.reconstruct import Policy, Reconstructor
from cloud.pictures.stills import Stills
from cloud.pictures.values import (
    Auxiliaries,
    Done,
    Loading,
    Progress,
    Queued,
    Step,
    Subject,
    WaitingForAuxiliary,
    Wish,
)
from cloud.pictures.worker import DecoderProcess
from cloud.store import Auxiliary
from cloud.store.memory import MemoryFrameStore
from common.codec import Coded, MachineCodec
from common.errors import (
    BrokenChain,
    CameraOffline,
    CorruptStream,
    DecoderUnavailable,
    GlimpseError,
    LimitReached,
    ModelMismatch,
    NotStored,
    WrongBase,
)
from common.stills import EXIF_IFD, MAKER_NOTE
from common.types import FrameId, Layer
from tests.cloud.decoders import auxiliary_of, decoder_folder, did, loads
from tests.cloud.serving import until
from tests.common.latents import drawn, scene_model

CODEC = MachineCodec(scene_model(8), 0x1A2B)
FETCH, NEVER = Auxiliaries.FETCH, Auxiliaries.NEVER


def coded(number: int) -> Coded:
    y = np.zeros((8, 8, 10), np.int16)
    y[0, 0, 0] = number
    return CODEC.encode(y, width=160, height=120, side=160, quality=102)


def name(number: int) -> FrameId:
    return FrameId("gate", "b1", number)


@dataclass
class Camera:
    """Answers what it is told to, when it is let."""

    answers: list[bytes | GlimpseError] = field(default_factory=list)
    asked: list[tuple[FrameId, int, float]] = field(default_factory=list)
    free: asyncio.Event = field(default_factory=asyncio.Event)

    async def fetch(self, frame: FrameId, quality: int, deadline_s: float) -> bytes:
        self.asked.append((frame, quality, deadline_s))
        await self.free.wait()
        answer = self.answers.pop(0)
        if isinstance(answer, GlimpseError):
            raise answer
        return answer


@dataclass
class Studio:
    """Frames 0..5 of the gate in a store, and all that makes pictures of them."""

    folder: Path
    store: MemoryFrameStore
    camera: Camera
    metrics: Metrics
    pictures: Reconstructor
    stills: Stills

    def count(self, sample: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(sample, labels) or 0.0

    @property
    def begun(self) -> int:
        return sum(line.startswith("begin") for line in did(self.folder))

    async def news(
        self, number: int, who: str = "viewer ann", **wish: Any
    ) -> AsyncGenerator[Progress]:
        subject = await self.pictures.of_frame(name(number))
        async for progress in self.pictures.make(subject, Wish(**wish), who):
            yield progress

    async def all(self, number: int, who: str = "viewer ann", **wish: Any) -> list[Progress]:
        async with asyncio.timeout(60):
            return [progress async for progress in self.news(number, who, **wish)]

    async def last(self, number: int, who: str = "viewer ann", **wish: Any) -> Done:
        done = (await self.all(number, who, **wish))[-1]
        assert isinstance(done, Done)
        return done

    def hold(self) -> None:
        (self.folder / "hold").touch()

    def let(self) -> None:
        (self.folder / "hold").unlink()


@asynccontextmanager
async def studio(
    folder: Path, *, cache_bytes: int = 1 << 20, codec: MachineCodec = CODEC, **policy: Any
) -> AsyncIterator[Studio]:
    store, camera = MemoryFrameStore(), Camera()
    store.put([Layer(name(n), 1000.0 + n, coded(n).data) for n in range(6)])
    metrics = Metrics(CollectorRegistry())
    human = decoder_folder(folder / "human")
    stills = Stills(store, Alone(store, codec), metrics, most=9, age_s=3600)
    pictures = Reconstructor(
        store, codec,
        AuxiliaryKeeper(store, camera, metrics, deadline_s=30, most=2),
        DecoderProcess(loads(human, CODEC.model_id), timeout_s=60),
        PictureCache(folder / "pictures", max_bytes=cache_bytes, keep_s=3600),
        metrics, human=human, stills=stills, policy=Policy(**policy),
    )  # fmt: skip
    running = asyncio.create_task(pictures.run())
    yield Studio(human, store, camera, metrics, pictures, stills)
    running.cancel()
    await asyncio.wait([running])
    store.close()


async def test_the_first_picture_and_all_that_is_told_on_the_way(tmp_path: Path) -> None:
    async with studio(tmp_path) as it:
        assert did(it.folder) == []  # nothing in memory before somebody asks
        told = await it.all(1, steps=2, seed=5)
        kinds = [type(progress) for progress in told]
        assert kinds[0] in (Queued, Loading)
        assert Loading in kinds
        assert any(isinstance(one, Step) for one in told)
        done = told[-1]
        assert isinstance(done, Done)
        assert (done.steps, done.seed, done.cached, done.upgrade_expected) == (2, 5, False, False)
        assert (done.machine_bytes, done.auxiliary_bytes) == (len(coded(1).data), 0)
        with Image.open(io.BytesIO(done.file)) as picture:
            assert picture.size == (160, 120)
            assert json.loads(picture.info["glimpse"]) == json.loads(done.provenance)
        assert it.count("glimpse_decode_cache_total", hit="false") == 1
        for phase in ("wait", "load", "preview", "diffuse", "encode"):
            assert it.count("glimpse_decode_seconds_count", phase=phase) == 1


async def test_what_was_made_is_handed_out_again(tmp_path: Path) -> None:
    async with studio(tmp_path) as it:
        first = await it.last(1, steps=2)
        again = await it.last(1, steps=2)
        assert (again.cached, again.file, it.begun) == (True, first.file, 1)
        # The faithful view came about on the way; fidelity and seed mean nothing there.
        plain = await it.last(1, steps=0, seed=9, fidelity=0.2)
        assert (plain.cached, plain.steps, plain.seed, plain.fidelity, it.begun) == (
            True, 0, 0, 1.0, 1,
        )  # fmt: skip
        assert not (await it.last(1, steps=2, seed=1)).cached
        assert not (await it.last(1, steps=3)).cached
        assert not (await it.last(2, steps=2)).cached
        assert it.count("glimpse_decode_cache_total", hit="true") == 2


async def test_one_picture_of_two_frames_alike_names_each(tmp_path: Path) -> None:
    async with studio(tmp_path) as it:
        it.store.put([Layer(name(99), 2000.0, coded(1).data)])
        first, second = await it.last(1), await it.last(99)
        assert second.cached
        frames = [json.loads(done.provenance)["frame"] for done in (first, second)]
        assert frames == ["gate/b1/1", "gate/b1/99"]


async def test_ten_who_ask_cost_one_decode(tmp_path: Path) -> None:
    async with studio(tmp_path, cache_bytes=0) as it:
        it.hold()
        asking = [asyncio.create_task(it.last(1, f"viewer {n}", steps=1)) for n in range(10)]
        await until(lambda: it.begun == 1)
        it.let()
        files = {done.file for done in await asyncio.gather(*asking)}
        assert (len(files), it.begun) == (1, 1)


async def test_who_waits_is_told_the_place(tmp_path: Path) -> None:
    async with studio(tmp_path) as it:
        it.hold()
        first = asyncio.create_task(it.last(1))
        await until(lambda: it.begun == 1)
        second = asyncio.create_task(it.all(2, "viewer ben"))
        await until(lambda: it.count("glimpse_decode_queue_depth") == 1)
        third = it.news(3, "viewer cat")
        assert await anext(third) == Queued(2)
        it.let()
        await first
        told = await second
        assert told[0] == Queued(1)
        assert isinstance([progress async for progress in third][-1], Done)


async def test_the_last_one_to_leave_stops_the_work(tmp_path: Path) -> None:
    async with studio(tmp_path) as it:
        it.hold()
        asking = [asyncio.create_task(it.last(1, f"viewer {n}", steps=8)) for n in range(2)]
        await until(lambda: it.begun == 1)
        asking[0].cancel()
        await asyncio.wait([asking[0]])
        asking[1].cancel()
        await asyncio.wait([asking[1]])
        it.let()
        done = await it.last(2)  # the decoder is free again
        assert not done.cached
        assert did(it.folder)[1:] == ["begin 8", "begin 0", "end"]


async def test_one_of_two_who_leaves_stops_nothing(tmp_path: Path) -> None:
    async with studio(tmp_path) as it:
        it.hold()
        stays, leaves = (asyncio.create_task(it.last(1, who)) for who in ("ann", "ben"))
        await until(lambda: it.begun == 1)
        leaves.cancel()
        await asyncio.wait([leaves])
        it.let()
        assert (await stays).steps == 0


async def test_a_full_line_and_one_that_asks_for_too_much(tmp_path: Path) -> None:
    async with studio(tmp_path, most=2, most_each=2) as it:
        it.hold()
        asking = [asyncio.create_task(it.last(1, "ann"))]
        await until(lambda: it.begun == 1)
        asking += [asyncio.create_task(it.last(n, who)) for n, who in ((2, "ann"), (3, "ben"))]
        await until(lambda: it.count("glimpse_decode_queue_depth") == 2)
        with pytest.raises(LimitReached, match="ann waits for 2"):
            await it.last(4, "ann")
        with pytest.raises(LimitReached, match="2 pictures wait"):
            await it.last(4, "cat")
        it.let()
        await asyncio.gather(*asking)


async def test_idle_it_leaves_memory_and_comes_back(tmp_path: Path) -> None:
    async with studio(tmp_path, idle_s=0.05) as it:
        await it.last(1)
        process = it.pictures._process
        await until(lambda: not process.loaded)
        assert Loading() in await it.all(2)


async def test_no_decoder_here(tmp_path: Path) -> None:
    async with studio(tmp_path) as it:
        (it.folder / "manifest.json").unlink()
        with pytest.raises(ModelMismatch, match="no human decoder"):
            await it.last(1)


async def test_frames_and_layers_that_cannot_be_looked_at(tmp_path: Path) -> None:
    async with studio(tmp_path) as it:
        with pytest.raises(NotStored):
            await it.pictures.of_frame(name(77))
        with pytest.raises(CorruptStream):
            await it.pictures.at_hand(b"no layer at all")
        inter = CODEC.encode_inter(coded(2).y, coded(1), quality=102)
        with pytest.raises(BrokenChain):
            await it.pictures.at_hand(inter.data)
        assert (await it.pictures.at_hand(coded(1).data)).frame is None


async def test_a_layer_that_says_only_what_is_in_view(tmp_path: Path) -> None:
    codec = MachineCodec(drawn(8), 0x1A2B)
    layer = codec.encode(coded(1).y, width=160, height=120, side=160, quality=102, profile=1)
    async with studio(tmp_path, codec=codec) as it:
        subject = await it.pictures.at_hand(layer.data)
        with pytest.raises(ModelMismatch, match="holds no picture"):
            await anext(it.pictures.make(subject, Wish(), "ann"))
        auxiliary = auxiliary_of(subject.base)
        told = [news async for news in it.pictures.make(subject, Wish(), "ann", auxiliary)]
        assert isinstance(told[-1], Done)


async def test_a_decoder_that_fails_fails_the_picture_and_not_the_server(tmp_path: Path) -> None:
    async with studio(tmp_path) as it:
        (it.folder / "fail").write_text("no memory")
        with pytest.raises(DecoderUnavailable):
            await it.last(1)
        (it.folder / "fail").unlink()
        assert (await it.last(1)).picture.width == 160
        assert it.count("glimpse_decode_failures_total") == 1


class TestReference:
    async def test_the_last_one_before_goes_into_a_picture_and_is_told_of(
        self, tmp_path: Path
    ) -> None:
        async with studio(tmp_path) as it:
            plain = await it.last(3)
            assert (plain.still, json.loads(plain.provenance)["layers"]["reference"]) == (None,) * 2
            for number, shade in ((1, 40), (2, 90), (4, 200)):
                assert await it.stills.take(name(number), grey(shade)) == ""
            done = await it.last(3)
            assert not done.cached
            assert done.still is not None
            assert (done.still.frame, done.still.captured_at) == (name(2), 1002.0)
            with Image.open(io.BytesIO(done.file)) as picture:
                pixels = np.asarray(picture).astype(int)
            assert abs(pixels[:16, 32:] - 90).max() < 4  # where the layers are alike
            about = json.loads(done.provenance)
            assert about["layers"]["reference"]["bytes"] == len(grey(90))
            assert about["layers"]["reference"]["frame"] == "gate/b1/2"
            assert "as it was seen 1970-01-01T00:16:42" in about["meaning"]
            assert about["seen"]["share"] == pytest.approx(0.5, abs=0.01)
            assert (await it.last(3)).cached
            await it.stills.take(name(2), grey(91))
            assert not (await it.last(3)).cached
            used = [it.count("glimpse_decode_reference_total", used=u) for u in ("true", "false")]
            assert used == [3, 1]
            assert it.count("glimpse_stills_total", camera="gate", outcome="stored") == 4

    async def test_its_own_goes_into_the_frames_own_picture(self, tmp_path: Path) -> None:
        async with studio(tmp_path) as it:
            await it.stills.take(name(3), grey(120))
            done = await it.last(3)
            with Image.open(io.BytesIO(done.file)) as picture:
                assert abs(np.asarray(picture).astype(int) - 120).max() < 4

    async def test_one_that_is_too_old_or_of_another_view_does_not(self, tmp_path: Path) -> None:
        async with studio(tmp_path) as it:
            y = coded(1).y
            wide = CODEC.encode(y, width=320, height=240, side=160, quality=102)
            presence = MachineCodec(drawn(8), 0x1A2B).encode(
                y, width=160, height=120, side=160, quality=102, profile=1
            )
            frames = [(7, 3000.0, wide.data), (8, 8000.0, coded(1).data), (9, 10000.0, b"rot")]
            frames.append((10, 20000.0, presence.data))
            it.store.put([Layer(name(n), at, data) for n, at, data in frames])
            later = [(20, 3001.0), (21, 8000.0 + 3601), (22, 10001.0), (23, 20001.0)]
            it.store.put([Layer(name(n), at, coded(n).data) for n, at in later])
            for number, *_ in frames:
                assert await it.stills.take(name(number), grey(9)) == ""
            for number, _ in later:
                assert (await it.pictures.of_frame(name(number))).still is None

    async def test_a_picture_ends_with_what_shows_in_it(self, tmp_path: Path) -> None:
        async with studio(tmp_path, keep_days=1.0) as it:
            alone = (await it.pictures.of_frame(name(0))).keep_until
            it.store._clock = lambda: 1e10
            it.store.put([Layer(name(9), 1009.0, coded(1).data)])
            assert (await it.pictures.of_frame(name(9))).keep_until == 1e10 + 86_400
            await it.stills.take(name(0), grey(9))
            assert (await it.pictures.of_frame(name(9))).keep_until == alone
            it.store.pin(name(9))
            assert (await it.pictures.of_frame(name(9))).keep_until == alone

    async def test_one_that_is_damaged_is_as_if_there_were_none(self, tmp_path: Path) -> None:
        async with studio(tmp_path) as it:
            whole = grey(50)
            assert await it.stills.take(name(1), whole[:-40] + bytes(40)) == ""
            done = await it.last(2)
            assert "the reference picture cannot be used" in done.notes[0]
            assert (done.still, done.picture.seen) == (None, None)
            assert json.loads(done.provenance)["layers"]["reference"] is None

    async def test_it_is_compared_by_the_layer_that_it_carries(self, tmp_path: Path) -> None:
        async with studio(tmp_path) as it:
            own = coded(77)
            assert await it.stills.take(name(1), grey(9, own.data)) == ""
            still = (await it.pictures.of_frame(name(2))).still
            assert still is not None
            assert np.array_equal(still.base.y, own.y)
            assert (still.frame, still.captured_at) == (name(1), 1001.0)

    async def test_one_whose_layer_cannot_be_read_is_refused(self, tmp_path: Path) -> None:
        other = MachineCodec(drawn(8), 0x7777).encode(
            coded(1).y, width=160, height=120, side=160, quality=102
        )
        async with studio(tmp_path) as it:
            for layer, reason in ((b"rot", ""), (other.data, "7777"), (coded(1).data[:-2], "")):
                found = await it.stills.take(name(1), grey(9, layer))
                assert "the layer that it carries cannot be read" in found
                assert reason in found
            assert (await it.pictures.of_frame(name(2))).still is None

    @pytest.mark.parametrize("number", [1, 77])
    async def test_what_is_no_still_is_refused_by_name(self, tmp_path: Path, number: int) -> None:
        jpeg = io.BytesIO()
        Image.new("RGB", (160, 120)).save(jpeg, "JPEG")
        async with studio(tmp_path) as it:
            for data in (b"no picture", jpeg.getvalue(), grey(1)[:30]):
                assert await it.stills.take(name(number), data) == "not an AVIF file"
            wide = io.BytesIO()
            Image.new("RGB", (4112, 16)).save(wide, "AVIF")
            assert "4112 x 16" in await it.stills.take(name(1), wide.getvalue())
            assert await it.stills.take(name(77), grey(1)) == "gate/b1/77 is not stored"
            assert it.count("glimpse_stills_total", camera="gate", outcome="refused") == 5

    async def test_a_full_store_refuses_it(self, tmp_path: Path) -> None:
        async with studio(tmp_path) as it:
            it.store._max_bytes = 1
            assert "full" in await it.stills.take(name(1), grey(1))


def grey(shade: int, layer: bytes | None = None) -> bytes:
    """layer: what it carries."""
    exif = Image.Exif()
    if layer is not None:
        exif[EXIF_IFD] = {MAKER_NOTE: layer}
    file = io.BytesIO()
    Image.new("RGB", (160, 120), (shade,) * 3).save(file, "AVIF", quality=90, exif=exif)
    return file.getvalue()


class TestAuxiliary:
    async def test_a_stored_one_is_taken_unless_it_is_not_wanted(self, tmp_path: Path) -> None:
        async with studio(tmp_path) as it:
            data = auxiliary_of(coded(1))
            it.store.put_auxiliary(name(1), Auxiliary(data, 128))
            done = await it.last(1)
            assert (done.auxiliary_bytes, it.camera.asked) == (len(data), [])
            assert done.picture.seen is not None
            plain = await it.last(1, auxiliaries=NEVER)
            assert (plain.auxiliary_bytes, plain.cached) == (0, False)
            assert plain.file != done.file

    async def test_it_is_fetched_once_kept_and_not_asked_for_again(self, tmp_path: Path) -> None:
        async with studio(tmp_path) as it:
            data = auxiliary_of(coded(1))
            it.camera.answers = [data]
            it.camera.free.set()
            told = await it.all(1, auxiliaries=FETCH, quality=99)
            assert told[0] == WaitingForAuxiliary(3.0)
            done = told[-1]
            assert isinstance(done, Done)
            assert (done.auxiliary_bytes, done.notes) == (len(data), ("it is tiny",))
            assert it.store.auxiliary(name(1)) == Auxiliary(data, 99)
            assert it.camera.asked == [(name(1), 99, 30)]
            again = await it.last(1, auxiliaries=FETCH, quality=99)
            assert (again.cached, len(it.camera.asked)) == (True, 1)
            assert it.count("glimpse_auxiliary_fetch_total", outcome="fetched") == 1
            assert it.count("glimpse_layer_bytes_total", camera="gate", kind="auxiliary") == len(
                data
            )

    async def test_a_better_one_is_fetched_and_the_one_at_hand_serves_if_it_cannot_be_had(
        self, tmp_path: Path
    ) -> None:
        async with studio(tmp_path) as it:
            data = auxiliary_of(coded(1))
            it.store.put_auxiliary(name(1), Auxiliary(data, 50))
            it.camera.answers = [CameraOffline("the camera is offline")]
            it.camera.free.set()
            done = await it.last(1, auxiliaries=FETCH, quality=51)
            assert done.auxiliary_bytes == len(data)
            assert done.notes[0] == "no auxiliary layer: the camera is offline"

    async def test_many_who_ask_ask_the_camera_once(self, tmp_path: Path) -> None:
        async with studio(tmp_path) as it:
            it.camera.answers = [auxiliary_of(coded(1))]
            asking = [
                asyncio.create_task(it.last(1, f"viewer {n}", auxiliaries=FETCH)) for n in range(5)
            ]
            await until(lambda: len(it.camera.asked) == 1)
            it.camera.free.set()
            sizes = {done.auxiliary_bytes for done in await asyncio.gather(*asking)}
            assert (len(it.camera.asked), len(sizes), 0 in sizes) == (1, 1, False)

    async def test_a_camera_that_cannot_leaves_the_machine_layer_and_a_note(
        self, tmp_path: Path
    ) -> None:
        async with studio(tmp_path) as it:
            it.camera.answers = [CameraOffline("the camera is offline")]
            it.camera.free.set()
            done = await it.last(1, auxiliaries=FETCH)
            assert (done.auxiliary_bytes, done.upgrade_expected) == (0, False)
            assert done.notes[0] == "no auxiliary layer: the camera is offline"
            assert it.store.auxiliary(name(1)) is None
            assert it.count("glimpse_auxiliary_fetch_total", outcome="offline") == 1

    async def test_one_that_comes_late_makes_a_better_picture(self, tmp_path: Path) -> None:
        async with studio(tmp_path, patience_s=0.01) as it:
            data = auxiliary_of(coded(1))
            it.camera.answers = [data]
            pictures = []
            async for progress in it.news(1, auxiliaries=FETCH):
                if isinstance(progress, Done):
                    pictures.append(progress)
                    it.camera.free.set()
            first, second = pictures
            assert (first.auxiliary_bytes, first.upgrade_expected) == (0, True)
            assert first.notes[0].startswith("the camera has not sent")
            assert (second.auxiliary_bytes, second.upgrade_expected) == (len(data), False)
            assert first.file != second.file

    async def test_the_cameras_are_not_asked_for_too_much(self, tmp_path: Path) -> None:
        async with studio(tmp_path) as it:
            asking = [asyncio.create_task(it.last(n, auxiliaries=FETCH)) for n in (1, 2)]
            await until(lambda: len(it.camera.asked) == 2)
            with pytest.raises(LimitReached, match="2 auxiliary layers"):
                await it.last(3, auxiliaries=FETCH)
            it.camera.answers = [auxiliary_of(coded(1)), auxiliary_of(coded(2))]
            it.camera.free.set()
            await asyncio.gather(*asking)

    async def test_who_leaves_leaves_the_fetch_to_the_next(self, tmp_path: Path) -> None:
        async with studio(tmp_path) as it:
            data = auxiliary_of(coded(1))
            it.camera.answers = [data]
            asking = asyncio.create_task(it.last(1, auxiliaries=FETCH))
            await until(lambda: len(it.camera.asked) == 1)
            asking.cancel()
            await asyncio.wait([asking])
            it.camera.free.set()
            await until(lambda: it.store.auxiliary(name(1)) is not None)
            done = await it.last(1, auxiliaries=FETCH)
            assert (done.auxiliary_bytes, len(it.camera.asked)) == (len(data), 1)

    @pytest.mark.parametrize(
        "answer", [b"nonsense", auxiliary_of(coded(2)), coded(1).data],
        ids=["damaged", "another frame", "a machine layer"],
    )  # fmt: skip
    async def test_one_of_no_use_is_not_kept(self, tmp_path: Path, answer: bytes) -> None:
        async with studio(tmp_path) as it:
            it.camera.answers = [answer]
            it.camera.free.set()
            done = await it.last(1, auxiliaries=FETCH)
            assert done.auxiliary_bytes == 0
            assert done.notes[0].startswith("the camera's auxiliary layer cannot be used")
            assert it.store.auxiliary(name(1)) is None
            assert it.count("glimpse_auxiliary_fetch_total", outcome="unusable") == 1

    async def test_a_stored_one_of_another_decoder_is_left_aside(self, tmp_path: Path) -> None:
        async with studio(tmp_path) as it:
            it.store.put_auxiliary(name(1), Auxiliary(auxiliary_of(coded(1), model=3), 128))
            done = await it.last(1)
            assert done.auxiliary_bytes == 0
            assert done.notes[0].startswith("the auxiliary layer cannot be used")

    async def test_one_at_hand_that_does_not_fit_is_the_callers_fault(self, tmp_path: Path) -> None:
        async with studio(tmp_path) as it:
            subject: Subject = await it.pictures.at_hand(coded(1).data)

            async def made(auxiliary: bytes) -> Progress:
                news = it.pictures.make(subject, Wish(), "ann", auxiliary)
                return [progress async for progress in news][-1]

            for auxiliary, error in (
                (b"damaged", CorruptStream),
                (auxiliary_of(coded(2)), WrongBase),
                (auxiliary_of(coded(1), model=3), ModelMismatch),
            ):
                with pytest.raises(error):
                    await made(auxiliary)
            done = await made(auxiliary_of(coded(1)))
            assert isinstance(done, Done)
            assert done.auxiliary_bytes > 0
