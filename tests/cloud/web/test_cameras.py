"""What a camera is called: by what came from it, and when."""

from __future__ import annotations

import pytest

from cloud.store import CameraSummary
from cloud.web.cameras import PATIENCE_CONNECTED_S, PATIENCE_S, Camera, State, Traffic
from tests.cloud.web.page import sighting

NOW = 1_000_000.0


def summary(last_seen: float, frames: int = 1) -> CameraSummary:
    return CameraSummary("gate", frames, 300 * frames, last_seen)


def seen(at: float, *, late: float = 0.0) -> Camera:
    """A camera of which one frame came, captured `late` seconds before."""
    camera = Camera("gate")
    camera.see(sighting(at=at - late), at)
    return camera


class TestState:
    def test_a_camera_that_never_sent_anything_waits(self) -> None:
        status = Camera("gate").status(False, NOW)
        assert (status.state, status.since, status.delay) == (State.WAITING, None, None)
        assert (status.fps, status.bytes_per_hour, status.stored) == (0.0, None, None)

    def test_live_while_frames_come(self) -> None:
        status = seen(NOW, late=0.2).status(True, NOW + 1)
        assert status.state is State.LIVE
        assert status.since is None
        assert status.delay == pytest.approx(0.2)

    def test_without_a_stream_it_is_silent_soon(self) -> None:
        camera = seen(NOW)
        assert camera.status(False, NOW + PATIENCE_S - 0.1).state is State.LIVE
        status = camera.status(False, NOW + PATIENCE_S + 0.1)
        assert (status.state, status.since) == (State.SILENT, NOW)

    def test_with_a_stream_it_may_gather_layers_for_a_minute(self) -> None:
        camera = seen(NOW)
        assert camera.status(True, NOW + PATIENCE_CONNECTED_S - 0.1).state is State.LIVE
        assert camera.status(True, NOW + PATIENCE_CONNECTED_S + 0.1).state is State.SILENT

    def test_a_camera_of_one_frame_in_five_minutes_is_not_silent_between_them(self) -> None:
        camera = Camera("gate")
        for n in range(4):
            camera.see(sighting(n), NOW + 300 * n)
        assert camera.status(True, NOW + 900 + 290).state is not State.SILENT
        assert camera.status(True, NOW + 900 + 930).state is State.SILENT

    def test_behind_when_what_comes_is_old(self) -> None:
        status = seen(NOW, late=90.0).status(True, NOW + 1)
        assert (status.state, status.undetected) == (State.BEHIND, False)
        assert status.delay == pytest.approx(90.0)

    def test_a_clock_that_is_ahead_is_told_and_is_no_fault_of_the_link(self) -> None:
        status = seen(NOW, late=-12.0).status(True, NOW + 1)
        assert status.state is State.LIVE
        assert status.delay == pytest.approx(-12.0)

    def test_of_one_from_before_this_process_the_store_knows(self) -> None:
        camera = Camera("gate")
        camera.count(summary(NOW - 7200), NOW)
        status = camera.status(False, NOW)
        assert (status.state, status.since) == (State.SILENT, NOW - 7200)
        assert status.stored == summary(NOW - 7200)

    def test_a_restarted_server_gives_a_connected_camera_its_time(self) -> None:
        camera = Camera("gate")
        camera.count(summary(NOW - 20), NOW)
        assert camera.status(True, NOW).state is State.LIVE

    def test_frames_without_boxes_are_the_detectors_fault_and_not_silence(self) -> None:
        camera = Camera("gate")
        camera.count(summary(NOW - 200), NOW)
        camera.count(summary(NOW, frames=9), NOW + 5)
        status = camera.status(True, NOW + 6)
        assert (status.state, status.undetected, status.delay) == (State.BEHIND, True, None)

    def test_a_detector_that_keeps_up_is_not_behind(self) -> None:
        camera = seen(NOW)
        camera.count(summary(NOW - 5), NOW)
        camera.count(summary(NOW + 0.4), NOW + 5)
        camera.see(sighting(at=NOW + 0.2), NOW + 0.3)
        assert camera.status(True, NOW + 5).state is State.LIVE


class TestTraffic:
    def test_bytes_of_an_hour_are_all_that_came_in_it(self) -> None:
        traffic = Traffic()
        for n in range(2 * 3600):
            traffic.add(100, NOW + n)
        assert traffic.bytes_per_hour(NOW + 7200) == pytest.approx(360_000, rel=0.005)

    def test_of_less_than_an_hour_it_is_what_an_hour_would_have(self) -> None:
        traffic = Traffic()
        for n in range(100):
            traffic.add(100, NOW + n / 5)
        assert traffic.bytes_per_hour(NOW + 20) == pytest.approx(1_800_000)

    def test_silence_counts(self) -> None:
        traffic = Traffic()
        traffic.add(1000, NOW)
        assert traffic.bytes_per_hour(NOW + 1800) == pytest.approx(2000)
        assert traffic.bytes_per_hour(NOW + 3700) == 0.0

    def test_fps_is_of_the_last_half_minute(self) -> None:
        traffic = Traffic()
        for n in range(5 * 120):
            traffic.add(1, NOW + n / 5)
        assert traffic.fps(NOW + 120) == pytest.approx(5.0, rel=0.1)
        assert traffic.fps(NOW + 160) == 0.0

    def test_one_frame_is_no_rate(self) -> None:
        traffic = Traffic()
        traffic.add(300, NOW)
        assert traffic.fps(NOW + 0.001) == 1.0
        assert traffic.mean_gap() == 0.0

    def test_a_clock_that_is_set_back_loses_nothing(self) -> None:
        traffic = Traffic()
        traffic.add(100, NOW)
        traffic.add(100, NOW - 50)
        assert traffic.bytes_per_hour(NOW + 3600 - 60) == pytest.approx(200, rel=0.1)
