from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from common.errors import BadSettings
from edge.rate import Limits
from edge.settings import EdgeSettings, read_settings


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in EdgeSettings.model_fields:
        monkeypatch.delenv(f"GLIMPSE_EDGE_{name.upper()}", raising=False)
    monkeypatch.delenv("GLIMPSE_DEMO_CLIP", raising=False)


def test_flags_overrule_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIMPSE_EDGE_FPS", "7")
    monkeypatch.setenv("GLIMPSE_EDGE_QUALITY", "0.9")
    settings = read_settings(fps=3.0, quality=None)
    assert (settings.fps, settings.quality, settings.side) == (3.0, 0.9, 640)


def test_the_demo_clip_has_a_name_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIMPSE_DEMO_CLIP", "street.mp4")
    assert read_settings().demo_clip == "street.mp4"


def test_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert read_settings().cache == tmp_path / "glimpse"


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"quality": 1.01}, "quality"),
        ({"fps": 0}, "fps"),
        ({"fps": "many"}, "fps"),
        ({"side": 100}, "side"),
        ({"side": 8192}, "side"),
        ({"camera": "Gate!"}, "camera"),
        ({"camera": ""}, "camera"),
        ({"server": "localhost"}, "HOST:PORT"),
        ({"server": "localhost:99999"}, "HOST:PORT"),
        ({"insecure": True, "ca": Path("ca.pem")}, "exclude each other"),
        ({"token": "x", "token_file": Path("y")}, "exclude each other"),
        ({"seconds": 0}, "seconds"),
        ({"budget": "10 kbps"}, "budget.*is not like"),
        ({"latency_target_s": 0}, "latency_target_s"),
        ({"coalesce_s": 11}, "coalesce_s"),
        ({"quality_floor": 2}, "quality_floor"),
        ({"coalesce_s": 2, "latency_target_s": 1}, "coalesce_s must be less"),
        ({"coalesce_s": 1, "gather_s": 2, "latency_target_s": 3}, "gather_s included"),
        ({"gather_s": 11}, "gather_s"),
        ({"auxiliary": "later"}, "auxiliary needs spool"),
        ({"auxiliary": "sometimes", "spool": "x"}, "auxiliary"),
        ({"telemetry_s": -1}, "telemetry_s"),
        ({"masks": [[[0, 0], [1, 1]]]}, "mask 1: 2 corners"),
        ({"frame_deadline_s": 0}, "frame_deadline_s"),
        ({"reopen_s": -1}, "reopen_s"),
        ({"fsp": 3}, "fsp: no such setting; is fps meant"),
    ],
)
def test_bad_settings_are_named(flags: dict[str, object], reason: str) -> None:
    with pytest.raises(BadSettings, match=reason):
        read_settings(**flags)


def test_limits() -> None:
    assert read_settings().limits() == Limits()
    settings = read_settings(
        budget="10 kbit/s", latency_target_s=2, coalesce_s=1, quality=1, quality_floor=0.2, fps=3
    )
    assert settings.limits() == Limits(1250.0, 2.0, 1.0, 255, 51, 3.0)


def test_it_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        read_settings().fps = 3.0


def test_secrets_are_masked_where_settings_are_shown() -> None:
    settings = read_settings(token="do-not-tell")
    assert settings.read_token() == "do-not-tell"
    assert "do-not-tell" not in "".join(settings.lines()) + repr(settings)
    assert len(settings.lines()) == len(EdgeSettings.model_fields)
    lines = "".join(
        read_settings(source="rtsp://me:do-not-tell@camera/live?key=do-not-tell").lines()
    )
    assert "source = rtsp://***@camera/live?***" in lines
    assert "do-not-tell" not in lines


def test_the_token_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    settings = read_settings(token_file=file)
    with pytest.raises(BadSettings, match="No such file"):
        settings.read_token()
    file.write_text("abc-123\n")
    assert settings.read_token() == "abc-123"
    for bad in ("", "two\nlines", "caf\u00e9"):
        file.write_text(bad)
        with pytest.raises(BadSettings, match="no token"):
            settings.read_token()


def test_the_authority_file(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("nothing of the kind")
    with pytest.raises(BadSettings, match="no PEM certificate"):
        read_settings(ca=file).read_authority()


def test_every_field_is_described() -> None:
    assert all(field.description for field in EdgeSettings.model_fields.values())
