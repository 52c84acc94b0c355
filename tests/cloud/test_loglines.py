from __future__ import annotations

import errno
import io

import pytest
import structlog

from cloud.loglines import LogLines, configure_logs


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


def test_a_traceback_is_plain_and_shows_no_locals() -> None:
    file = io.StringIO()
    try:
        configure_logs(file)
        token = "".join(["s3", "cr3t"])
        try:
            raise ValueError(len(token))
        except ValueError:
            structlog.get_logger().exception("trouble", camera="gate")
    finally:
        structlog.reset_defaults()
    text = file.getvalue()
    assert "trouble" in text
    assert "camera=gate" in text
    assert "ValueError: 6" in text
    assert "Traceback (most recent call last)" in text
    assert "s3cr3t" not in text
