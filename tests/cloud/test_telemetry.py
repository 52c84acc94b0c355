"""What cameras tell of themselves, as metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from cloud.metrics import Metrics
from cloud.telemetry import Told
from common.session.events import Telemetry
from glimpse.v1 import ingest_pb2
from tests.cloud.serving import serving, until


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"glimpse_edge_{name}", {"camera": "gate"} | labels)


def told(*words: tuple[str, dict[str, Any]]) -> Metrics:
    metrics = Metrics(CollectorRegistry())
    record = Told(metrics).record
    for boot, fields in words:
        record("gate", boot, Telemetry(**fields))
    return metrics


def test_counts_are_those_of_all_words_together() -> None:
    metrics = told(
        ("b1", {"captured": 10, "acked": 7, "wire_bytes": 1000}),
        ("b1", {"captured": 15, "acked": 15, "wire_bytes": 1500, "reconnects": 2}),
        ("b2", {"captured": 4, "wire_bytes": 100}),  # it was started anew
        ("b2", {"captured": 3, "wire_bytes": 90}),  # and counts from nothing, whatever its boot
    )
    assert value(metrics, "frames_total", outcome="captured") == 15 + 4 + 3
    assert value(metrics, "frames_total", outcome="acked") == 15
    assert value(metrics, "wire_bytes_total") == 1500 + 100 + 90
    assert value(metrics, "reconnects_total") == 2


def test_states_are_those_of_the_last_word() -> None:
    first = {"spool_frames": 9, "spool_oldest_s": 60, "quality": 255, "budget": 1250}
    second = {"spool_frames": 2, "spool_bytes": 500, "spool_max_bytes": 4096}
    metrics = told(("b1", first), ("b1", second | {"quality": 4_000_000_000}))
    assert value(metrics, "spool_frames") == 2
    assert value(metrics, "spool_bytes") == 500
    assert value(metrics, "spool_max_bytes") == 4096
    assert value(metrics, "spool_oldest_seconds") == 0
    assert value(metrics, "quality") == 1.0  # no camera makes it more
    assert value(metrics, "uplink_budget_bytes") == 0


async def test_a_cameras_word_reaches_the_metrics(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, served.camera() as camera:
        telemetry = ingest_pb2.Telemetry(captured=2**64 - 1, spool_frames=5, budget=1250)
        await camera.write(telemetry=telemetry)
        await until(lambda: served.count("glimpse_edge_spool_frames", camera="gate") == 5)
        captured = {"camera": "gate", "outcome": "captured"}
        assert served.count("glimpse_edge_frames_total", **captured) == float(2**64 - 1)


async def test_it_has_no_place_before_a_hello(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, served.camera(hello=False) as camera:
        await camera.write(telemetry=ingest_pb2.Telemetry(captured=1))
        goodbye = await camera.goodbye()
        assert goodbye.code == ingest_pb2.GOODBYE_CODE_PROTOCOL_ERROR
        assert "Telemetry has no place" in goodbye.reason
