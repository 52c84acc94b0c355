"""A camera's stream over real gRPC: what is acked is stored, and nothing it does holds us up."""

from __future__ import annotations

import asyncio
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from cloud.detector import LayerDetector
from cloud.folder import data_files
from cloud.sightings import UNREADABLE
from cloud.store.sqlite import SqliteFrameStore
from cloud.store.writer import StoreWriter
from common.bitstream import Kind, pack, unpack
from common.errors import StoreFull
from common.packed import unpack as read_packed
from common.packed_frames import unpack_frames
from common.session.events import Outcome
from common.types import Box
from glimpse.v1 import detection_pb2, ingest_pb2, ingest_pb2_grpc
from tests.cloud.serving import Camera, raw_channel, serving, until

DONE = ingest_pb2.GOODBYE_CODE_DONE
STREAM = "/glimpse.v1.IngestService/Stream"


@contextmanager
def held(monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> Iterator[threading.Event]:
    """The real method, which waits for the event at its door."""
    gate = threading.Event()
    real = getattr(owner, name)

    def waiting(*args: Any) -> Any:
        gate.wait()
        return real(*args)

    monkeypatch.setattr(owner, name, waiting)
    try:
        yield gate
    finally:
        gate.set()


async def test_layers_are_acked_stored_and_looked_at(tmp_path: Path, layers: list[bytes]) -> None:
    async with serving(tmp_path, max_fps=0) as served, served.camera() as camera:
        assert camera.credits == 64
        await camera.send(*enumerate(layers))
        await camera.boxes(range(len(layers)))
        assert camera.acked == len(layers)
        assert camera.credits == 64 + len(layers)
        results = camera.results.values()
        assert all(r.has_boxes and r.outcome == Outcome.STORED and not r.reason for r in results)
        await until(lambda: all(f.boxes is not None for f in served.stored().values()))
        stored = served.stored()
        assert [stored[seq].data for seq in range(len(layers))] == layers
        assert stored[3].captured_at == pytest.approx(1.000003)
        for seq, frame in stored.items():
            assert [b.label for b in frame.boxes or ()] == [
                b.label for b in camera.results[seq].boxes
            ]
        assert served.count("glimpse_layers_total", camera="gate", outcome="stored") == len(layers)
        size = served.count("glimpse_layer_bytes_total", camera="gate", kind="intra")
        assert size == sum(map(len, layers))
        assert served.count("glimpse_capture_to_boxes_seconds_count") == len(layers)
        assert served.count("glimpse_camera_delay_seconds_count", camera="gate") == len(layers)
        last = served.count("glimpse_last_layer_timestamp_seconds", camera="gate")
        assert time.time() - 60 < last <= time.time()
        assert served.count("glimpse_detect_queue_layers") == 0
        assert served.count("glimpse_sessions") == 1


async def test_a_layer_is_acked_after_it_is_stored_and_not_before(
    tmp_path: Path, layers: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path) as served, served.camera() as camera:
        with held(monkeypatch, StoreWriter, "_commit") as gate:
            await camera.send((0, layers[0]))
            await until(lambda: served.count("glimpse_detect_batch_size_count") > 0)
            waiting = asyncio.ensure_future(camera.read())
            await asyncio.sleep(0.1)  # long enough for an ack that should not come
            assert not waiting.done()
            assert served.stored() == {}
            gate.set()
            await waiting
        await camera.acks(1)
        assert served.stored()[0].data == layers[0]


async def test_boxes_are_sent_only_to_a_camera_that_wants_them(
    tmp_path: Path, layers: list[bytes]
) -> None:
    async with serving(tmp_path) as served, served.camera(want_boxes=False) as camera:
        await camera.send((0, layers[0]))
        await camera.acks(1)
        await until(lambda: served.stored()[0].boxes is not None)
        await camera.write(goodbye=ingest_pb2.Goodbye(code=DONE))
        assert (await camera.goodbye()).code == DONE
        assert camera.results == {}


async def test_packed_boxes_are_those_of_the_store(tmp_path: Path, layers: list[bytes]) -> None:
    async with serving(tmp_path) as served, served.camera(hello=False) as camera:
        await camera.hello(packed_boxes=True)
        labels = list((await camera.read()).welcome.labels)
        assert labels == list(served.running.ingest.intake.labels)
        await camera.send(*enumerate(layers))
        await camera.boxes(range(len(layers)))
        assert not any(r.has_boxes or r.boxes for r in camera.results.values())
        await until(lambda: all(f.boxes is not None for f in served.stored().values()))
        stored = served.stored()
        for seq in range(len(layers)):
            found, _ = read_packed(camera.results[seq].packed, labels)
            boxes = stored[seq].boxes or ()
            assert [box.label for box in found] == [box.label for box in boxes]
            assert [box.x1 for box in found] == pytest.approx([b.x1 for b in boxes], abs=0.25)
        assert any(stored[seq].boxes for seq in range(len(layers)))


async def test_gathered_boxes_are_those_of_the_store(tmp_path: Path, layers: list[bytes]) -> None:
    async with serving(tmp_path) as served, served.camera(hello=False) as camera:
        await camera.hello(packed_boxes=True, packed_results=True, gather_ms=200)
        labels = list((await camera.read()).welcome.labels)
        await camera.send(*enumerate(layers))
        seen: dict[int, list[Box]] = {}
        while len(seen) < len(layers):
            results = (await camera.read()).results
            assert not results.frames
            if results.HasField("packed"):
                seen |= {f.seq: list(f.boxes) for f in unpack_frames(results.packed, labels)}
        assert camera.acked == len(layers)
        await until(lambda: all(f.boxes is not None for f in served.stored().values()))
        for seq, frame in served.stored().items():
            own = sorted(frame.boxes or (), key=lambda box: (box.label, box.x1))
            found = sorted(seen[seq], key=lambda box: (box.label, box.x1))
            assert [box.label for box in found] == [box.label for box in own]
            assert [b.x1 for b in found] == pytest.approx([b.x1 for b in own], abs=0.25)
        assert any(seen.values())


async def test_a_goodbye_is_answered_when_all_is_settled(
    tmp_path: Path, layers: list[bytes]
) -> None:
    async with serving(tmp_path) as served, served.camera() as camera:
        await camera.send(*enumerate(layers))
        await camera.write(goodbye=ingest_pb2.Goodbye(code=DONE))
        assert (await camera.goodbye()).code == DONE
        assert camera.acked == len(layers)
        assert all(camera.results[seq].has_boxes for seq in range(len(layers)))
        await until(lambda: served.count("glimpse_sessions") == 0)
        assert served.running.ingest.speaking == {}
        assert served.running.ingest.streams == set()


async def test_what_the_store_holds_is_settled_by_the_welcome(
    tmp_path: Path, layers: list[bytes]
) -> None:
    async with serving(tmp_path, max_fps=0) as served:
        token = served.token("camera", "gate")
        async with served.camera(token=token) as camera:
            await camera.send((4, layers[0]), (5, layers[1]))
            await camera.acks(2)
        async with served.camera(token=token, hello=False) as camera:
            doubt = ingest_pb2.FrameRange(boot="b1", first=4, last=7)
            await camera.hello(boot="b2", in_doubt=[doubt])
            [settled] = (await camera.read()).welcome.settled
            assert (settled.boot, settled.first, settled.last) == ("b1", 4, 5)
            await camera.send((5, layers[1]), (6, layers[2]), boot="b1")  # one of them again
            await camera.acks(2)
        await until(lambda: served.count("glimpse_sessions") == 0)
        assert sorted(served.stored()) == [4, 5, 6]
        count = {
            outcome: served.count("glimpse_layers_total", camera="gate", outcome=outcome)
            for outcome in ("stored", "duplicate", "refused")
        }
        assert count == {"stored": 3, "duplicate": 1, "refused": 0}


class TestRefusals:
    async def test_a_wrong_token(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as served, served.camera(token="guess", hello=False) as camera:
            assert await camera.status() is grpc.StatusCode.UNAUTHENTICATED
            assert served.count("glimpse_refused_calls_total", status="unauthenticated") == 1

    async def test_no_token(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as served:
            endpoint = served.endpoint("")
            async with raw_channel(endpoint) as channel:
                call: Any = channel.stream_stream(STREAM)()
                assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
                assert "Bearer" in await call.details()

    async def test_a_viewers_token(self, tmp_path: Path) -> None:
        async with (
            serving(tmp_path) as served,
            served.camera(token=served.viewer_token, hello=False) as camera,
        ):
            assert await camera.status() is grpc.StatusCode.PERMISSION_DENIED

    async def test_another_cameras_name(self, tmp_path: Path, layers: list[bytes]) -> None:
        async with serving(tmp_path) as served, served.camera("gate", hello=False) as camera:
            await camera.hello(camera="yard")
            goodbye = await camera.goodbye()
            assert goodbye.code == ingest_pb2.GOODBYE_CODE_PERMISSION_DENIED
            assert "yard" in goodbye.reason

    async def test_another_model(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as served, served.camera(hello=False) as camera:
            await camera.hello(model_id=camera.model_id ^ 1)
            goodbye = await camera.goodbye()
            assert goodbye.code == ingest_pb2.GOODBYE_CODE_MODEL_MISMATCH
            assert goodbye.retry_after_ms == 60_000
            assert f"{camera.model_id:04x}" in goodbye.reason

    async def test_layers_before_hello(self, tmp_path: Path, layers: list[bytes]) -> None:
        async with serving(tmp_path) as served, served.camera(hello=False) as camera:
            await camera.send((0, layers[0]))
            assert (await camera.goodbye()).code == ingest_pb2.GOODBYE_CODE_PROTOCOL_ERROR

    async def test_bytes_that_are_no_message(self, tmp_path: Path, layers: list[bytes]) -> None:
        async with serving(tmp_path) as served:
            endpoint = served.endpoint(served.token("camera", "gate"))
            async with raw_channel(endpoint) as channel:
                call: Any = channel.stream_stream(STREAM)(metadata=endpoint.metadata)
                await call.write(b"\xff\xff\xff")
                code = await asyncio.wait_for(call.code(), 5)
                assert code is grpc.StatusCode.INVALID_ARGUMENT

    async def test_an_unknown_message_is_passed_over(
        self, tmp_path: Path, layers: list[bytes]
    ) -> None:
        async with serving(tmp_path) as served, served.camera() as camera:
            await camera.write()
            await camera.send((0, layers[0]))
            await camera.acks(1)

    async def test_bad_layers_by_name_while_the_session_lives(
        self, tmp_path: Path, layers: list[bytes]
    ) -> None:
        good = layers[0]
        header, body = unpack(good, None)
        bad = {
            1: good[:-1] + bytes([good[-1] ^ 1]),
            2: b"",
            3: struct.pack(">I", 0xDEADBEEF) * 8,
            4: pack(replace(header, model=header.model ^ 1), body),
            5: pack(replace(header, kind=Kind.AUXILIARY_INTRA), body),
            6: good + bytes(3000),
            7: pack(replace(header, width=4096, height=4096, side=4096), body),
        }
        async with serving(tmp_path, max_layer_bytes=2000) as served, served.camera() as camera:
            await camera.send((0, good), *bad.items(), (8, layers[1]))
            await camera.boxes(range(9))
            assert camera.acked == 9
            refused = {s: r.reason for s, r in camera.results.items() if r.outcome == 2}
            assert refused.keys() == bad.keys()
            assert all(refused.values())
            assert "checksum" in refused[1]
            assert "model" in refused[4]
            assert "2000" in refused[6]
            assert "4096" in refused[7]
            assert sorted(served.stored()) == [0, 8]
            assert served.count("glimpse_layers_total", camera="gate", outcome="refused") == 7

    async def test_a_message_over_grpcs_own_limit_ends_the_call_only(
        self, tmp_path: Path, layers: list[bytes]
    ) -> None:
        async with serving(tmp_path) as served, served.camera() as camera:
            await camera.send((0, bytes(5 << 20)))
            assert await camera.status() is not grpc.StatusCode.OK
            async with served.camera("yard") as other:
                await other.send((0, layers[0]))
                await other.acks(1)

    async def test_layers_beyond_credit(self, tmp_path: Path, layers: list[bytes]) -> None:
        async with serving(tmp_path, credits=4) as served, served.camera() as camera:
            await camera.send(*enumerate(layers[:5]))
            goodbye = await camera.goodbye()
            assert goodbye.code == ingest_pb2.GOODBYE_CODE_PROTOCOL_ERROR
            assert "credit" in goodbye.reason


class TestNamesAndClocks:
    async def test_frames_out_of_order_and_twice_are_stored_once_each(
        self, tmp_path: Path, layers: list[bytes]
    ) -> None:
        async with serving(tmp_path) as served, served.camera() as camera:
            await camera.send((7, layers[0]), (3, layers[1]))
            await camera.acks(2)
            await camera.send((3, layers[2]), (7, layers[0]), (2**63 - 1, layers[3]))
            await camera.boxes([3, 7, 2**63 - 1])
            await camera.acks(5)
            stored = served.stored()
            assert sorted(stored) == [3, 7, 2**63 - 1]
            assert stored[3].data == layers[1]  # as it came first
            names = {"camera": "gate", "outcome": "duplicate"}
            await until(lambda: served.count("glimpse_layers_total", **names) == 2)

    async def test_a_message_that_comes_again_is_passed_over_and_a_gap_ends_the_stream(
        self, tmp_path: Path, layers: list[bytes]
    ) -> None:
        async with serving(tmp_path) as served, served.camera() as camera:
            await camera.send((0, layers[0]), (1, layers[1]))
            camera.sent = 0
            await camera.send((0, layers[0]), (1, layers[1]))
            await camera.send((2, layers[2]))
            await camera.acks(3)
            assert sorted(served.stored()) == [0, 1, 2]
            camera.sent = 5
            await camera.send((5, layers[3]))
            goodbye = await camera.goodbye()
            assert goodbye.code == ingest_pb2.GOODBYE_CODE_PROTOCOL_ERROR
            assert goodbye.reason
            assert sorted(served.stored()) == [0, 1, 2]

    async def test_a_number_that_is_too_large_is_refused(
        self, tmp_path: Path, layers: list[bytes]
    ) -> None:
        async with serving(tmp_path) as served, served.camera() as camera:
            await camera.send((2**63, layers[0]))
            goodbye = await camera.goodbye()
            assert goodbye.code == ingest_pb2.GOODBYE_CODE_PROTOCOL_ERROR
            assert served.stored() == {}

    async def test_a_clock_that_jumps(self, tmp_path: Path, layers: list[bytes]) -> None:
        """Both ways by years, and in steps from the layer before."""
        now_us, year_us = int(time.time() * 1e6), 365 * 86_400 * 10**6
        async with serving(tmp_path) as served, served.camera() as camera:
            moments = [now_us, now_us + 50 * year_us, 0, now_us - year_us]
            for seq, at in enumerate(moments):
                entry = ingest_pb2.Layer(seq=seq, captured_at_us=at, data=layers[seq])
                await camera.write(layers=ingest_pb2.Layers(first=seq, layers=[entry]))
            step = ingest_pb2.Layer(captured_step_us=-2 * year_us, data=layers[4])
            await camera.write(layers=ingest_pb2.Layers(first=4, layers=[step]))
            moments.append(moments[-1] - 2 * year_us)
            await camera.boxes(range(5))
            assert camera.acked == 5
            assert all(r.outcome == Outcome.STORED for r in camera.results.values())
            stored = served.stored()
            assert [round(stored[n].captured_at * 1e6) for n in range(5)] == pytest.approx(moments)
            assert served.count("glimpse_capture_to_boxes_seconds_count") == 5
            assert served.count("glimpse_camera_delay_seconds_sum", camera="gate") >= 0


class TestCorruptStore:
    @pytest.mark.parametrize("when", ["before", "meanwhile"])
    async def test_it_is_set_aside_and_cameras_go_on(
        self, tmp_path: Path, layers: list[bytes], when: str
    ) -> None:
        path = data_files(tmp_path)[0]

        def rot() -> None:
            size = path.stat().st_size
            with path.open("r+b") as file:
                file.seek(4096)
                file.write(b"\xff" * (size - 4096))

        async with serving(tmp_path) as served:
            token = served.token("camera", "gate")
            async with served.camera(token=token) as camera:
                await camera.send((0, layers[0]))
                await camera.boxes([0])
                await until(lambda: served.stored()[0].boxes is not None)
                if when == "meanwhile":
                    store = served.running.ingest.intake._store
                    assert isinstance(store, SqliteFrameStore)
                    db = store._database._db
                    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                    db.execute("PRAGMA shrink_memory")
                    rot()
                    await camera.send((1, layers[1]))
                    await camera.boxes([1])
                    assert camera.acked == 2
                    assert sorted(served.stored()) == [1]
        if when == "before":
            rot()
            async with serving(tmp_path) as served, served.camera(token=token) as camera:
                await camera.send((1, layers[1]))
                await camera.boxes([1])
                assert sorted(served.stored()) == [1]
        assert path.with_name(path.name + ".corrupt-1").exists()


class TestCorruptBody:
    async def test_it_is_stored_and_says_why_it_has_no_boxes(
        self, tmp_path: Path, layers: list[bytes], corrupt: bytes
    ) -> None:
        async with serving(tmp_path) as served, served.camera() as camera:
            await camera.send((0, corrupt), (1, layers[0]))
            await camera.boxes([0, 1])
            assert camera.acked == 2
            assert camera.results[0].outcome == Outcome.STORED
            assert not camera.results[0].has_boxes
            assert camera.results[0].reason
            assert camera.results[1].has_boxes
            await until(lambda: all(f.boxes is not None for f in served.stored().values()))
            stored = served.stored()
            assert stored[0].data == corrupt
            assert stored[0].boxes == ()
            assert stored[0].model.startswith(UNREADABLE)

    async def test_it_is_not_tried_again_at_the_next_start(
        self, tmp_path: Path, layers: list[bytes], corrupt: bytes
    ) -> None:
        async with serving(tmp_path) as served, served.camera() as camera:
            await camera.send((0, corrupt))
            await camera.boxes([0])
        async with serving(tmp_path) as served, served.camera() as camera:
            await camera.send((1, layers[0]))
            await camera.boxes([1])
            assert served.count("glimpse_detect_batch_size_sum") == 1


class TestSecondStream:
    async def test_the_newer_one_takes_over(self, tmp_path: Path, layers: list[bytes]) -> None:
        async with serving(tmp_path) as served:
            token = served.token("camera", "gate")
            async with served.camera(token=token) as first:
                await first.send((0, layers[0]))
                await first.acks(1)
                async with served.camera(token=token, boot="b2") as second:
                    goodbye = await first.goodbye()
                    assert goodbye.code == ingest_pb2.GOODBYE_CODE_REPLACED
                    assert goodbye.retry_after_ms == 30_000
                    await second.send((1, layers[1]))
                    await second.acks(1)
                    await until(lambda: served.count("glimpse_sessions") == 1)
                    assert served.running.ingest.speaking.keys() == {"gate"}

    async def test_other_cameras_stay(self, tmp_path: Path, layers: list[bytes]) -> None:
        async with (
            serving(tmp_path) as served,
            served.camera("gate") as gate,
            served.camera("yard") as yard,
        ):
            for camera in (gate, yard):
                await camera.send((0, layers[0]))
            for camera in (gate, yard):
                await camera.boxes([0])
            assert served.running.ingest.speaking.keys() == {"gate", "yard"}


class TestBackPressure:
    async def test_a_slow_detector_stops_the_reading_not_the_storing(
        self, tmp_path: Path, layers: list[bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with serving(tmp_path, credits=4) as served, served.camera() as camera:
            [stream] = served.running.ingest.streams
            with held(monkeypatch, LayerDetector, "detect_read") as gate:
                sender = asyncio.create_task(self._send_all(camera, layers[0], 40))
                reader = asyncio.create_task(camera.boxes(range(40)))
                await until(lambda: camera.acked >= 4)
                await asyncio.sleep(0.3)  # for what should not come: the rest waits in the socket
                assert 4 <= camera.acked == len(served.stored()) <= 12
                assert len(stream._tasks) <= 8
                gate.set()
            await asyncio.gather(sender, reader)
            assert camera.acked == 40

    async def test_a_camera_that_comes_back_again_and_again_piles_up_nothing(
        self, tmp_path: Path, layers: list[bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with serving(tmp_path, credits=4) as served:
            token = served.token("camera", "gate")
            with held(monkeypatch, LayerDetector, "detect_read") as gate:
                for n in range(6):
                    async with served.camera(token=token, boot=f"b{n}") as camera:
                        await camera.send(*((4 * n + i, layers[i]) for i in range(4)))
                        if not n:
                            await camera.acks(4)
                under_way = served.running.ingest.under_way
                assert len(under_way["gate"]) <= 10  # a message of four at the full window
                assert len(served.stored()) <= 8
                gate.set()
            await until(lambda: not under_way["gate"])
            assert all(frame.boxes is not None for frame in served.stored().values())
            async with served.camera(token=token, boot="b6") as camera:
                await camera.send((24, layers[0]))
                await camera.boxes([24])

    async def test_a_camera_that_does_not_listen_fills_nothing(
        self, tmp_path: Path, layers: list[bytes]
    ) -> None:
        """It ignores its credits, and never reads what comes down."""
        async with serving(tmp_path, credits=4) as served, served.camera() as camera:
            [stream] = served.running.ingest.streams
            most = 0
            for seq in range(200):
                await camera.send((seq, layers[0]))
                most = max(most, stream._events.qsize(), len(stream._tasks))
            assert most <= 16

    @staticmethod
    async def _send_all(camera: Camera, layer: bytes, count: int) -> None:
        for seq in range(count):
            await until(lambda: camera.credits > camera.sent)
            await camera.send((seq, layer))


class TestFailures:
    async def test_a_full_store_ends_the_stream_and_acks_nothing(
        self, tmp_path: Path, layers: list[bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: Any) -> Any:
            raise StoreFull("no room left")

        async with serving(tmp_path) as served:
            token = served.token("camera", "gate")
            with monkeypatch.context() as patch:
                patch.setattr(SqliteFrameStore, "write", full)
                async with served.camera(token=token) as camera:
                    await camera.send((0, layers[0]))
                    goodbye = await camera.goodbye()
                    assert goodbye.code == ingest_pb2.GOODBYE_CODE_STORE_UNAVAILABLE
                    assert goodbye.retry_after_ms == 5000
                    assert camera.acked == 0
                    assert served.count("glimpse_store_failures_total") == 1
            async with served.camera(token=token) as camera:
                await camera.send((0, layers[0]))
                await camera.acks(1)

    async def test_a_camera_that_vanishes_has_its_layers_stored_and_looked_at(
        self, tmp_path: Path, layers: list[bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with serving(tmp_path) as served:
            with held(monkeypatch, LayerDetector, "detect_read") as gate:
                async with served.camera() as camera:
                    await camera.send((0, layers[0]))
                    await camera.acks(1)
                await until(lambda: served.count("glimpse_sessions") == 0)
                gate.set()
            await until(lambda: served.stored()[0].boxes is not None)

    async def test_many_cancelled_streams_leave_nothing_behind(
        self, tmp_path: Path, layers: list[bytes]
    ) -> None:
        async with serving(tmp_path) as served:
            endpoint = served.endpoint(served.token("camera", "gate"))
            async with raw_channel(endpoint) as channel:
                stub = ingest_pb2_grpc.IngestServiceStub(channel)
                tasks = len(asyncio.all_tasks())
                for n in range(50):
                    call = stub.Stream(metadata=endpoint.metadata)
                    camera = Camera(call, "gate", served.running.ingest.intake.model_id)
                    await camera.hello(boot=f"b{n}")
                    if n % 2:
                        await camera.read()
                        await camera.send((n, layers[0]))
                    call.cancel()
                await until(lambda: served.count("glimpse_sessions") == 0)
                assert served.running.ingest.streams == set()
                await until(lambda: len(asyncio.all_tasks()) <= tasks + 2)


async def test_boxes_reach_a_viewer_after_the_frame_is_stored(
    tmp_path: Path, layers: list[bytes]
) -> None:
    async with serving(tmp_path) as served, served.viewer() as viewer, served.camera() as camera:
        watching = viewer.watch(detection_pb2.WatchRequest(cameras=["gate"]))
        await watching.initial_metadata()
        for seq, layer in enumerate(layers):
            await camera.send((seq, layer))
            seen = await asyncio.wait_for(watching.read(), 10)
            assert (seen.camera, seen.boot, seen.seq) == ("gate", "b1", seq)
            assert served.stored()[seq].data == layer
        watching.cancel()


async def test_layers_in_shorthand(tmp_path: Path, layers: list[bytes]) -> None:
    async with serving(tmp_path) as served, served.camera(hello=False) as camera:
        await camera.hello()
        assert (await camera.read()).welcome.short_layers
        await camera.send((3, layers[0]))
        short = ingest_pb2.Layer(seq_step=1, captured_step_us=7, data=layers[1])
        await camera.write(layers=ingest_pb2.Layers(first=1, layers=[short]))
        await camera.acks(2)
        assert sorted(served.stored()) == [3, 5]
        before, after = (served.stored()[seq].captured_at for seq in (3, 5))
        assert after - before == pytest.approx(7e-6)
        far = ingest_pb2.Layer(captured_step_us=-(2**60), data=layers[2])
        await camera.write(layers=ingest_pb2.Layers(first=2, layers=[far]))
        goodbye = await camera.goodbye()
        assert goodbye.code == ingest_pb2.GOODBYE_CODE_PROTOCOL_ERROR
        assert "not a moment" in goodbye.reason


async def test_shorthand_without_a_layer_before_it(tmp_path: Path, layers: list[bytes]) -> None:
    async with serving(tmp_path) as served, served.camera() as camera:
        short = ingest_pb2.Layer(captured_step_us=7, data=layers[0])
        await camera.write(layers=ingest_pb2.Layers(layers=[short]))
        goodbye = await camera.goodbye()
        assert goodbye.code == ingest_pb2.GOODBYE_CODE_PROTOCOL_ERROR
        assert "sequence number out of range: -1" in goodbye.reason
        assert served.stored() == {}
