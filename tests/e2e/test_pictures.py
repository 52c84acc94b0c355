"""The server as a process, the decoder as its child: pictures, and no child left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import glimpse
from edge.capture.picture import Picture
from edge.coding.encoder import Encoder
from edge.coding.weights import load_weights
from tests.human import made, tiny_human
from tests.weights import tiny_weights

PATIENCE_S = 240.0  # torch comes into memory twice, less urgently than all else here


@dataclass(frozen=True)
class Server:
    process: subprocess.Popen[str]
    address: str

    @property
    def children(self) -> list[int]:
        threads = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(pid) for listed in threads for pid in listed.read_text().split()]

    @property
    def decoder(self) -> int:
        """The less urgent one of its children."""
        [found] = self.less_urgent
        return found

    @property
    def less_urgent(self) -> list[int]:
        """Its children that are less urgent than itself."""
        own = os.getpriority(os.PRIO_PROCESS, self.process.pid)
        return [pid for pid in self.children if os.getpriority(os.PRIO_PROCESS, pid) > own]


@contextmanager
def server(folder: Path) -> Iterator[Server]:
    """`glimpse-cloud serve` as one installs it."""
    script = Path(sys.executable).with_name("glimpse-cloud")
    command = [script, "serve", "--data", folder / "data", "--weights", folder / "weights"]
    command += ["--listen", "127.0.0.1:0", "--metrics-listen", "", "--web-listen", "", "--insecure"]
    env = os.environ | {"GLIMPSE_CLOUD_DECODE_DEVICE": "cpu", "GLIMPSE_CLOUD_THREADS": "1"}
    with subprocess.Popen(
        list(map(str, command)), stderr=subprocess.PIPE, text=True, env=env
    ) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if found := re.search(r"serving .*\bport=(\d+)", line):
                    yield Server(process, f"127.0.0.1:{found[1]}")
                    break
        finally:
            process.kill()


def gone(pid: int) -> bool:
    """Waits for a process to end."""
    for _ in range(round(PATIENCE_S * 20)):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A folder with weights, and a layer of theirs."""
    folder = tmp_path_factory.mktemp("pictures")
    tiny_weights(folder / "weights", detector=True)
    tiny_human(folder / "weights")
    encoder = Encoder(load_weights(folder / "weights"), threads=1)
    picture = Picture.whole(made(np.random.default_rng(2), 96, 128))
    return folder, encoder.layer(encoder.analyse(picture), 0.5)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="it looks into Linux's /proc")
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=["term", "kill"])
def test_pictures_by_a_process_that_goes_with_its_server(
    layer: tuple[Path, bytes], end: signal.Signals
) -> None:
    folder, data = layer
    with server(folder) as served:
        assert served.less_urgent == []
        token = (folder / "data" / "viewer.token").read_text()
        with glimpse.Client.connect(served.address, token=token, insecure=True) as client:
            picture = client.reconstruct(data, steps=1, seed=int(end), timeout_s=PATIENCE_S)
        assert (picture.width, picture.height, picture.generated) == (128, 96, True)
        decoder = served.decoder
        served.process.send_signal(end)
        served.process.wait(PATIENCE_S)
        assert gone(decoder)
