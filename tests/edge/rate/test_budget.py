from __future__ import annotations

import pytest

from common.errors import BadSettings
from edge.rate.budget import parse_budget


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("1200 B/s", 1200.0),
        ("10 kbit/s", 1250.0),
        ("10kbit/s", 1250.0),
        ("0.5 Mbit/s", 62_500.0),
        ("50 MB/day", 50e6 / 86_400),
        ("1.5 GB/month", 1.5e9 / 2_592_000),
        (" 3.6 MB/h ", 1000.0),
    ],
)
def test_budgets(text: str, rate: float) -> None:
    assert parse_budget(text) == pytest.approx(rate)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not like"),
        ("50", "is not like"),
        ("-5 kB/s", "is not like"),
        ("1e3 B/s", "is not like"),
        ("10 kbit", "is not like"),
        ("10 kbps/s", "unit 'kbps' is none of bit, kbit"),
        ("10 KB/s", "unit 'KB'"),
        ("10 MB/week", "'week' is none of s, h, day, month"),
        ("0 B/s", "less than 20 B/s"),
        ("1 kB/day", "less than 20 B/s"),
    ],
)
def test_bad_budgets(text: str, reason: str) -> None:
    with pytest.raises(BadSettings, match=reason):
        parse_budget(text)
