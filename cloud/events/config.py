"""What goes out: rules, webhooks and MQTT, read from one YAML file.

    rules:
      - {name: people, labels: [person], min_score: 0.6, cooldown_s: 60}
    webhooks:
      - {name: office, url: "https://office.example.org/hook", secret_file: office.secret}
    mqtt: {host: broker.example.org, username: glimpse, password_file: mqtt.password}

Paths are relative to the folder that the process runs in. Every key is in docs/configuration.md.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cloud.access.addresses import is_loopback
from cloud.events.presence import Thresholds
from cloud.events.rules import Scope
from common.errors import BadSettings

_Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ScopeConfig(_Section):
    """What is looked at, and when it counts as there."""

    cameras: tuple[_Name, ...] = Field((), description="Only these cameras; none: all.")
    labels: tuple[str, ...] = Field(
        (), description="Only these, such as person; none: all that the detector knows."
    )
    min_score: float = Field(0.5, ge=0, le=1, description="Score that it takes to appear.")
    keep_score: float | None = Field(
        None, ge=0, le=1, description="Score that it takes to stay; none: 0.8 of min_score."
    )
    appear_frames: int = Field(
        2, ge=1, le=1000, description="Frames in a row in which it must be seen to appear."
    )
    gone_after_s: float = Field(
        10.0, ge=0, le=86_400, description="Seconds without being seen until it is gone."
    )

    @model_validator(mode="after")
    def _falls(self) -> Self:
        if self.keep_score is not None and self.keep_score > self.min_score:
            raise ValueError("keep_score must not be above min_score")
        return self

    def scope(self) -> Scope:
        keep = 0.8 * self.min_score if self.keep_score is None else self.keep_score
        thresholds = Thresholds(self.min_score, keep, self.appear_frames, self.gone_after_s)
        return Scope(frozenset(self.cameras), frozenset(self.labels), thresholds)


class RuleConfig(ScopeConfig):
    """What becomes an event."""

    name: _Name = Field(description="Stands in each event.")
    cooldown_s: float = Field(
        60.0,
        ge=0,
        le=31 * 86_400,
        description="Seconds after one appeared in which no other of that camera and label does.",
    )


class WebhookConfig(_Section):
    """Who gets events over HTTP."""

    name: _Name = Field(description="Names it in logs and metrics.")
    url: str = Field(description="https://..., or http:// on this machine.")
    secret_file: Path = Field(description="File with at least 16 bytes, which sign each message.")
    rules: tuple[_Name, ...] = Field((), description="Only events of these rules; none: of all.")
    insecure: bool = Field(False, description="http:// to any address.")
    timeout_s: float = Field(10.0, gt=0, le=300, description="Patience with one try.")
    retry_first_s: float = Field(
        1.0, gt=0, le=3600, description="Bound of the first pause after a failure; doubles."
    )
    retry_most_s: float = Field(300.0, gt=0, le=86_400, description="Bound of all pauses.")
    give_up_s: float = Field(
        86_400.0, gt=0, le=31 * 86_400, description="A message that fails for so long is dropped."
    )
    queue: int = Field(
        10_000, ge=1, le=1_000_000, description="Messages that wait on disk; then the oldest go."
    )

    @model_validator(mode="after")
    def _encrypted(self) -> Self:
        url = urllib.parse.urlsplit(self.url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("url: not https://HOST/...")
        if url.scheme == "http" and not self.insecure and not is_loopback(url.hostname):
            raise ValueError("url: plaintext to another machine needs insecure: true")
        return self


class MqttConfig(ScopeConfig):
    """A broker, with discovery for Home Assistant."""

    host: str = Field(min_length=1, description="Name or address of the broker.")
    port: int | None = Field(None, ge=1, le=65_535, description="None: 8883, or 1883 without TLS.")
    tls: bool = Field(True, description="False: plaintext, on this machine only.")
    insecure: bool = Field(False, description="Plaintext to any address.")
    ca: Path | None = Field(None, description="PEM file to trust; none: what the system trusts.")
    certificate: Path | None = Field(None, description="PEM file to show to the broker.")
    key: Path | None = Field(None, description="PEM file of its key.")
    username: str | None = Field(None, description="For the broker; none: none.")
    password_file: Path | None = Field(None, description="File that holds the password.")
    prefix: str = Field(
        "glimpse",
        pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$",
        description="Begins every topic; another one for each server.",
    )
    discovery: str = Field(
        "homeassistant",
        pattern=r"^([A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*)?$",
        description="Home Assistant's discovery prefix; empty: no discovery.",
    )
    keepalive_s: int = Field(30, ge=5, le=3600, description="The broker notices our end by this.")

    @model_validator(mode="after")
    def _encrypted(self) -> Self:
        if not self.tls and not self.insecure and not is_loopback(self.host):
            raise ValueError("tls: plaintext to another machine needs insecure: true")
        if not self.tls and (self.ca or self.certificate):
            raise ValueError("tls: false excludes ca and certificate")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")
        if self.password_file is not None and self.username is None:
            raise ValueError("password_file goes with username")
        return self


class EventsConfig(_Section):
    """The whole file."""

    rules: tuple[RuleConfig, ...] = ()
    webhooks: tuple[WebhookConfig, ...] = ()
    mqtt: MqttConfig | None = None

    @model_validator(mode="after")
    def _names(self) -> Self:
        for kind, names in (
            ("rules", [rule.name for rule in self.rules]),
            ("webhooks", [hook.name for hook in self.webhooks]),
        ):
            if len(set(names)) != len(names):
                raise ValueError(f"{kind}: two have the same name")
        known = {rule.name for rule in self.rules}
        for hook in self.webhooks:
            if not known:
                raise ValueError(f"webhooks: {hook.name}: without rules there are no events")
            if strangers := sorted(set(hook.rules) - known):
                raise ValueError(f"webhooks: {hook.name}: no rule has the name {strangers[0]}")
        return self

    def lines(self) -> list[str]:
        """What goes where, for people."""
        lines = [
            f"rule {rule.name}: {_some(rule.labels, 'everything')}"
            f" at {_some(rule.cameras, 'every camera')}, score {rule.min_score:g} or more,"
            f" at most every {rule.cooldown_s:g} s"
            for rule in self.rules
        ]
        lines += [
            f"webhook {hook.name}: {hook.url}, events of {_some(hook.rules, 'all rules')}"
            for hook in self.webhooks
        ]
        if self.mqtt is not None:
            port = self.mqtt.port or (8883 if self.mqtt.tls else 1883)
            discovery = f", discovery in {self.mqtt.discovery}" if self.mqtt.discovery else ""
            lines.append(f"mqtt: {self.mqtt.host}:{port}, {self.mqtt.prefix}/...{discovery}")
        return lines or ["no events go out"]


def _some(names: tuple[str, ...], otherwise: str) -> str:
    return ", ".join(names) or otherwise


def read_events(path: Path) -> EventsConfig:
    """Raises BadSettings naming the file and each key that is wrong."""
    try:
        content = yaml.load(path.read_bytes(), _Loader)  # a SafeLoader
    except OSError as error:
        raise BadSettings(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # 2026-99-99 is a ValueError
        raise BadSettings(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if content is None:
        content = {}
    try:
        return EventsConfig.model_validate(content)
    except ValidationError as error:
        raise BadSettings("; ".join(f"{path}: {fault}" for fault in _faults(error))) from None


def _faults(error: ValidationError) -> list[str]:
    details = error.errors(include_url=False, include_input=False)
    places = (".".join(map(str, detail["loc"])) for detail in details)
    texts = (detail["msg"].removeprefix("Value error, ") for detail in details)
    return [": ".join(filter(None, pair)) for pair in zip(places, texts, strict=True)]


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice; YAML forbids it, PyYAML lets the last one win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"line {node.start_mark.line + 1}: {min(twice)} stands twice")
        return super().construct_mapping(node, deep)
