"""deploy/first-start, run as the image runs it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.queries import ROOT


@pytest.fixture
def house(tmp_path: Path) -> Path:
    (tmp_path / "handed").mkdir()
    return tmp_path


def start(house: Path, hosts: str = "cloud localhost") -> subprocess.CompletedProcess[str]:
    env = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "GLIMPSE_CLOUD_DATA": str(house / "data"),
        "HOSTS": hosts,
        "CAMERA": "demo",
        "HANDED": str(house / "handed"),
    }
    return subprocess.run(
        ["/bin/sh", ROOT / "deploy" / "first-start"],
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip


def files(folder: Path) -> dict[str, str]:
    """Name -> hash of all that is in it."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_second_start_changes_nothing(house: Path) -> None:
    first = start(house)
    assert first.returncode == 0, first.stderr
    before = files(house)
    assert {"handed/ca.pem", "handed/demo.token", "data/tls/server.key"} <= before.keys()
    assert all(path.stat().st_mode & 0o077 == 0 for path in (house / "handed").iterdir())
    assert start(house).returncode == 0
    assert files(house) == before


def test_a_token_of_an_earlier_server_is_replaced(house: Path) -> None:
    start(house)
    old = (house / "handed" / "demo.token").read_text()
    (house / "data" / "tokens").unlink()
    (house / "data" / "tokens").touch()
    assert start(house).returncode == 0
    assert (house / "handed" / "demo.token").read_text() != old


def test_a_host_that_is_none(house: Path) -> None:
    done = start(house, "cloud not/a/host")
    assert done.returncode == 2
    assert "not/a/host" in done.stderr
    assert list((house / "handed").iterdir()) == []
