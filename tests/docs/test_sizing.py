from __future__ import annotations

import re

import pytest

from tests.docs import sizing
from tests.docs.sizing import PAGE, page, result


def test_the_page_is_what_was_measured() -> None:
    hint = "python -m tests.docs.sizing --rewrite"
    assert PAGE.read_text() == page(), f"docs/sizing.md is out of date: {hint}"


def test_figures_are_those_of_the_files() -> None:
    """Two of them by another way."""
    text = page()
    milliseconds = result("edge")["precisions"]["int8"]["encode_ms"]["cpu"]["p50"]
    (row,) = re.findall(r"^\| int8 \| .*$", text, re.MULTILINE)
    assert row.split(" | ")[3] == f"{(0.8 * 1000 / milliseconds) / 5:.1f}"
    sent = result("demo")["wire"]["sent_bytes"] / result("demo")["seconds"]
    (row,) = re.findall(r"^\| the same on the wire, up \| .*$", text, re.MULTILINE)
    assert float(row.rstrip(" |").split(" | ")[-1]) == pytest.approx(sent * 0.0864, rel=0.01)


def test_what_was_not_run_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = ("viewer", "clicks")
    monkeypatch.setattr(sizing, "result", lambda name: None if name in missing else result(name))
    for command in ("viewers", "clicks"):
        assert f"not run: `python -m bench {command}`" in page()


def test_what_was_run_says_what_came_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = {
        "viewer": {"runs": [{"pages": 0}, {"pages": 50}], "change": {"p50": 0.021, "p95": -0.004}},
        "clicks": {"cold": {"clicks": 0}, "warm": {"first_ms": {"p50": 21.4, "p95": 33.0}}},
    }
    monkeypatch.setattr(sizing, "result", lambda name: ran.get(name) or result(name))
    assert "50 pages: capture to boxes p50 +2.1%, p95 -0.4%" in page()
    assert "| warm decoder p50 21 ms, p95 33 ms" in page()
