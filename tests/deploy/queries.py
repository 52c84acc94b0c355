"""Every PromQL query that is shipped: those of panels, of recording rules and of alerts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import CollectorRegistry, ProcessCollector

from cloud.metrics import Metrics
from deploy.grafana.make_dashboards import DASHBOARDS

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"

_SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
    "summary": ("_sum", "_count"),
    "info": ("_info",),
}
_WORDS = {"and", "bool", "by", "or", "unless"}


@dataclass(frozen=True)
class Shipped:
    """where: for people. legend: of a panel's query."""

    where: str
    expr: str
    legend: str = ""

    @property
    def metrics(self) -> set[str]:
        """What it asks for."""
        bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|\bby \([^)]*\)", " ", self.expr)
        names = re.findall(r"\b[a-z][a-z0-9_:]*\b(?!\s*\()", bare)
        return {name for name in names if name not in _WORDS}


def panels() -> Iterator[Shipped]:
    for board in DASHBOARDS:
        for panel in board.panels:
            for query in panel.queries:
                yield Shipped(f"{board.title}: {panel.title}", query.expr, query.legend)


def rules(kind: str) -> list[dict[str, Any]]:
    """kind: record or alert."""
    found = []
    for file in ("recording.yml", "alerts.yml"):
        for group in yaml.safe_load((PROMETHEUS / file).read_text())["groups"]:
            found += [rule for rule in group["rules"] if kind in rule]
    return found


def shipped() -> list[Shipped]:
    ruled = [
        Shipped(f"{kind} {rule[kind]}", rule["expr"])
        for kind in ("record", "alert")
        for rule in rules(kind)
    ]
    return [*panels(), *ruled]


def exported() -> set[str]:
    """Names of all series that the server can export, and of what is recorded from them."""
    registry = CollectorRegistry()
    Metrics(registry)
    ProcessCollector(registry=registry)
    own = {
        family.name + suffix for family in registry.collect() for suffix in _SUFFIXES[family.type]
    }
    return own | {"up"} | {rule["record"] for rule in rules("record")}
