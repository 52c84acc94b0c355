"""What a doctor finds: a line each, with what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """about: the hop or the part. says: what was seen. do: what to do; empty for ok."""

    level: Level
    about: str
    says: str
    do: str = ""

    def line(self) -> str:
        """ok    disk          62 of 252 GB are free"""
        advice = f"\n{'':20}-> {self.do}" if self.do else ""
        return f"{self.level:<5} {self.about:<13} {self.says}{advice}"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def ok(about: str, says: str) -> Finding:
    return Finding("ok", about, says)


def warn(about: str, says: str, do: str) -> Finding:
    return Finding("warn", about, says, do)


def fail(about: str, says: str, do: str) -> Finding:
    return Finding("fail", about, says, do)


def verdict(findings: Iterable[Finding]) -> str:
    """'2 to mend, 1 to watch' and its like."""
    levels = [finding.level for finding in findings]
    parts = ((levels.count("fail"), "to mend"), (levels.count("warn"), "to watch"))
    return ", ".join(f"{n} {what}" for n, what in parts if n) or "all is well"


def days_left(about: str, seconds: float, warn_days: float, do: str) -> Finding:
    """Of a certificate that expires in so many seconds."""
    days = seconds / 86_400
    if days <= 0:
        return fail(about, f"the certificate expired {-days:.1f} days ago", do)
    says = f"the certificate has {days:.0f} days left"
    return ok(about, says) if days >= warn_days else warn(about, says, do)


def clock_skew(about: str, skew_s: float, uncertain_s: float) -> Finding:
    """Between two clocks, known to so much; a second is what latencies may be wrong by."""
    says = f"{skew_s:+.2f} s against the server's (known to {uncertain_s:.2f} s)"
    if abs(skew_s) <= 1.0 + uncertain_s:
        return ok(about, says)
    return warn(about, says, "capture times are wrong by that: let chrony or timesyncd set it")
