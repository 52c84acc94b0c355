"""The camera process stays small: measured on real processes with the weights that ship."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.coding.weights import DEFAULT_WEIGHTS
from tests.weights import photograph

ROOT = Path(__file__).parents[2]
MOST_KB = 300 * 1024

# Not ru_maxrss: that begins with what the process that started this one had.
RUN = """
import sys
from edge.main import app
app(sys.argv[1:], standalone_mode=False)
(peak,) = (line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(peak.split()[1])
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def peak_kb(weights: Path, *arguments: object) -> int:
    """Peak resident memory of `glimpse-edge ARGUMENTS`."""
    command = [sys.executable, "-c", RUN, *map(str, arguments)]
    own = {"GLIMPSE_EDGE_WEIGHTS": str(weights), "GLIMPSE_EDGE_DRAIN_S": "0"}
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | own, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout.splitlines()[-1])


@pytest.fixture
def shipped(weights_folder: Path) -> Path:
    return DEFAULT_WEIGHTS if (DEFAULT_WEIGHTS / "manifest.json").exists() else weights_folder


def photo(path: Path, height: int, width: int) -> Path:
    small = Image.fromarray(photograph(np.random.default_rng(7), 512, 512))
    small.resize((width, height)).save(path, quality=90)
    return path


@pytest.mark.parametrize("size", [(480, 640), (4096, 4096)])
def test_encode(tmp_path: Path, shipped: Path, size: tuple[int, int]) -> None:
    picture = photo(tmp_path / "photo.jpg", *size)
    assert peak_kb(shipped, "encode", picture, "-o", tmp_path) < MOST_KB


def test_run(tmp_path: Path, shipped: Path) -> None:
    picture = photo(tmp_path / "photo.jpg", 576, 768)
    options = ("--loop", "--fps", 20, "--seconds", 2, "--server", "127.0.0.1:9")
    assert peak_kb(shipped, "run", "--source", picture, *options) < MOST_KB
