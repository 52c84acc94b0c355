"""The events file: what it says, and every way in which it can be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud.events.config import EventsConfig, read_events
from cloud.events.presence import Thresholds
from common.errors import BadSettings

GOOD = """
rules:
  - {name: people, labels: [person], min_score: 0.5, cooldown_s: 30}
  - {name: all, cameras: [gate, yard], min_score: 0.9, keep_score: 0.2, appear_frames: 1}
webhooks:
  - {name: office, url: "https://office.example.org/hook", secret_file: s, rules: [people]}
  - {name: here, url: "http://127.0.0.1:9/hook", secret_file: s}
mqtt: {host: broker.example.org, username: glimpse, labels: [car]}
"""


def read(folder: Path, text: str) -> EventsConfig:
    path = folder / "events.yaml"
    path.write_text(text)
    return read_events(path)


def test_a_good_one(tmp_path: Path) -> None:
    config = read(tmp_path, GOOD)
    people, everything = (rule.scope() for rule in config.rules)
    assert people.labels == {"person"}
    assert people.thresholds == Thresholds(0.5, 0.4, 2, 10.0)
    assert everything.cameras == {"gate", "yard"}
    assert everything.thresholds == Thresholds(0.9, 0.2, 1, 10.0)
    assert config.mqtt is not None
    assert config.mqtt.scope().labels == {"car"}
    assert config.lines() == [
        "rule people: person at every camera, score 0.5 or more, at most every 30 s",
        "rule all: everything at gate, yard, score 0.9 or more, at most every 60 s",
        "webhook office: https://office.example.org/hook, events of people",
        "webhook here: http://127.0.0.1:9/hook, events of all rules",
        "mqtt: broker.example.org:8883, glimpse/..., discovery in homeassistant",
    ]


@pytest.mark.parametrize("text", ["", "# nothing yet", "{}"])
def test_an_empty_one(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text).lines() == ["no events go out"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("rules: [{}]", "rules.0.name: Field required"),
        ("rules: [{name: People}]", "rules.0.name"),
        ("rules: [{name: a}, {name: a}]", "rules: two have the same name"),
        ("rules: [{name: a, min_score: 2}]", "rules.0.min_score"),
        ("rules: [{name: a, min_score: 0.3, keep_score: 0.4}]", "keep_score must not be above"),
        ("rules: [{name: a, classes: [car]}]", "rules.0.classes: Extra inputs"),
        ("rules: [{name: a, name: b}]", "line 1: name stands twice"),
        ("rules: {name: a}", "rules"),
        ("rules: [", "not YAML"),
        ("- rules", "events.yaml: Input should be"),
        ("hooks: []", "hooks: Extra inputs"),
        ("at: 2026-99-99", "not YAML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(BadSettings, match=r"events\.yaml") as error:
        read(tmp_path, text)
    assert fault in str(error.value)


@pytest.mark.parametrize(
    ("hook", "fault"),
    [
        ("url: 'http://10.0.0.7/hook'", "plaintext to another machine needs insecure"),
        ("url: 'ftp://office/hook'", "not https://HOST"),
        ("url: 'https:///hook'", "not https://HOST"),
        ("url: 'https://office/hook', rules: [b]", "no rule has the name b"),
        ("url: 'https://office/hook', timeout_s: 0", "webhooks.0.timeout_s"),
    ],
)
def test_a_webhook_that_is_none(tmp_path: Path, hook: str, fault: str) -> None:
    text = f"rules: [{{name: a}}]\nwebhooks: [{{name: h, secret_file: s, {hook}}}]"
    with pytest.raises(BadSettings) as error:
        read(tmp_path, text)
    assert fault in str(error.value)


@pytest.mark.parametrize(
    ("mqtt", "fault"),
    [
        ("host: ''", "mqtt.host"),
        ("host: 10.0.0.7, tls: false", "plaintext to another machine needs insecure"),
        ("host: localhost, tls: false, ca: x", "excludes ca"),
        ("host: b, certificate: x", "certificate and key go together"),
        ("host: b, password_file: x", "goes with username"),
        ("host: b, prefix: 'a/#'", "mqtt.prefix"),
        ("host: b, port: 0", "mqtt.port"),
    ],
)
def test_mqtt_that_is_none(tmp_path: Path, mqtt: str, fault: str) -> None:
    with pytest.raises(BadSettings) as error:
        read(tmp_path, f"mqtt: {{{mqtt}}}")
    assert fault in str(error.value)


def test_plaintext_where_it_may_be(tmp_path: Path) -> None:
    for host in ("localhost", "127.0.0.1", "'::1'"):
        assert read(tmp_path, f"mqtt: {{host: {host}, tls: false}}").mqtt
    assert read(tmp_path, "mqtt: {host: 10.0.0.7, tls: false, insecure: true}").mqtt


def test_a_webhook_without_rules_would_never_say_a_word(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="without rules"):
        read(tmp_path, "webhooks: [{name: h, url: 'https://office/h', secret_file: s}]")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="No such file"):
        read_events(tmp_path / "events.yaml")
