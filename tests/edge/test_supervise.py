"""Real child processes: those that die come again, and a signal ends all of them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from common.errors import BadSettings
from edge.main import app
from edge.supervise import Patience, supervise

QUICK = Patience(first=0.05, most=0.2, well_after=60.0)
FAILS_TWICE = """
import pathlib, sys
tries = pathlib.Path(sys.argv[1])
tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
sys.exit(7 if len(tries.read_text()) < 3 else 0)
"""
WAITS = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(int(sys.argv[1])))
print("ready", flush=True)
time.sleep(60)
"""


def python(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", code, *map(str, arguments)]


async def test_a_child_that_dies_is_started_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines: list[str] = []
    commands = {"gate": python(FAILS_TWICE, tmp_path / "tries"), "yard": python("print('hello')")}
    assert await supervise(commands, lines.append, QUICK) == 0
    assert (tmp_path / "tries").read_text() == "xxx"
    assert lines == ["yard: hello"]
    told = capsys.readouterr().out
    assert told.count("a camera ended, starting it again") == 2
    assert "0.05" in told
    assert "0.1" in told  # the pause doubles


@pytest.mark.parametrize(("codes", "worst"), [((0, 0), 0), ((0, 4), 4), ((5, 4), 5)])
async def test_a_signal_ends_all_and_the_exit_code_says_how(
    codes: tuple[int, int], worst: int
) -> None:
    ready: list[str] = []

    def write(line: str) -> None:
        ready.append(line)
        if len(ready) == len(codes):
            os.kill(os.getpid(), signal.SIGTERM)

    commands = {f"camera-{n}": python(WAITS, code) for n, code in enumerate(codes)}
    assert await supervise(commands, write, QUICK) == worst


async def test_a_signal_ends_a_pause_too() -> None:
    loop = asyncio.get_running_loop()
    loop.call_later(1.0, os.kill, os.getpid(), signal.SIGTERM)
    began = time.monotonic()
    slow = Patience(first=50.0)
    assert await supervise({"gate": python("raise SystemExit(3)")}, print, slow) == 3
    assert time.monotonic() - began < 30


def test_all_cameras_of_a_file(tmp_path: Path, weights_folder: Path) -> None:
    """No server answers, which the exit code says at the end."""
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(tmp_path / "photo.png")
    config = tmp_path / "cameras.yaml"
    shared = {
        "source": str(tmp_path / "photo.png"), "weights": str(weights_folder), "drain_s": 0,
        "server": "127.0.0.1:9", "spool": str(tmp_path / "spool"), "loop": True,
    }  # fmt: skip
    config.write_text(json.dumps(shared | {"cameras": {"gate": {}, "yard": {"fps": 2}}}))
    command = [sys.executable, "-m", "edge.main", "run", "--all", "--config", str(config)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    ) as process:
        assert process.stdout is not None
        seen = set()
        for line in process.stdout:
            name, _, rest = line.partition(":")
            if " captured " in rest:
                seen.add(name)
            if len(seen) == 2:
                process.send_signal(signal.SIGTERM)
                break
        rest = process.stdout.read()
    assert process.returncode == 4, rest
    for name in ("gate", "yard"):
        assert f"{name}: captured" in rest
        assert (tmp_path / "spool" / f"{name}.sqlite").exists()


@pytest.mark.parametrize("more", [[], ["--config", "c.yaml", "--fps", "3"]])
def test_everything_else_stands_in_the_file(more: list[str]) -> None:
    result = CliRunner().invoke(app, ["run", "--all", *more])
    assert isinstance(result.exception, BadSettings)


def test_a_file_with_faults_starts_nothing(tmp_path: Path) -> None:
    config = tmp_path / "cameras.yaml"
    config.write_text("cameras: {gate: {fps: -1}, yard: {}}")
    result = CliRunner().invoke(app, ["run", "--all", "--config", str(config)])
    assert result.exit_code == 2
    assert "fps" in result.stderr
