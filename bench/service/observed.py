"""A house in which all that the server counts happens, with a Prometheus that looks on.

    cameras ──TLS──> glimpse-cloud serve ──> one who watches, one who asks for pictures
                      │             └──────> a webhook; a stranger is sent away
                      └── /metrics <──────── Prometheus

The processes are the real ones. Everything lives in a folder that the caller gives.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import glimpse
from bench.service.processes import (
    CLOUD,
    authority,
    camera_command,
    free_port,
    make_token,
    running,
    serving,
)
from bench.service.prometheus import Prometheus, prometheus

NAMES = ("gate", "yard", "dock", "road")  # of cameras, in the order of their sources

_EVENTS = """
rules: [{name: in-view, min_score: %s, appear_frames: 1, gone_after_s: 1, cooldown_s: 0}]
webhooks: [{name: house, url: "%s", secret_file: %s}]
"""


@contextmanager
def observed(
    data: Path,
    sources: Sequence[str],
    *,
    options: Sequence[str] = (),
    min_score: float = 0.3,
    ask_s: float = 10.0,
    hurry: bool = False,
) -> Iterator[Prometheus]:
    """Runs while the body does; yields when the first figures of a camera are there.

    sources    of cameras; options: of each camera process
    min_score  of boxes, and of what is told to the webhook
    ask_s      seconds from one picture that is asked for to the next
    hurry      see bench.service.prometheus

    Raises BadSettings where there is no prometheus, SystemExit for a process that does not start.
    """
    names = NAMES[: len(sources)]
    tokens = [make_token(data, "camera", name).rename(data / f"{name}.token") for name in names]
    metrics = f"127.0.0.1:{free_port()}"
    with ExitStack() as stack:
        events = _events(data, stack.enter_context(_receiver()), min_score)
        env = {"GLIMPSE_CLOUD_EVENTS": str(events), "GLIMPSE_CLOUD_MIN_SCORE": str(min_score)}
        server = stack.enter_context(serving(data, env, metrics=metrics))
        watch = [*CLOUD, "watch", "--server", server, "--data", str(data)]
        stack.enter_context(running(watch, data / "watch.log"))
        cameras = []
        for name, source, token in zip(names, sources, tokens, strict=True):
            command = [
                *camera_command(data, name, source, server), "--token-file", str(token),
                "--auxiliary", "later", *options,
            ]  # fmt: skip
            log = data / f"{name}.log"
            telemetry = {"GLIMPSE_EDGE_TELEMETRY_S": "1"}
            cameras.append((stack.enter_context(running(command, log, telemetry)), log))
        asked = stack.enter_context(prometheus(data, metrics, hurry=hurry))
        while not asked.number("camera:glimpse_delay_seconds:mean5m", 0.2):
            for process, log in cameras:
                if process.poll() is not None:
                    raise SystemExit(f"a camera has ended:\n{log.read_text()}")
        _come_as_a_stranger(data, server)
        stack.enter_context(_asking(data, server, names[0], ask_s))
        yield asked


def _events(data: Path, url: str, min_score: float) -> Path:
    secret, events = data / "secret", data / "events.yaml"
    secret.write_text("sixteen bytes or more")
    events.write_text(_EVENTS % (min_score, url, secret))
    return events


class _Taker(BaseHTTPRequestHandler):
    """Takes all that is posted."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Says nothing."""


@contextmanager
def _receiver() -> Iterator[str]:
    """The address of a webhook."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Taker) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def _come_as_a_stranger(data: Path, server: str) -> None:
    client = glimpse.Client.connect(server, ca=str(authority(data)), token="nobodys-token")
    with client as stranger, suppress(glimpse.Unauthenticated):
        next(stranger.frames(), None)


@contextmanager
def _asking(data: Path, server: str, camera: str, every_s: float) -> Iterator[None]:
    """While the body runs, pictures are asked for; what goes wrong is raised at its end."""
    token = (data / "viewer.token").read_text().strip()
    stop = threading.Event()
    with (
        ThreadPoolExecutor(1) as pool,
        glimpse.Client.connect(server, ca=str(authority(data)), token=token) as cloud,
    ):
        asking = pool.submit(_ask, cloud, camera, every_s, stop)
        try:
            yield
        finally:
            stop.set()
            cloud.close()
        with suppress(glimpse.Closed):
            asking.result()


def _ask(cloud: glimpse.Client, camera: str, every_s: float, stop: threading.Event) -> None:
    """Of the newest frame, as the page does: the faithful view, then detail, then once more."""
    while not stop.is_set():
        began = time.monotonic()
        for frame in cloud.frames(camera=camera, limit=1):
            for steps in (0, 4, 0):
                cloud.reconstruct(frame.frame, steps=steps, auxiliary="fetch", why="a look")
        stop.wait(max(0.0, began + every_s - time.monotonic()))
