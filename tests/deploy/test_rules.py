"""What Prometheus' own checker says to the files that are shipped."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
import yaml

from tests.deploy.queries import PROMETHEUS, rules

pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="no promtool on this machine: apt-get install prometheus",
)


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "recording.yml", "alerts.yml"),
        ("test", "rules", "tests.yml"),
    ],
    ids=" ".join,
)
def test_promtool(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        ["promtool", *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested() -> None:
    tested = re.findall(r"Glimpse\w+", (PROMETHEUS / "tests.yml").read_text())
    assert {rule["alert"] for rule in rules("alert")} == set(tested)


def test_every_alert_says_what_to_do() -> None:
    for rule in rules("alert"):
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert set(rule["annotations"]) == {"summary", "description"}


def test_the_rules_that_are_loaded_are_there() -> None:
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    assert all((PROMETHEUS / name).exists() for name in config["rule_files"])
