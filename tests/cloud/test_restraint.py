"""A detector that is behind, over real gRPC: every camera hears of it, and of its end."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cloud.detector import LayerDetector
from cloud.overload import Policy
from common.session.events import RateTarget
from tests.cloud.serving import Camera, serving, until

QUICK = partial(Policy, patience=0.2, settle=0.4, calm=0.2)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """The detector works when it is set. Looks come often."""
    monkeypatch.setattr("cloud.server.OverloadPolicy", QUICK)
    monkeypatch.setattr("cloud.restraint._EVERY_S", 0.05)
    gate = threading.Event()
    real = LayerDetector.detect_read

    def waiting(self: LayerDetector, layers: Any) -> Any:
        gate.wait()
        return real(self, layers)

    monkeypatch.setattr(LayerDetector, "detect_read", waiting)
    return gate


async def wish(camera: Camera) -> float:
    """The next RateTarget's frames per second."""
    while not (message := await camera.read()).HasField("rate_target"):
        pass
    assert message.rate_target.bytes_per_second == 0
    frames: float = message.rate_target.frames_per_second
    return frames


async def film(camera: Camera, layer: bytes, gate: threading.Event) -> None:
    """Frames go on and on until the gate opens, as long as there is credit."""
    while not gate.is_set() and camera.sent < camera.credits - 1:
        await camera.send((camera.sent, layer))
        await asyncio.sleep(0.03)


async def test_cameras_are_asked_for_fewer_frames_until_the_detector_has_caught_up(
    tmp_path: Path, layers: list[bytes], gate: threading.Event
) -> None:
    async with (
        serving(tmp_path, overload_s=0.1, batch=1, credits=1024) as served,
        served.camera() as camera,
        served.camera("yard") as other,
    ):
        filming = asyncio.create_task(film(camera, layers[0], gate))
        try:
            cap = await wish(camera)
            assert cap > 0
            assert await wish(other) == cap
            async with served.camera("late") as late:
                assert await wish(late) > 0
            assert served.count("glimpse_overload_frames_per_second") > 0
        finally:
            gate.set()
            await filming
        for told in (camera, other):
            while await wish(told) > 0:  # it may have been lowered meanwhile
                pass
        assert served.count("glimpse_overload_frames_per_second") == 0
        await camera.boxes(range(camera.sent))


async def test_zero_seconds_ask_nobody(
    tmp_path: Path, layers: list[bytes], gate: threading.Event
) -> None:
    async with (
        serving(tmp_path, overload_s=0.0, batch=1, credits=1024) as served,
        served.camera() as camera,
    ):
        filming = asyncio.create_task(film(camera, layers[0], gate))
        try:
            await until(lambda: served.count("glimpse_detect_queue_layers") > 0)
            await asyncio.sleep(0.8)  # long enough for a wish that should not come
            assert served.running.ingest.target == RateTarget(0)
        finally:
            gate.set()
            await filming
