"""Disks that are full: a small file system of its own, or a bound on what a process may write.

mounted       a tmpfs of so many bytes: where this process may mount one (as root, or under
              `unshare -Urm`); filling it makes writes fail with ENOSPC
limit_files   anywhere on Linux: writes beyond so many bytes of any file fail with EFBIG
"""

from __future__ import annotations

import errno
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_STEP = 4096


@contextmanager
def mounted(folder: Path, size: int) -> Iterator[bool]:
    """`folder` as a file system of `size` bytes while the body runs; False: not allowed here."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "glimpse", str(folder)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Writes a file until nothing more fits; deleting it frees the room again."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(_STEP))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    return filler


def limit_files(pid: int, size: int | None) -> None:
    """No file of this process may grow beyond `size` bytes from now on; None: any size."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    soft = hard if size is None else size
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
