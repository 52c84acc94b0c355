"""A server process and camera processes that are killed, cut off and hindered at will.

    glimpse-edge run ──TLS──> proxy ──> glimpse-cloud serve
    spool: a disk of its own            data: a disk of its own

The processes are the real ones, started through faulty.py. Where no file system may be
mounted, a full disk is a bound on the files that the process may write (disk.py).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from PIL import Image

from bench.service.disk import fill, limit_files, mounted
from bench.service.faulty import write_controls
from bench.service.processes import ROOT, authority, free_port, make_token
from bench.service.proxy import Proxy
from cloud.folder import data_files
from edge.spool.sqlite import spool_file

PATIENCE_S = 180.0
_DATA_BYTES = 256 << 20
_SPOOL_BYTES = 32 << 20
_LIMIT_BYTES = 4096

Name = tuple[str, int]  # boot, seq


class Broken(Exception):
    """What was promised does not hold."""


class Node:
    """One process, its disk, its clock, its log."""

    def __init__(self, name: str, folder: Path, disk: Path, env: dict[str, str]) -> None:
        self.name, self.disk = name, disk
        self.pid = 0
        self._controls = folder / f"{name}.json"
        self._log = folder / f"{name}.log"
        self._env = env
        self._said: dict[str, float] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self.is_mounted = False

    def start(self, module: str, *arguments: object) -> None:
        command = [sys.executable, "-m", "bench.service.faulty", str(self._controls), module]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *map(str, arguments)], cwd=ROOT, env=os.environ | self._env,
                stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self.pid = self._process.pid

    def kill(self) -> None:
        """kill -9"""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def end(self) -> int:
        """SIGTERM; its exit code."""
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(PATIENCE_S)

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def fill_disk(self) -> None:
        if self.is_mounted:
            fill(self.disk)
        else:
            limit_files(self.pid, _LIMIT_BYTES)

    def free_disk(self) -> None:
        if self.is_mounted:
            (self.disk / "filler").unlink(missing_ok=True)
        else:
            limit_files(self.pid, None)

    def slow_down(self, seconds: float) -> None:
        """Each commit takes so much longer."""
        self._say(slow_s=seconds)

    def shift_clock(self, seconds: float) -> None:
        """So much further ahead, for good."""
        self._say(shift_s=self._said.get("shift_s", 0.0) + seconds)

    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def _say(self, **said: float) -> None:
        self._said |= said
        write_controls(self._controls, self._said)


class House:
    """Use as a context: at its end every process is dead and every disk unmounted.

    source  of all cameras
    options of each camera process
    """

    def __init__(
        self, folder: Path, source: Path, weights: Path, cameras: int, options: list[str]
    ) -> None:
        self._folder, self._source, self._options = folder, source, options
        self.names = [f"camera-{n}" for n in range(cameras)]
        self.data = folder / "data"
        self.address = f"127.0.0.1:{free_port()}"
        env = {"GLIMPSE_EDGE_WEIGHTS": str(weights), "GLIMPSE_EDGE_DRAIN_S": "60"}
        env |= {"GLIMPSE_EDGE_THREADS": "1"}
        self.cameras = [Node(name, folder, folder / "spool" / name, env) for name in self.names]
        # Company in a batch, or more threads, would change the last digits of boxes.
        one = {"GLIMPSE_CLOUD_BATCH": "1", "GLIMPSE_CLOUD_THREADS": "1"}
        self.server = Node(
            "server", folder, self.data, one | {"GLIMPSE_CLOUD_WEIGHTS": str(weights)}
        )
        self.lost_seen = 0
        self._is_cut = False
        self._stack = ExitStack()

    def __enter__(self) -> House:
        try:
            self._begin()
        except BaseException:  # no disk may stay mounted
            self._stack.close()
            raise
        return self

    def _begin(self) -> None:
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by way of __exit__
        self._stack.callback(signal.signal, signal.SIGTERM, before)
        for node in (self.server, *self.cameras):
            size = _DATA_BYTES if node is self.server else _SPOOL_BYTES
            node.is_mounted = self._stack.enter_context(mounted(node.disk, size))
            self._stack.callback(node.kill)
        tokens = self._folder / "tokens"
        tokens.mkdir()
        for name in self.names:
            shutil.move(make_token(self.data, "camera", name), tokens / name)
        self._stack.callback(self._end_proxy)
        self._begin_proxy()
        self.start_server()
        for camera in self.cameras:
            self.start_camera(camera)

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start_server(self) -> None:
        """Returns when it serves."""
        self.server.start(
            "cloud.main", "serve", "--listen", self.address, "--metrics-listen", "",
            "--web-listen", "", "--data", self.data,
        )  # fmt: skip
        wait_until(self._serves, "the server serves")

    def start_camera(self, camera: Node) -> None:
        camera.start(
            "edge.main", "run", "--camera", camera.name, "--source", self._source, "--loop",
            "--server", self.proxied, "--spool", camera.disk, "--ca", authority(self.data),
            "--token-file", self._folder / "tokens" / camera.name, *self._options,
        )  # fmt: skip

    def cut_link(self) -> None:
        """Connections end, and none passes anything until `mend_link`."""
        self._is_cut = True
        self._loop.call_soon_threadsafe(self._proxy.cut)

    def mend_link(self) -> None:
        self._is_cut = False

    def stored(self, camera: str) -> list[Name]:
        """In the order of arrival."""
        sql = "SELECT boot, seq FROM frame WHERE camera = ? ORDER BY id"
        return [(str(boot), int(seq)) for boot, seq in _rows(data_files(self.data)[0], sql, camera)]

    def stored_count(self) -> int:
        """Of all cameras."""
        rows = _rows(data_files(self.data)[0], "SELECT count(*) FROM frame")
        return int(rows[0][0]) if rows else 0

    def without_boxes(self) -> int:
        """Stored frames that nobody has looked at."""
        sql = "SELECT count(*) FROM frame WHERE boxes IS NULL"
        [(count,)] = _rows(data_files(self.data)[0], sql)
        return int(count)

    def spooled(self, camera: Node) -> tuple[int, set[Name]]:
        """Layers that went into the spool and did not expire there; those that are in it now."""
        kept = (
            "(SELECT sum(iif(heading = 'spooled', frames, -frames)) FROM account"
            " WHERE heading IN ('spooled', 'expired'))"
        )
        sql = f"SELECT {kept}, boot, seq FROM layer UNION ALL SELECT {kept}, '', -1"
        rows = _rows(spool_file(camera.disk, camera.name), sql)
        total = rows[0][0] if rows else None
        return total or 0, {(boot, seq) for _, boot, seq in rows if seq >= 0}

    def look_for_lost(self) -> None:
        """Counts layers that should be in a spool or in the store, and are in neither.

        While the server is dead, or the cameras are: else the two looks differ in time.
        """
        for camera in self.cameras:
            if self.server.is_alive:
                (kept, waiting), stored = self.spooled(camera), set(self.stored(camera.name))
            else:
                stored, (kept, waiting) = set(self.stored(camera.name)), self.spooled(camera)
            self.lost_seen = max(self.lost_seen, kept - len(stored | waiting))

    def _serves(self) -> bool:
        if not self.server.is_alive:
            raise Broken(f"the server ended:\n{self.server.log()[-3000:]}")
        try:
            credentials = grpc.ssl_channel_credentials(authority(self.data).read_bytes())
            with grpc.secure_channel(self.address, credentials) as channel:
                stub = health_pb2_grpc.HealthStub(channel)
                stub.Check(health_pb2.HealthCheckRequest(), timeout=2)
        except (grpc.RpcError, FileNotFoundError):
            return False
        return True

    def _begin_proxy(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._proxy = Proxy(self.address, lambda _: 0.0 if self._is_cut else 1e8, 0.0)
        self.proxied = asyncio.run_coroutine_threadsafe(self._proxy.start(), self._loop).result()

    def _end_proxy(self) -> None:
        asyncio.run_coroutine_threadsafe(self._proxy.stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def wait_until(done: Callable[[], bool], what: str, patience: float = PATIENCE_S) -> float:
    """Seconds that it took. Raises Broken when it takes too long."""
    began = time.monotonic()
    while not done():
        if time.monotonic() - began > patience:
            raise Broken(f"waited in vain until {what}")
        time.sleep(0.1)
    return time.monotonic() - began


def made_film(folder: Path, frames: int = 40) -> Path:
    """A folder of pictures, 320 x 240: things that move before something that does not."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    small = rng.integers(60, 200, (12, 16, 3), np.uint8)
    still = np.asarray(Image.fromarray(small).resize((320, 240), Image.Resampling.BICUBIC))
    for n in range(frames):
        picture = still.copy()
        for thing, (x, y) in enumerate(_places(n, frames)):
            picture[y : y + 60, x : x + 24] = 40 * thing
        Image.fromarray(picture).save(folder / f"{n:03}.png")
    return folder


def _places(n: int, frames: int) -> Iterator[tuple[int, int]]:
    for thing in range(4):
        along = (n / frames + thing / 4) % 1
        yield int(290 * along), 20 + 40 * thing


def _rows(path: Path, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """Nothing from a file that its process has not made yet, or made but not filled."""
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)) as db:
        [tables] = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return db.execute(sql, values).fetchall() if tables else []
