"""A real Prometheus beside a server: the configuration and the rules that are shipped."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml

from bench.service.processes import ROOT, free_port, running
from common.errors import BadSettings

RULES = ROOT / "deploy" / "prometheus"

_PATIENCE_S = 60.0
_ANSWER_S = 20.0


@dataclass(frozen=True, slots=True)
class Series:
    """points: (unix seconds, value); a value may be NaN or infinite."""

    labels: dict[str, str]
    points: list[tuple[float, float]]


class Prometheus:
    """One that answers at HOST:PORT."""

    def __init__(self, address: str) -> None:
        self._address = address

    def now(self, expr: str) -> list[Series]:
        """Series with a value at this moment. Raises ValueError for what is no query."""
        return [
            Series(found["metric"], [(found["value"][0], float(found["value"][1]))])
            for found in self._ask("query", query=expr)
        ]

    def during(self, expr: str, start: float, end: float, step: float) -> list[Series]:
        """Values from start to end, unix seconds, in steps of so many. Raises ValueError."""
        found = self._ask("query_range", query=expr, start=start, end=end, step=step)
        return [
            Series(one["metric"], [(at, float(value)) for at, value in one["values"]])
            for one in found
        ]

    def number(self, expr: str, patience_s: float = _PATIENCE_S) -> list[Series]:
        """What `now` gives as soon as it gives numbers; none: it did not in that time."""
        deadline = time.monotonic() + patience_s
        while True:
            found = [one for one in self.now(expr) if not math.isnan(one.points[0][1])]
            if found or time.monotonic() > deadline:
                return found
            time.sleep(0.1)

    def _ask(self, what: str, **query: Any) -> list[Any]:
        address = f"http://{self._address}/api/v1/{what}?{urlencode(query)}"
        try:
            with urllib.request.urlopen(address, timeout=_ANSWER_S) as reply:
                found: list[Any] = json.load(reply)["data"]["result"]
        except urllib.error.HTTPError as error:
            raise ValueError(f"{query['query']}: {error.read().decode()}") from error
        return found


def hurried(expr: str) -> str:
    """A query that looks back half a minute where it is shipped to look back five."""
    return expr.replace("[5m]", "[30s]")


@contextmanager
def prometheus(folder: Path, target: str, *, hurry: bool = False) -> Iterator[Prometheus]:
    """One that scrapes `target` (HOST:PORT) every second; its series are in `folder`.

    hurry  rules look back as much less as scrapes are more frequent than in operation

    Raises BadSettings where there is no prometheus, SystemExit if it does not start.
    """
    if shutil.which("prometheus") is None:
        raise BadSettings("no prometheus on this machine: apt-get install prometheus")
    config: Any = yaml.safe_load((RULES / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    for name in config["rule_files"]:
        rules = (RULES / name).read_text()
        (folder / name).write_text(hurried(rules) if hurry else rules)
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = [
        "prometheus", f"--config.file={folder / 'prometheus.yml'}",
        f"--web.listen-address={address}", f"--storage.tsdb.path={folder / 'series'}",
    ]  # fmt: skip
    log = folder / "prometheus.log"
    with running(command, log) as process:
        _wait_until_ready(address, process, log)
        yield Prometheus(address)


def _wait_until_ready(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://{address}/-/ready", timeout=2):
                return
        except OSError:  # HTTPError is one
            time.sleep(0.1)
    raise SystemExit(f"prometheus did not start:\n{log.read_text()}")
