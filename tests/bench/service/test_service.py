"""A server under the load of real camera processes, and of sessions; the search for the most."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.service.house import made_film
from bench.service.service import search, service, step
from bench.service.sessions import Got
from tests.weights import tiny_weights


@pytest.mark.parametrize("most", [0, 1, 2, 3, 7, 40, 41, 100])
def test_the_search(most: int) -> None:
    asked: list[int] = []

    def measure(count: int) -> dict[str, Any]:
        asked.append(count)
        return {"streams": count, "holds": count <= most}

    found, steps = search(measure)
    assert found <= most
    assert found >= most - max(1, most // 16)
    assert [one["streams"] for one in steps] == sorted(asked)
    assert len(asked) == len(set(asked)) <= 14


@pytest.mark.parametrize(
    ("latency", "holds"),
    [
        ([0.1] * 99 + [0.2], True),
        ([0.1] * 98 + [0.4] * 2, False),  # now and then far too late
        ([0.1] * 97, False),  # some never came
        ([5.0] * 100, False),  # all late: a queue that grows
        ([], False),
    ],
)
def test_what_holds(latency: list[float], holds: bool) -> None:
    assert step(4, Got(100, 100, latency), fps=5.0)["holds"] is holds


@pytest.mark.timeout(600)  # real processes: a busy machine takes minutes to start them
def test_real_processes(tmp_path: Path) -> None:
    tiny_weights(tmp_path / "weights", detector=True)
    film = made_film(tmp_path / "film", 8)
    report = service(
        str(film), tmp_path, tmp_path / "weights", cameras=2, fps=5.0, seconds=2.0, find_most=False
    )
    assert report["adds_up"]
    assert report["frames"] >= 4
    assert 0 < report["latency_ms"]["p50"] <= report["latency_ms"]["p99"]
    assert {"wait", "encode", "spool", "commit", "detect"} <= report["stages_ms"].keys()
    assert report["server_cpu_ms_a_frame"] > 0
    assert report["rss_mb"] > 50
    assert (tmp_path / "service.png").stat().st_size > 1000
    assert (tmp_path / "service.json").exists()
