"""What the server exports about itself: build, process, disk, and cameras from before its start."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Literal

from prometheus_client import ProcessCollector

from cloud.metrics import Metrics
from cloud.store import CameraSummary


def version() -> str:
    """Of the installed package; empty where it runs uninstalled."""
    try:
        return metadata.version("glimpse")
    except metadata.PackageNotFoundError:
        return ""


def export_vitals(
    metrics: Metrics, *, data: Path, model: str, cameras: Iterable[CameraSummary]
) -> None:
    """Once for each registry.

    data     the data folder, whose disk is measured at each scrape
    cameras  those in store: one that stays silent after a restart must not be forgotten
    """
    ProcessCollector(registry=metrics.registry)
    metrics.build.info({"version": version(), "model": model})
    metrics.disk_bytes.set_function(partial(_disk, data, "total"))
    metrics.disk_free_bytes.set_function(partial(_disk, data, "free"))
    for camera in cameras:
        metrics.last_layer.labels(camera.camera).set(camera.last_seen)


def _disk(data: Path, figure: Literal["total", "free"]) -> float:
    try:
        usage = shutil.disk_usage(data)
    except OSError:  # the folder is gone; the other figures must still be had
        return math.nan
    return usage.total if figure == "total" else usage.free
