"""What one caller may cost: streams, layers a second, bytes of a message, failed logins."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest

from glimpse.v1 import detection_pb2
from tests.cloud.serving import Served, serving, until

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_cameras_that_are_connected_at_once(tmp_path: Path) -> None:
    async with serving(tmp_path, max_cameras=2) as served:
        async with served.camera("a"), served.camera("b"):
            async with served.camera("c", hello=False) as third:
                assert await third.status() is EXHAUSTED
                assert "2 cameras are connected" in await third.call.details()
            async with served.camera("b"):  # one that is here may come anew
                assert served.count("glimpse_refused_calls_total", status="resource_exhausted") == 1
        await until(lambda: not served.running.ingest.streams)
        async with served.camera("c"):
            pass


async def test_streams_of_one_camera(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, AsyncExitStack() as stack:
        token = served.token("camera", "gate")
        for _ in range(8):  # that say nothing
            await stack.enter_async_context(served.camera(token=token, hello=False))
        await until(lambda: len(served.running.ingest.streams) == 8)
        async with served.camera(token=token, hello=False) as ninth:
            assert await ninth.status() is EXHAUSTED


async def test_layers_a_second(tmp_path: Path, layers: list[bytes]) -> None:
    """What was saved up at once, then at the rate: over streams, and nothing is refused."""
    fps, saved, count = 10.0, 4, 14
    async with serving(tmp_path, max_fps=fps, credits=saved) as served:
        token = served.token("camera", "gate")
        began = time.monotonic()
        sent = 0
        for _ in range(2):
            async with served.camera(token=token, boot=f"b{sent}") as camera:
                if sent == 0:
                    assert camera.credits == saved
                for _ in range(count // 2):
                    await camera.until(lambda: camera.credits > camera.sent)
                    await camera.send((sent, layers[0]))
                    sent += 1
                await camera.acks(count // 2)
        elapsed = time.monotonic() - began
        assert elapsed >= (count - saved) / fps - 0.05
        assert served.count("glimpse_layers_total", camera="gate", outcome="stored") == count


async def test_a_camera_without_a_bound(tmp_path: Path, layers: list[bytes]) -> None:
    async with serving(tmp_path, max_fps=0, credits=4) as served, served.camera() as camera:
        for seq in range(12):
            await camera.until(lambda: camera.credits > camera.sent)
            await camera.send((seq, layers[0]))
        await camera.acks(12)


async def test_bytes_of_a_message(tmp_path: Path) -> None:
    async with serving(tmp_path, max_message_bytes=1 << 17) as served:
        async with served.camera() as camera:
            await camera.send((0, bytes(65_000)), (1, bytes(65_000)))
            await camera.acks(2)  # refused by name: they are no layers
            await camera.send((2, bytes(140_000)))
            assert await camera.status() is EXHAUSTED
        async with served.viewer() as viewer:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await viewer.detect(detection_pb2.DetectRequest(layer=bytes(140_000)))
            assert refused.value.code() is EXHAUSTED


async def login(served: Served, token: str) -> grpc.StatusCode:
    async with served.viewer(token) as viewer:
        try:
            await viewer.detect(detection_pb2.DetectRequest())
        except grpc.aio.AioRpcError as error:
            return error.code()
    raise AssertionError("an empty layer was taken")


async def test_failed_logins(tmp_path: Path) -> None:
    """One address: those it let in before go on, nobody else gets in, right or wrong."""
    known = grpc.StatusCode.INVALID_ARGUMENT  # let in, and told that this is no layer
    unknown = grpc.StatusCode.UNAUTHENTICATED
    async with serving(tmp_path, failed_logins=3) as served:
        assert await login(served, served.viewer_token) is known
        assert [await login(served, f"guess{n}") for n in range(4)] == [unknown] * 4
        assert await login(served, "guess") is EXHAUSTED
        assert await login(served, served.token("viewer", "late")) is EXHAUSTED
        assert await login(served, served.viewer_token) is known
        assert served.count("glimpse_failed_logins_total") == 4
        await asyncio.sleep(1.0)  # the first pause
        assert await login(served, "guess") is unknown
        assert await login(served, served.token("viewer", "late")) is EXHAUSTED
