"""Where log lines go: a file of text that may be on a disk that is full."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import structlog

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


def configure_logs(file: TextIO) -> None:
    """Log lines of this process go to `file`, one each, with time and level.

    Tracebacks are plain: with locals, as structlog has them where rich is installed, one takes
    tens of milliseconds to lay out, and shows secrets.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.StackInfoRenderer(),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(
                colors=file.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ],
        logger_factory=structlog.WriteLoggerFactory(LogLines(file)),  # type: ignore[arg-type]
    )


@contextmanager
def _bearing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK:
            raise
