"""Settings: flags over environment over defaults, and a clear word on what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from cloud.settings import CloudSettings, read_settings
from common.errors import BadSettings


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CloudSettings.model_fields:
        monkeypatch.delenv(f"GLIMPSE_CLOUD_{name.upper()}", raising=False)


def test_defaults_are_for_this_machine_only() -> None:
    settings = read_settings()
    assert settings.listen.startswith("127.0.0.1:")
    assert settings.metrics_listen.startswith("127.0.0.1:")
    assert not settings.insecure
    assert (settings.weights / "manifest.json").exists()


def test_flags_over_environment_over_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIMPSE_CLOUD_LISTEN", "0.0.0.0:1")
    monkeypatch.setenv("GLIMPSE_CLOUD_CREDITS", "8")
    monkeypatch.setenv("GLIMPSE_CLOUD_INSECURE", "true")
    settings = read_settings(listen="0.0.0.0:2", data=None, insecure=None)
    assert (settings.listen, settings.credits, settings.insecure) == ("0.0.0.0:2", 8, True)
    assert settings.data == Path("data")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("credits", "0"),
        ("threads", "many"),
        ("min_score", "1.5"),
        ("max_layer_bytes", "2000000"),
        ("decode_device", "gpu"),
    ],
)
def test_what_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"GLIMPSE_CLOUD_{name.upper()}", value)
    with pytest.raises(BadSettings, match=name):
        read_settings()


def test_an_unknown_setting_is_an_error() -> None:
    with pytest.raises(BadSettings, match="speed"):
        read_settings(speed=3)


def test_they_do_not_change() -> None:
    with pytest.raises(ValidationError):
        read_settings().credits = 3


def test_every_setting_is_described() -> None:
    assert all(field.description for field in CloudSettings.model_fields.values())


def test_a_message_has_room_for_a_layer() -> None:
    read_settings(max_layer_bytes=100_000, max_message_bytes=1 << 17)
    with pytest.raises(BadSettings, match="max_message_bytes: at least max_layer_bytes"):
        read_settings(max_layer_bytes=1 << 20, max_message_bytes=1 << 20)


def test_plaintext_has_no_certificates() -> None:
    with pytest.raises(BadSettings, match="mtls_listen: excludes insecure"):
        read_settings(insecure=True, mtls_listen="127.0.0.1:0")


def test_frames_expire_before_the_store_is_full() -> None:
    read_settings(keep_bytes=5 << 20, max_store_bytes=6 << 20)
    with pytest.raises(BadSettings, match="keep_bytes: must be less than max_store_bytes"):
        read_settings(keep_bytes=6 << 20, max_store_bytes=6 << 20)
