from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from bench.service.disk import fill, limit_files, mounted


def test_a_file_system_that_gets_full(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", 1 << 20) as is_mounted:
        if not is_mounted:
            pytest.skip("may not mount a file system here")
        filler = fill(tmp_path / "disk")
        assert shutil.disk_usage(tmp_path / "disk").free == 0
        with pytest.raises(OSError, match="No space left"):
            (tmp_path / "disk" / "other").write_bytes(bytes(10))
        filler.unlink()
        (tmp_path / "disk" / "other").write_bytes(bytes(10))
    assert not (tmp_path / "disk" / "other").exists()


def test_a_bound_on_files(tmp_path: Path) -> None:
    limit_files(os.getpid(), 100)
    try:
        with (tmp_path / "file").open("wb", buffering=0) as file:
            file.write(bytes(100))
            with pytest.raises(OSError, match="too large") as error:
                file.write(b"x")
        assert error.value.errno == errno.EFBIG
    finally:
        limit_files(os.getpid(), None)
    (tmp_path / "file").write_bytes(bytes(200))
