"""Boxes of one layer, and of everything that cameras send."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from cloud.bus import QUEUE_ITEMS
from cloud.sightings import Sighting
from common.types import Box, FrameId
from glimpse.v1 import detection_pb2
from tests.cloud.serving import Served, raw_channel, serving, until

ALL = detection_pb2.WatchRequest()


def sighting(seq: int, camera: str = "gate", score: float = 0.5) -> Sighting:
    box = Box("car", score, 1.0, 2.0, 3.0, 4.0)
    return Sighting(FrameId(camera, "b1", seq), 1000.0 + seq, 300, 160, 120, (box,))


def subscribers(served: Served) -> int:
    return served.running.bus.subscribers


class TestDetect:
    async def test_one_layer(self, tmp_path: Path, layers: list[bytes]) -> None:
        async with serving(tmp_path) as served, served.viewer() as viewer:
            request = detection_pb2.DetectRequest(layer=layers[0])
            first = await viewer.detect(request)
            assert (first.width, first.height, first.profile) == (160, 120, 0)
            assert first.quality == 102
            assert first.model_id == served.running.ingest.intake.model_id
            assert await viewer.detect(request) == first
            assert served.stored() == {}

    async def test_scores_asked_for(self, tmp_path: Path, layers: list[bytes]) -> None:
        async with serving(tmp_path, min_score=0.01) as served, served.viewer() as viewer:
            every = await viewer.detect(detection_pb2.DetectRequest(layer=layers[0]))
            scores = [box.score for box in every.boxes]
            assert scores == sorted(scores, reverse=True)
            middle = scores[len(scores) // 2]
            request = detection_pb2.DetectRequest(layer=layers[0], min_score=middle)
            some = await viewer.detect(request)
            assert [box.score for box in some.boxes] == [s for s in scores if s >= middle]

    @pytest.mark.parametrize("bad", [b"", b"nothing like a layer", bytes(2 << 20)], ids=len)
    async def test_what_is_no_layer(self, tmp_path: Path, bad: bytes) -> None:
        async with serving(tmp_path) as served, served.viewer() as viewer:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await viewer.detect(detection_pb2.DetectRequest(layer=bad))
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert refused.value.details()

    async def test_a_corrupt_body(self, tmp_path: Path, corrupt: bytes) -> None:
        async with serving(tmp_path) as served, served.viewer() as viewer:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await viewer.detect(detection_pb2.DetectRequest(layer=corrupt))
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    async def test_a_cameras_token(self, tmp_path: Path, layers: list[bytes]) -> None:
        async with (
            serving(tmp_path) as served,
            served.viewer(served.token("camera", "gate")) as viewer,
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await viewer.detect(detection_pb2.DetectRequest(layer=layers[0]))
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED

    async def test_a_wrong_token(self, tmp_path: Path, layers: list[bytes]) -> None:
        async with serving(tmp_path) as served, served.viewer("guess") as viewer:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await viewer.detect(detection_pb2.DetectRequest(layer=layers[0]))
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED

    async def test_a_caller_that_leaves_leaves_nothing(
        self, tmp_path: Path, layers: list[bytes]
    ) -> None:
        async with serving(tmp_path) as served, served.viewer() as viewer:
            request = detection_pb2.DetectRequest(layer=layers[0])
            tasks = len(asyncio.all_tasks())
            for _ in range(50):
                viewer.stub.Detect(request, metadata=viewer.metadata).cancel()
            await viewer.detect(request)
            await until(lambda: len(asyncio.all_tasks()) <= tasks)


class TestWatch:
    @pytest.mark.parametrize("role", ["camera", "nobody"])
    async def test_viewers_only(self, tmp_path: Path, role: str) -> None:
        async with serving(tmp_path) as served:
            token = served.token("camera", "gate") if role == "camera" else "guess"
            async with served.viewer(token) as viewer:
                call = viewer.watch(ALL)
                wanted = "PERMISSION_DENIED" if role == "camera" else "UNAUTHENTICATED"
                assert (await call.code()).name == wanted
                assert subscribers(served) == 0

    async def test_only_the_cameras_and_the_scores_asked_for(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as served, served.viewer() as viewer:
            yard = viewer.watch(detection_pb2.WatchRequest(cameras=["yard"], min_score=0.6))
            every = viewer.watch(ALL)
            for call in (yard, every):
                await call.initial_metadata()
            for item in (sighting(1), sighting(2, "yard", 0.7), sighting(3, "yard")):
                served.running.bus.publish(item)
            assert [(await every.read()).seq for _ in range(3)] == [1, 2, 3]
            seen = [await yard.read() for _ in range(2)]
            assert [(s.seq, len(s.boxes)) for s in seen] == [(2, 1), (3, 0)]
            first = seen[0]
            assert (first.camera, first.boot, first.captured_at_us) == ("yard", "b1", 1_002_000_000)
            assert (first.layer_bytes, first.width, first.height) == (300, 160, 120)
            for call in (yard, every):
                call.cancel()
            await until(lambda: subscribers(served) == 0)

    async def test_a_slow_viewer_is_told_what_it_missed_and_holds_nobody_up(
        self, tmp_path: Path
    ) -> None:
        async with serving(tmp_path) as served, served.viewer() as viewer:
            slow, quick = viewer.watch(ALL), viewer.watch(ALL)
            for call in (slow, quick):
                await call.initial_metadata()
            many = 20 * QUEUE_ITEMS
            boxes = tuple(Box("car", 0.5, float(x), 0.0, 4000.0, 9.0) for x in range(100))
            got = asyncio.create_task(self._read(quick, many - 1))
            for seq in range(many):
                item = sighting(seq)
                served.running.bus.publish(
                    Sighting(item.frame, item.captured_at, 300, 160, 120, boxes)
                )
                if seq % 20 == 0:
                    await asyncio.sleep(0)
            seqs, missed = await self._read(slow, many - 1)
            assert seqs == sorted(seqs)
            assert seqs[-1] == many - 1
            assert missed > 0
            assert len(seqs) + missed == many
            await got
            for call in (slow, quick):
                call.cancel()
            await until(lambda: subscribers(served) == 0)

    @staticmethod
    async def _read(call: Any, last: int) -> tuple[list[int], int]:
        seqs: list[int] = []
        missed = 0
        while not seqs or seqs[-1] < last:
            seen = await asyncio.wait_for(call.read(), 10)
            seqs.append(seen.seq)
            missed += seen.missed
        return seqs, missed

    async def test_two_hundred_cancelled_calls_leave_nothing_behind(self, tmp_path: Path) -> None:
        """A handler that swallowed the CancelledError would leak (grpc issue 43360)."""
        async with serving(tmp_path) as served, served.viewer() as viewer:
            tasks = len(asyncio.all_tasks())
            for n in range(200):
                call = viewer.watch(ALL)
                if n % 3:
                    await call.initial_metadata()
                if n % 3 == 2:
                    served.running.bus.publish(sighting(n))
                    await call.read()
                call.cancel()
            await until(lambda: subscribers(served) == 0)
            await until(lambda: len(asyncio.all_tasks()) <= tasks)
            assert served.count("glimpse_viewers") == 0

    async def test_viewers_that_never_read_leave_nothing_behind(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as served, served.viewer() as viewer:
            calls = [viewer.watch(ALL) for _ in range(10)]
            for call in calls:
                await call.initial_metadata()
            for seq in range(5000):  # more than HTTP/2 takes in without a reader
                served.running.bus.publish(sighting(seq))
                if seq % 50 == 0:
                    await asyncio.sleep(0)
            for call in calls:
                call.cancel()
            await until(lambda: subscribers(served) == 0)
            assert served.count("glimpse_viewers") == 0

    async def test_a_viewer_that_vanishes_with_its_connection(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as served:
            endpoint = served.endpoint(served.viewer_token)
            async with raw_channel(endpoint), served.viewer() as viewer:
                call = viewer.watch(ALL)
                await call.initial_metadata()
                assert served.count("glimpse_viewers") == 1
            await until(lambda: subscribers(served) == 0)

    async def test_the_server_says_when_it_shuts_down(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as served, served.viewer() as viewer:
            call = viewer.watch(ALL)
            await call.initial_metadata()
            served.running.bus.publish(sighting(1))
            served.running.bus.close()
            assert (await call.read()).seq == 1
            assert await call.code() is grpc.StatusCode.UNAVAILABLE
            assert "shuts down" in await call.details()
