from __future__ import annotations

import errno
import io

import pytest
import structlog

from common.types import Box
from edge.display import Display, configure_logs, status_line, summary_lines
from edge.ledger import Ledger
from edge.link.counter import WireBytes


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def ledger() -> Ledger:
    made = Ledger("b", 0)
    made.captured = 3
    made.on_coded(0, 0.0, 400)
    made.on_coded(1, 0.0, 500)
    made.skipped["late"] = 1
    made.on_settled("b", 2, refused=False)
    made.boxes = (Box("car", 0.5, 0, 0, 1, 1),) * 2 + (Box("bus", 0.5, 0, 0, 1, 1),)
    made.latency.add(0.0421)
    return made


def test_the_status_line() -> None:
    line = status_line(ledger(), 2.0, WireBytes(1000, 500), 0)
    assert "acked 2" in line
    assert "450 B/frame" in line
    assert "4.0 kbit/s up" in line
    assert "boxes after 42 ms" in line
    assert line.endswith("2 car, 1 bus")
    assert "kbit" not in status_line(Ledger("b", 0), 0.0, None, 0)


def test_what_the_rate_had_no_room_for() -> None:
    made = ledger()
    assert "thinned" not in status_line(made, 2.0, None, 0)
    made.captured, made.thinned["budget"], made.quality_sum = 7, 4, 0.5
    line = status_line(made, 2.0, None, 0, 1250.0)
    assert "thinned 4" in line
    assert "limit 10.0 kbit/s" in line
    text = "\n".join(summary_lines(made.summary(0, 2.0, None)))
    assert "2 coded, 1 skipped (1 late), 4 thinned (4 budget)" in text
    assert "quality 0.25" in text


def test_the_summary() -> None:
    text = "\n".join(summary_lines(ledger().summary(0, 2.0, WireBytes(1000, 500))))
    assert "captured  3 frames in 2.0 s: 2 coded, 1 skipped (1 late)" in text
    assert "2 acked, 0 refused, 0 expired, 0 waiting: adds up" in text
    assert "4000 bit/s up, 2000 bit/s down" in text
    assert "p50 42.1 ms, p95 42.1 ms of 1 frames" in text
    text = "\n".join(summary_lines(Ledger("b", 0).summary(1, 0.0, None)))
    assert "DOES NOT ADD UP" in text
    assert "not measured" in text


def test_a_terminal_has_one_live_line_and_log_lines_above_it() -> None:
    out, log = Terminal(), io.StringIO()
    display = Display(out, log)
    configure_logs(display)
    display.status("one", 0.5)
    structlog.get_logger().warning("trouble")
    display.status("two", 1.0)
    display.print("the end")
    structlog.reset_defaults()
    assert out.getvalue() == "\r\x1b[Kone\r\x1b[K\r\x1b[Ktwo\r\x1b[Kthe end\n"
    assert "trouble" in log.getvalue()


def test_a_traceback_is_plain_and_shows_no_locals() -> None:
    log = io.StringIO()
    configure_logs(Display(io.StringIO(), log))
    try:
        token = "".join(["s3", "cr3t"])
        try:
            raise ValueError(len(token))
        except ValueError:
            structlog.get_logger().exception("trouble")
    finally:
        structlog.reset_defaults()
    assert "Traceback (most recent call last)" in log.getvalue()
    assert "ValueError: 6" in log.getvalue()
    assert "s3cr3t" not in log.getvalue()


def test_elsewhere_a_plain_line_comes_every_two_seconds() -> None:
    out = io.StringIO()
    display = Display(out, io.StringIO())
    for step in range(1, 11):
        display.status(f"line {step}", step / 2)
    assert out.getvalue() == "line 4\nline 8\n"


class OnDisk(io.StringIO):
    """A file that cannot be written."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._error = OSError(number, "cannot")

    def write(self, text: str) -> int:
        raise self._error


def test_output_on_a_full_disk_is_lost_and_ends_nobody() -> None:
    display = Display(OnDisk(errno.ENOSPC), OnDisk(errno.EIO))
    display.print("a line")
    assert display.write("a line of the log") == 17
    display.flush()


def test_any_other_error_of_the_output_is_told() -> None:
    with pytest.raises(BrokenPipeError):
        Display(OnDisk(errno.EPIPE)).print("a line")


def test_expired_frames_stand_in_the_status_line() -> None:
    made = ledger()
    assert "expired" not in status_line(made, 2.0, None, 0)
    made.expired["disk_full"] += 2
    assert "expired 2" in status_line(made, 2.0, None, 0)
