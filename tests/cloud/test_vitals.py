from __future__ import annotations

import math
import shutil
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from cloud.metrics import Metrics
from cloud.store import CameraSummary
from cloud.vitals import export_vitals, version


def test_build_disk_process_and_the_cameras_of_before(tmp_path: Path) -> None:
    metrics = Metrics(CollectorRegistry())
    gate = CameraSummary("gate", 3, 900, 1234.5)
    export_vitals(metrics, data=tmp_path, model="streets-1a2b", cameras=[gate])
    value = metrics.registry.get_sample_value
    assert value("glimpse_build_info", {"version": version(), "model": "streets-1a2b"}) == 1
    assert value("glimpse_last_layer_timestamp_seconds", {"camera": "gate"}) == 1234.5
    total, free = value("glimpse_disk_bytes"), value("glimpse_disk_free_bytes")
    assert total == shutil.disk_usage(tmp_path).total
    assert free is not None
    assert 0 < free < total
    assert (value("process_resident_memory_bytes") or 0) > 1 << 20


def test_a_data_folder_that_vanished_leaves_the_other_figures(tmp_path: Path) -> None:
    metrics = Metrics(CollectorRegistry())
    export_vitals(metrics, data=tmp_path / "gone", model="m", cameras=[])
    assert math.isnan(metrics.registry.get_sample_value("glimpse_disk_free_bytes") or 0)
    assert b"glimpse_sessions 0.0" in generate_latest(metrics.registry)
