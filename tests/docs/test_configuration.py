from __future__ import annotations

import re
from pathlib import Path

import pytest

from cloud.events.config import MqttConfig, RuleConfig, WebhookConfig, read_events
from cloud.events.out import check_files
from cloud.settings import CloudSettings
from edge.configuration import read_configuration
from edge.settings import EdgeSettings
from tests.docs.configuration import EVENTS, HEAD, PAGE, page


def test_the_page_is_what_the_settings_say() -> None:
    hint = "python -m tests.docs.configuration --rewrite"
    assert PAGE.read_text() == page(), f"docs/configuration.md is out of date: {hint}"


def test_every_setting_has_a_row() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(GLIMPSE_\w+)` \| ", page(), re.MULTILINE)
    names = [*EdgeSettings.model_fields, *CloudSettings.model_fields]
    assert [name for name, _ in rows] == names
    assert len({variable for _, variable in rows}) == len(names)


def test_every_key_of_the_events_file_has_a_row() -> None:
    events = page().partition("## Events")[2]
    for title, section in (
        ("A rule", RuleConfig),
        ("A webhook", WebhookConfig),
        ("MQTT", MqttConfig),
    ):
        table = events.partition(f"### {title}\n")[2].partition("###")[0]
        assert re.findall(r"^\| `(\w+)` \| ", table, re.MULTILINE) == [*section.model_fields]


def test_the_example_of_the_events_file_is_a_good_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```yaml\n(.*?)```", EVENTS, re.DOTALL)
    Path("events.yaml").write_text(example)
    for name in ("office.secret", "mqtt.password"):
        Path(name).write_text("sixteen bytes or more")
    config = read_events(Path("events.yaml"))
    check_files(config)
    assert len(config.lines()) == 4


def test_the_page_is_the_same_on_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    before = page()
    monkeypatch.setenv("HOME", "/somewhere/else")
    monkeypatch.setenv("GLIMPSE_EDGE_FPS", "7")
    assert page() == before
    assert str(PAGE.parents[1]) not in before


def test_the_example_is_a_good_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in EdgeSettings.model_fields:
        monkeypatch.delenv(f"GLIMPSE_EDGE_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```yaml\n(.*?)```", HEAD, re.DOTALL)
    (tmp_path / "cameras.yaml").write_text(example)
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----")
    for camera in ("gate", "yard"):
        (tmp_path / f"{camera}.token").write_text("token")
    good, faults = read_configuration(Path("cameras.yaml")).check()
    assert faults == []
    assert [settings.camera for settings in good] == ["gate", "yard"]
    assert [len(settings.masks) for settings in good] == [1, 0]
