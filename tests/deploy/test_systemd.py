from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

import cloud.main
import edge.main
from tests.deploy.queries import ROOT
from tests.deploy.variables import variables

UNITS = sorted((ROOT / "deploy" / "systemd").iterdir())
EXPOSED = 3.0  # of 10, by systemd's own reckoning; a unit without any of it has 9.6

EACH = pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
NEEDS_SYSTEMD = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine"
)


def installed_here(unit: Path, folder: Path) -> Path:
    """The unit with this environment's commands in place of those in /opt/glimpse."""
    commands = Path(sys.executable).parent
    copy = folder / unit.name.replace("@.", "@gate.")
    copy.write_text(unit.read_text().replace("/opt/glimpse/bin", str(commands)))
    return copy


@NEEDS_SYSTEMD
@EACH
def test_systemd_has_nothing_to_say(unit: Path, tmp_path: Path) -> None:
    command = ["systemd-analyze", "verify", "--man=no", str(installed_here(unit, tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert unit.name.partition("@")[0] not in done.stderr


@NEEDS_SYSTEMD
def test_systemd_finds_a_mistake(tmp_path: Path) -> None:
    (unit,) = (path for path in UNITS if path.name == "glimpse-cloud.service")
    wrong = installed_here(unit, tmp_path)
    wrong.write_text(wrong.read_text().replace("ProtectHome=yes", "ProtectHome=perhaps"))
    command = ["systemd-analyze", "verify", "--man=no", str(wrong)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Failed to parse protect home" in done.stderr


@NEEDS_SYSTEMD
@EACH
def test_it_is_confined(unit: Path, tmp_path: Path) -> None:
    copy = installed_here(unit, tmp_path)
    command = [
        "systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSED * 10:g}", str(copy),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-400:] + done.stderr


@EACH
def test_its_variables_are_settings(unit: Path) -> None:
    named = set(re.findall(r"^Environment=(\w+)=", unit.read_text(), re.MULTILINE))
    assert named
    assert named <= variables()


@EACH
def test_its_command_has_the_options_that_it_gives(unit: Path) -> None:
    joined = unit.read_text().replace("\\\n", " ")
    (line,) = re.findall(r"^ExecStart=/opt/glimpse/bin/(.*)$", joined, re.MULTILINE)
    program, command, *words = line.split()
    app = {"glimpse-cloud": cloud.main.app, "glimpse-edge": edge.main.app}[program]
    known = {option for p in get_command(app).commands[command].params for option in p.opts}  # type: ignore[attr-defined]
    assert {word for word in words if word.startswith("--")} <= known
