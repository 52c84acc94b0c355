"""A real process with a slow disk and a wrong clock, as a file says from moment to moment.

    python -m bench.service.faulty CONTROLS MODULE ARGUMENTS...

CONTROLS holds a JSON object; it may change, and may be missing:

    slow_s   each commit of SQLite takes so much longer
    shift_s  the process's wall clock is so much ahead

Neither can be done to a process from outside without root. All else of it is the real thing: the
module is run as `python -m MODULE ARGUMENTS` would.
"""

from __future__ import annotations

import json
import runpy
import sqlite3
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

_LOOK_S = 0.02


class Controls:
    """What the file says now; read again when it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._looked = 0.0
        self._said: dict[str, float] = {}

    def __getitem__(self, name: str) -> float:
        now = time.monotonic()
        if now - self._looked > _LOOK_S:
            self._looked = now
            try:
                self._said = json.loads(self._path.read_text())
            except FileNotFoundError:
                self._said = {}
        return self._said.get(name, 0.0)


def write_controls(path: Path, said: dict[str, float]) -> None:
    """Whole or not at all."""
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(said))
    beside.replace(path)


def main() -> None:
    controls = Controls(Path(sys.argv[1]))
    module, *arguments = sys.argv[2:]
    _slow_down(controls)
    _shift(controls, time.time)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _slow_down(controls: Controls) -> None:
    class Slow(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            if sql == "COMMIT" and (seconds := controls["slow_s"]):
                time.sleep(seconds)
            return super().execute(sql, *values)

    sqlite3.connect = partial(sqlite3.connect, factory=Slow)  # type: ignore[assignment]


def _shift(controls: Controls, real: Callable[[], float]) -> None:
    time.time = lambda: real() + controls["shift_s"]


if __name__ == "__main__":
    main()
