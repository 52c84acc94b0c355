"""A budget of bytes as people write it."""

from __future__ import annotations

import math
import re

from common.errors import BadSettings

_UNITS = {"bit": 1 / 8, "kbit": 125.0, "Mbit": 125e3, "B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9}
_SPANS = {"s": 1.0, "h": 3600.0, "day": 86_400.0, "month": 30 * 86_400.0}
_BUDGET = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]+)/([a-z]+)")
_LEAST_BUDGET = 20.0  # bytes per second: below it not even the keepalives are sure of a place


def parse_budget(text: str) -> float:
    """'50 MB/day', '10 kbit/s', '1200 B/s' -> bytes per second. Raises BadSettings.

    Units bit, kbit, Mbit, B, kB, MB, GB in steps of 1000; spans s, h, day, month (30 days).
    """
    found = _BUDGET.fullmatch(text.strip())
    if not found:
        raise BadSettings(f"budget {text!r} is not like '50 MB/day', '10 kbit/s' or '1200 B/s'")
    number, unit, span = found.groups()
    if unit not in _UNITS:
        raise BadSettings(f"budget {text!r}: unit {unit!r} is none of {', '.join(_UNITS)}")
    if span not in _SPANS:
        raise BadSettings(f"budget {text!r}: {span!r} is none of {', '.join(_SPANS)}")
    rate = float(number) * _UNITS[unit] / _SPANS[span]
    if not _LEAST_BUDGET <= rate < math.inf:
        raise BadSettings(f"budget {text!r} is less than {_LEAST_BUDGET:.0f} B/s")
    return rate
