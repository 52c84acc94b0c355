"""How a measurement is kept: JSON with the command that made it and the machine it ran on."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator


def write_report(path: Path, figures: dict[str, Any]) -> None:
    """Writes `figures` with the command line and the machine's size added."""
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"command": command(), "machine": machine()}
    path.write_text(json.dumps(about | figures, indent=2) + "\n")


def command() -> str:
    """The command line as a user would type it, data folders of this machine written as DATA."""
    return shlex.join(["python", "-m", "bench", *map(_portable, sys.argv[1:])])


def _portable(argument: str) -> str:
    path = Path(argument)
    if path.is_absolute() or ".." in path.parts:
        return str(Path("DATA", *path.parts[-2:]))
    return argument


def machine() -> dict[str, Any]:
    """What decides how fast this machine is, and nothing that names it."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.system(),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def log_axis(axes: Axes) -> None:
    """A logarithmic x axis that is read without powers of ten."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
