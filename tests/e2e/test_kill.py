"""kill -9 of either process in mid-stream: nothing that was acked is lost, nothing is stored twice.

The camera numbers the layers that it codes from 0 without a gap, its spool counts every layer that
it ever took, and a layer leaves the spool only when it was acked. So at any moment

    layers ever spooled  =  layers in the spool, or in the store, or in both

holds if and only if every acked layer is stored; and at the end the store has them all, once each.
"""

from __future__ import annotations

import json
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cloud.access.identity import Identities
from cloud.folder import data_files
from cloud.server import prepare
from cloud.settings import read_settings
from tests.weights import photograph

ROOT = Path(__file__).parents[2]
CAMERA = "gate"
PATIENCE_S = 100.0  # more than the longest back-off of a camera

Name = tuple[str, int]  # boot, seq


class House:
    """A server process and a camera process that can be killed and started at will."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.spool_folder = folder / "spool"
        self.pictures = folder / "pictures"
        self._folder = folder
        self._logs = 0
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        prepare(read_settings(data=self.data))
        token = Identities(data_files(self.data)[1]).add("camera", CAMERA)
        (folder / "camera.token").write_text(token)
        self.pictures.mkdir()
        rng = np.random.default_rng(8)
        for n in range(12):
            Image.fromarray(photograph(rng, 120, 160)).save(self.pictures / f"{n:02}.png")
        self.server: subprocess.Popen[bytes] | None = None
        self.camera: subprocess.Popen[bytes] | None = None

    def start_server(self, *arguments: object) -> None:
        self.server = self._start(
            "cloud.main", "serve", "--listen", self.address, "--metrics-listen", "",
            "--web-listen", "", "--data", self.data, *arguments,
        )  # fmt: skip

    def start_camera(self, *arguments: object) -> None:
        self.camera = self._start(
            "edge.main", "run", "--camera", CAMERA, "--source", self.pictures, "--loop",
            "--fps", 20, "--server", self.address, "--spool", self.spool_folder,
            "--ca", data_files(self.data)[2].authority,
            "--token-file", self._folder / "camera.token", *arguments,
        )  # fmt: skip

    def kill_server(self) -> None:
        assert self.server is not None
        self._kill(self.server)

    def kill_camera(self) -> None:
        assert self.camera is not None
        self._kill(self.camera)

    def stored(self) -> list[Name]:
        """In the order of arrival."""
        return self._read(data_files(self.data)[0], "SELECT boot, seq FROM frame ORDER BY id")

    def spooled(self) -> tuple[int, list[Name]]:
        """How many layers the spool ever took; those that it holds, in their order. One moment."""
        ever = "(SELECT seq FROM sqlite_sequence WHERE name = 'layer')"
        sql = f"SELECT {ever}, boot, seq FROM layer UNION ALL SELECT {ever}, '', -1"
        rows = self._read(self.spool_folder / f"{CAMERA}.sqlite", sql)
        total = rows[0][0] if rows else None
        return total or 0, [(boot, seq) for _, boot, seq in rows if seq >= 0]

    def check_nothing_acked_is_lost(self) -> None:
        """Where one of the two processes is dead, or both: else the two looks differ in time."""
        dead = self.server is not None and self.server.poll() is not None
        first: Callable[[], Any] = self.stored if dead else self.spooled
        second: Callable[[], Any] = self.spooled if dead else self.stored
        looks = [first(), second()]
        stored, (ever, spooled) = looks if dead else looks[::-1]
        assert len(set(stored)) == len(stored)
        assert len(set(stored) | set(spooled)) == ever
        without_gap({*stored, *spooled})

    def check_all_arrived(self) -> None:
        ever, spooled = self.spooled()
        stored = self.stored()
        assert spooled == []
        assert len(stored) == len(set(stored)) == ever
        without_gap(set(stored))
        for boot in {boot for boot, _ in stored}:
            seqs = [seq for b, seq in stored if b == boot]
            assert seqs == sorted(seqs), f"the layers of {boot} were not stored in their order"

    def logs(self) -> str:
        paths = sorted(self._folder.glob("*.log"))
        return "\n".join(f"--- {p.name}\n{p.read_text(errors='replace')[-3000:]}" for p in paths)

    def close(self) -> None:
        for process in (self.camera, self.server):
            if process is not None:
                self._kill(process)

    def _start(self, module: str, *arguments: object) -> subprocess.Popen[bytes]:
        self._logs += 1
        log = self._folder / f"{self._logs:02}-{module}.log"
        command = [sys.executable, "-m", module, *map(str, arguments)]
        with log.open("wb") as f:
            return subprocess.Popen(command, cwd=ROOT, stdout=f, stderr=subprocess.STDOUT)

    @staticmethod
    def _kill(process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()

    @staticmethod
    def _read(path: Path, sql: str) -> list[Any]:
        """Nothing from a file that its process has not made yet, or made but not filled."""
        if not path.exists():
            return []
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as db:
            [tables] = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            return db.execute(sql).fetchall() if tables else []


def without_gap(names: set[Name]) -> None:
    for boot in {boot for boot, _ in names}:
        seqs = sorted(seq for b, seq in names if b == boot)
        assert seqs == list(range(len(seqs))), f"{boot} has a gap"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    try:
        yield house
    finally:
        house.close()
        print(house.logs())  # shown if the test has failed


def wait_until(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.05)  # two other processes are at work


def run_to_the_end(house: House, seconds: float) -> dict[str, Any]:
    """A camera that stops by itself, having sent all that it and its forerunners spooled."""
    summary = house.data / "summary.json"
    house.start_camera("--seconds", seconds, "--json", summary)
    assert house.camera is not None
    assert house.camera.wait(PATIENCE_S) == 0
    report: dict[str, Any] = json.loads(summary.read_text())
    assert report["adds_up"]
    assert report["waiting"] == report["refused"] == report["earlier"]["lost"] == 0
    assert report["expired"] == {}
    return report


@pytest.mark.timeout(600)
def test_kill_either_in_mid_stream(house: House) -> None:
    house.start_server()
    house.start_camera()
    wait_until(lambda: len(house.stored()) >= 20, "20 layers are stored")

    house.kill_server()
    house.check_nothing_acked_is_lost()
    before = len(house.stored())
    wait_until(lambda: len(house.spooled()[1]) >= 10, "10 layers wait in the spool")
    house.start_server()
    wait_until(lambda: len(house.stored()) >= before + 20, "the backlog arrives")

    house.kill_camera()
    house.check_nothing_acked_is_lost()
    ever, waiting = house.spooled()
    report = run_to_the_end(house, seconds=1.0)
    assert report["earlier"]["acked"] == len(waiting)
    assert report["acked"] == report["coded"] == house.spooled()[0] - ever > 0
    house.check_all_arrived()

    assert house.server is not None
    house.server.send_signal(signal.SIGTERM)
    assert house.server.wait(PATIENCE_S) == 0
    path = data_files(house.data)[0]
    assert house._read(path, "SELECT count(*) FROM frame WHERE boxes IS NULL") == [(0,)]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(3))
def test_many_kills_at_random(house: House, seed: int) -> None:
    rng = random.Random(seed)
    house.start_server()
    house.start_camera()
    wait_until(lambda: len(house.stored()) >= 1, "a layer is stored")
    for _ in range(10):
        time.sleep(rng.uniform(0.1, 3.0))  # anywhere: in a handshake, a commit, a backlog
        victims = rng.choice(["server", "camera", "both"])
        if victims != "camera":
            house.kill_server()
        if victims != "server":
            house.kill_camera()
        house.check_nothing_acked_is_lost()
        time.sleep(rng.uniform(0.0, 1.0))
        if victims != "camera":
            house.start_server()
        if victims != "server":
            house.start_camera()
    house.kill_camera()
    run_to_the_end(house, seconds=2.0)
    house.check_all_arrived()
