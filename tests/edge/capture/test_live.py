"""Live sources against a real RTSP server that stalls, dies and comes back, and real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from common.errors import BadPicture, BadSettings
from edge.capture.live import Grabber, Lost, Patience, live
from tests.edge.rtsp import RtspServer, rtsp_server

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc and /dev")

ROOT = Path(__file__).parents[3]
QUICK = Patience(open_s=20.0, frame_s=0.5, reopen_s=0.05, most_s=0.4)


@pytest.fixture
def server() -> Iterator[RtspServer]:
    with rtsp_server() as service:
        yield service


def until(condition: Callable[[], bool], within: float = 20.0) -> None:
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def test_rtsp(server: RtspServer) -> None:
    source = live(server.url, 10)
    moments = []
    for _, frame in zip(range(6), source, strict=False):
        moments.append(time.monotonic())
        picture = frame.read()
        assert (picture.pixels.shape, picture.width, picture.height) == ((48, 64, 3), 64, 48)
        assert np.ptp(picture.pixels) < 8
        assert 0 <= frame.age < 1
        assert not frame.late
    source.close()
    assert moments[-1] - moments[0] > 0.45
    assert server.opened == 1


def test_pictures_are_scaled_where_they_are_read(server: RtspServer) -> None:
    source = live(server.url, 10, side=32)
    picture = next(source).read()
    source.close()
    assert (picture.pixels.shape, picture.width, picture.height) == ((24, 32, 3), 64, 48)


def test_the_newest_picture_wins(server: RtspServer) -> None:
    """After a pause comes the picture of now and not the one after the last."""
    source = live(server.url, 50)
    first = next(source)
    time.sleep(1.0)  # a reader that is slow once
    second = next(source)
    source.close()
    assert second.position - first.position > 0.5
    assert second.age < 0.5


def test_a_stream_that_stalls_is_opened_anew(server: RtspServer) -> None:
    source = live(server.url, 20, patience=QUICK)
    next(source)
    server.stalled.set()
    with capture_logs() as lines:
        waiting = threading.Thread(target=lambda: [next(source) for _ in range(20)])
        waiting.start()
        until(lambda: server.opened >= 2)  # there was no picture within 0.5 s
        server.stalled.clear()
        waiting.join(20)
    assert not waiting.is_alive()
    source.close()
    assert "picture" in lines[0]["reason"]  # none within 0.5 s
    assert "secret" not in str(lines)


def test_a_stream_that_ends_is_waited_for(server: RtspServer) -> None:
    source = live(server.url, 20, patience=replace(QUICK, frame_s=5.0))
    next(source)
    server.die()
    with capture_logs() as lines:
        waiting = threading.Thread(target=lambda: [next(source) for _ in range(20)])
        waiting.start()
        until(lambda: len(lines) >= 5)
        server.start()
        waiting.join(20)
    assert not waiting.is_alive()
    source.close()
    assert server.opened == 2
    pauses = [line["again_in_s"] for line in lines]
    assert pauses[:5] == [0.05, 0.1, 0.2, 0.4, 0.4]
    assert all("Connection refused" in line["reason"] for line in lines[1:])


def test_a_reader_that_hangs_is_killed(server: RtspServer) -> None:
    with Grabber(server.url, 64, {}) as grabber:
        assert grabber.picture(20.0, threading.Event()) is not None
        os.kill(grabber.pid, signal.SIGSTOP)
        until(lambda: state(grabber.pid) == "T")
        start = time.monotonic()
        with pytest.raises(Lost, match=r"no picture within 0\.3 s"):
            grabber.picture(0.3, threading.Event())
        pid = grabber.pid
    assert time.monotonic() - start < 5
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_reader_that_crashes_is_replaced(server: RtspServer) -> None:
    with Grabber(server.url, 64, {}) as grabber:
        os.kill(grabber.pid, signal.SIGSEGV)
        with pytest.raises(Lost, match="the reading process has ended"):
            grabber.picture(20.0, threading.Event())


def test_stopping_does_not_wait_for_a_stalled_stream(server: RtspServer) -> None:
    stopping = threading.Event()
    source = live(server.url, 20, stopping=stopping)
    next(source)
    server.stalled.set()
    threading.Timer(0.1, stopping.set).start()
    start = time.monotonic()
    list(source)
    assert time.monotonic() - start < 2


def test_stopping_does_not_wait_for_the_next_try() -> None:
    stopping = threading.Event()
    patience = Patience(reopen_s=600, most_s=600)
    source = live("rtsp://127.0.0.1:9/live", 20, patience=patience, stopping=stopping)
    with capture_logs() as lines:
        waiting = threading.Thread(target=lambda: list(source))
        waiting.start()
        until(lambda: bool(lines))
        stopping.set()
        waiting.join(2)
    assert not waiting.is_alive()


ORPHAN = """
import sys, threading
from edge.capture.live import Grabber
with Grabber(sys.argv[1], 64, {}) as grabber:
    print(grabber.pid, flush=True)
    grabber.picture(600, threading.Event())
    grabber.picture(600, threading.Event())
    print("pictures", flush=True)
    threading.Event().wait()
"""


@pytest.mark.parametrize("stalled", [True, False])
def test_kill_9_leaves_no_reader_behind(server: RtspServer, stalled: bool) -> None:
    if stalled:
        server.stalled.set()
    command = [sys.executable, "-c", ORPHAN, server.url]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        if stalled:
            until(lambda: server.opened == 1)
        else:
            assert process.stdout.readline() == "pictures\n"
        process.kill()
    until(lambda: state(pid) in "ZX")


def state(pid: int) -> str:
    """One letter, as in ps; X of a process that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "X"


def test_the_address_is_not_among_the_readers_arguments(server: RtspServer) -> None:
    with Grabber(server.url, 64, {}) as grabber:
        command = Path(f"/proc/{grabber.pid}/cmdline").read_bytes()
    assert b"secret" not in command


def test_a_reader_imports_no_network_and_no_model() -> None:
    code = "import sys, edge.capture.grabber; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    heavy = {"onnxruntime", "grpc", "pydantic", "typer", "structlog", "torch"}
    assert heavy.isdisjoint(done.stdout.split())


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(BadPicture, match="/dev/video999: no such device; there "):
        live("/dev/video999", 5)


def test_a_device_that_is_no_camera() -> None:
    stopping = threading.Event()
    with capture_logs() as lines:
        source = live("/dev/null", 5, patience=QUICK, stopping=stopping)
        waiting = threading.Thread(target=lambda: list(source))
        waiting.start()
        until(lambda: bool(lines))
        stopping.set()
        waiting.join(5)
    assert lines[0]["source"] == "/dev/null"
    assert lines[0]["reason"] != ""


def test_fps_must_be_positive() -> None:
    with pytest.raises(BadSettings):
        live("rtsp://127.0.0.1:9/", 0)
