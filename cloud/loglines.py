"""Where log lines go: a file of text that may be on a disk that is full."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG})


class LogLines:
    """Lines that cannot be written are lost: the server goes on. Other errors are raised."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        with _bearing():
            self._file.write(text)
        return len(text)

    def flush(self) -> None:
        with _bearing():
            self._file.flush()


@contextmanager
def _bearing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK:
            raise
