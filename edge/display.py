"""What a person sees while a camera runs: one live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import errno
import math
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import structlog

from common.types import Box
from edge.ledger import Ledger
from edge.link.counter import WireBytes

_CLEAR = "\r\x1b[K"
_PLAIN_EVERY_S = 2.0


class Display:
    """Writes status lines to `out`; log lines go through it too, so that they do not collide."""

    def __init__(self, out: TextIO = sys.stdout, log: TextIO = sys.stderr) -> None:
        self._out = out
        self._log = log
        self._live = out.isatty()
        self._last = 0.0

    def status(self, line: str, seconds: float) -> None:
        """Shows the state at so many seconds since the start; plain lines come every 2 seconds."""
        if self._live:
            self._out.write(_CLEAR + line[: _width()])
            self._out.flush()
        elif seconds - self._last >= _PLAIN_EVERY_S:
            self._last = seconds
            self.print(line)

    def print(self, text: str) -> None:
        """A line that stays."""
        with _bearing_a_full_disk():
            self._out.write((_CLEAR if self._live else "") + text + "\n")
            self._out.flush()

    # -- a file for log lines

    def write(self, text: str) -> int:
        if self._live:
            self._out.write(_CLEAR)
            self._out.flush()
        with _bearing_a_full_disk():
            self._log.write(text)
        return len(text)

    def flush(self) -> None:
        with _bearing_a_full_disk():
            self._log.flush()


@contextmanager
def _bearing_a_full_disk() -> Iterator[None]:
    """Lines that go to a file on a disk that is full are lost; the camera goes on."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG):
            raise


def configure_logs(display: Display) -> None:
    """Log lines of this process go to standard error, one each, with time and level."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # Tracebacks without locals: those take long to lay out, and hold secrets.
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(20),  # information and above
        logger_factory=structlog.WriteLoggerFactory(display),  # type: ignore[arg-type]
        cache_logger_on_first_use=False,
    )


def _width() -> int:
    import shutil

    return shutil.get_terminal_size().columns - 1


def status_line(
    ledger: Ledger,
    seconds: float,
    wire: WireBytes | None,
    spooled: int,
    rate: float = math.inf,
) -> str:
    """Everything on one line; rate is what rate control allows now, in bytes per second."""
    parts = [
        f"{seconds:6.1f} s",
        f"captured {ledger.captured}",
        f"skipped {ledger.skipped.total() + ledger.bad}",
        *([f"thinned {ledger.thinned.total()}"] if ledger.thinned else []),
        *([f"expired {ledger.expired.total()}"] if ledger.expired else []),
        f"acked {ledger.acked}",
        f"waiting {spooled}",
        f"{_number(ledger.mean_bytes, '.0f')} B/frame",
        *([f"limit {rate * 8 / 1000:.1f} kbit/s"] if rate < math.inf else []),
    ]
    if wire is not None and seconds:
        parts.append(f"{wire.sent * 8 / seconds / 1000:.1f} kbit/s up")
    p50 = ledger.latency.percentile(50)
    if p50 is not None:
        parts.append(f"boxes after {p50 * 1000:.0f} ms")
    if ledger.boxes is not None:
        parts.append(_in_words(ledger.boxes))
    return "  ".join(parts)


def _in_words(boxes: tuple[Box, ...]) -> str:
    counts = Counter(box.label for box in boxes)
    return ", ".join(f"{count} {label}" for label, count in counts.most_common()) or "nothing seen"


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """The summary of a run (Ledger.summary) for people."""
    lost = {**summary["expired"]}
    thinned = {**summary["thinned"]}
    skipped = {**summary["skipped"]} | ({"bad": summary["bad"]} if summary["bad"] else {})
    account = "adds up" if summary["adds_up"] else "DOES NOT ADD UP"
    lines = [
        f"captured  {summary['captured']} frames in {summary['seconds']:.1f} s: "
        f"{summary['coded']} coded, {sum(skipped.values())} skipped{_reasons(skipped)}"
        + (f", {sum(thinned.values())} thinned{_reasons(thinned)}" if thinned else ""),
        f"coded     {summary['acked']} acked, {summary['refused']} refused, "
        f"{sum(lost.values())} expired{_reasons(lost)}, {summary['waiting']} waiting: {account}",
        f"sent      {summary['sent']} layers over {summary['connections']} connections, "
        f"{_number(summary['mean_bytes'], '.0f')} bytes a layer, "
        f"quality {_number(summary['mean_quality'], '.2f')}",
    ]
    if any(summary["earlier"].values()):
        earlier = summary["earlier"]
        lines.append(f"earlier   {earlier['acked']} acked, {earlier['lost']} lost")
    wire = summary["wire"]
    lines.append("wire      not measured" if wire is None else _wire_line(wire))
    lines.append(_times_line("boxes     capture to boxes", summary["capture_to_boxes_ms"]))
    lines += [_times_line(f"stage     {k}", times) for k, times in summary["stages_ms"].items()]
    return lines


def _wire_line(wire: dict[str, int]) -> str:
    up, down = wire["sent_bits_per_second"], wire["received_bits_per_second"]
    return (
        f"wire      {up} bit/s up, {down} bit/s down "
        f"({wire['sent_bytes']} and {wire['received_bytes']} bytes, by the kernel's count)"
    )


def _times_line(name: str, times: dict[str, float | int | None]) -> str:
    if not times["frames"]:
        return f"{name}: none"
    return f"{name}: p50 {times['p50']} ms, p95 {times['p95']} ms of {times['frames']} frames"


def _reasons(counts: dict[str, int]) -> str:
    return " (" + ", ".join(f"{n} {reason}" for reason, n in counts.items()) + ")" if counts else ""


def _number(value: float | None, spec: str) -> str:
    return "-" if value is None else format(value, spec)
