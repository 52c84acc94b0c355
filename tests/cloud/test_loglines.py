from __future__ import annotations

import errno
import io

import pytest

from cloud.loglines import LogLines


class Broken(io.StringIO):
    def __init__(self, number: int) -> None:
        super().__init__()
        self._error = OSError(number, "cannot")

    def write(self, text: str) -> int:
        raise self._error

    def flush(self) -> None:
        raise self._error


def test_lines_arrive() -> None:
    file = io.StringIO()
    lines = LogLines(file)
    assert lines.write("one\n") == 4
    lines.flush()
    assert file.getvalue() == "one\n"


def test_a_full_disk_ends_nobody() -> None:
    lines = LogLines(Broken(errno.ENOSPC))
    assert lines.write("one\n") == 4
    lines.flush()


def test_any_other_error_is_told() -> None:
    with pytest.raises(OSError, match="cannot"):
        LogLines(Broken(errno.EBADF)).write("one\n")
