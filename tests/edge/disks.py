"""A disk that a test can fill, by the most real means that this machine allows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.service.disk import fill, limit_files, mounted


@dataclass
class Disk:
    folder: Path
    reason: str  # in the ledger
    fill: Callable[[], object]
    free: Callable[[], object]


@contextmanager
def small_disk(folder: Path, kind: str, size: int = 1 << 20) -> Iterator[Disk]:
    """kind: tmpfs (a file system of its own that gets full) or limit (of this process's files)."""
    if kind == "limit":
        folder.mkdir(exist_ok=True)
        me = os.getpid()
        try:
            yield Disk(
                folder, "disk_failed", lambda: limit_files(me, 4096), lambda: limit_files(me, None)
            )
        finally:
            limit_files(me, None)
        return
    with mounted(folder, size) as is_mounted:
        if not is_mounted:
            pytest.skip("may not mount a file system here")
        yield Disk(folder, "disk_full", lambda: fill(folder), lambda: (folder / "filler").unlink())


@pytest.fixture(params=["tmpfs", "limit"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk", request.param) as disk:
        yield disk
