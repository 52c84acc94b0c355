from __future__ import annotations

import re

from tests.deploy.queries import exported, rules
from tests.docs.metrics import PAGE, metrics, names, page


def test_the_page_is_what_the_registry_says() -> None:
    hint = "python -m tests.docs.metrics --rewrite"
    assert PAGE.read_text() == page(), f"docs/metrics.md is out of date: {hint}"


def test_every_metric_rule_and_alert_has_a_row() -> None:
    ruled = {rule[kind] for kind in ("record", "alert") for rule in rules(kind)}
    families = {
        re.sub(r"_(bucket|sum|count)$", "", name)
        for name in exported()
        if name.startswith("glimpse")
    }
    assert set(names(page())) - {"name"} == families | ruled


def test_every_metric_says_what_it_is() -> None:
    assert all(one._documentation.endswith(".") for one in metrics())
