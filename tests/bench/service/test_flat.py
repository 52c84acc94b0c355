"""Both processes stay as they are over many frames; the server over many cancelled calls, too."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.service.flat import Look, flat, grown
from tests.weights import tiny_weights

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_growth_is_that_of_the_second_half() -> None:
    flat_then = [Look(n, 100.0 + min(n, 5), 10) for n in range(40)]
    assert grown(flat_then)["rss_grown_mb"] == 0
    leak = [Look(n, 100.0 + n, 10 + n) for n in range(40)]
    assert grown(leak)["rss_grown_mb"] == 15
    assert grown(leak)["files_grown"] == 15


def check(folder: Path, frames: int, calls: int) -> None:
    tiny_weights(folder / "weights", detector=True)
    work = folder / "work"
    work.mkdir()
    report = flat(work, folder / "out", folder / "weights", frames=frames, calls=calls, fps=100.0)
    assert report["frames"] >= frames
    for name in ("server", "camera", "server_calls"):
        assert abs(report[name]["files_grown"]) < 3, (name, report["looks"][name])
        assert report[name]["rss_grown_mb"] < 8, (name, report["looks"][name])
    assert (folder / "out" / "flat.png").stat().st_size > 1000


@pytest.mark.timeout(600)  # real processes: a busy machine takes minutes to start them
def test_a_short_run(tmp_path: Path) -> None:
    check(tmp_path, frames=600, calls=400)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_long_run(tmp_path: Path) -> None:
    check(tmp_path, frames=50_000, calls=20_000)
