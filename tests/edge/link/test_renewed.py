"""The way to the server is read anew for each connection, and half of a change is not taken."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from cloud.access.certificates import CertificateFiles, make_camera_certificate, make_certificates
from common.errors import BadSettings
from edge.link.renewed import Links
from edge.settings import EdgeSettings

NOW = datetime.datetime.now(datetime.UTC)


@pytest.fixture
def own(tmp_path: Path) -> CertificateFiles:
    return make_camera_certificate(tmp_path / "own", "gate", NOW)


def settings(folder: Path, own: CertificateFiles | None, **changes: Any) -> EdgeSettings:
    (folder / "token").write_text("one\n")
    if not (folder / "ca.pem").exists():
        make_certificates(folder, ["127.0.0.1"], NOW)
    names: dict[str, Any] = {"ca": folder / "ca.pem", "token_file": folder / "token"}
    if own:
        names |= {"certificate": own.certificate, "key": own.key}
    return EdgeSettings(**(names | changes))


def test_what_was_renewed_is_in_the_next_link(tmp_path: Path, own: CertificateFiles) -> None:
    links = Links(settings(tmp_path, own).link)
    before = links()
    assert before == links()
    (tmp_path / "token").write_text("two")
    make_certificates(tmp_path, ["127.0.0.1"], NOW)
    make_camera_certificate(tmp_path / "own", "gate", NOW)
    after = links()
    assert (before.token, after.token) == ("one", "two")
    assert after.authority == (tmp_path / "ca.pem").read_bytes() != before.authority
    assert after.own == (own.certificate.read_bytes(), own.key.read_bytes()) != before.own
    assert after.own[0] not in repr(after).encode()


def test_half_of_a_change_is_not_taken_and_told_once(
    tmp_path: Path, own: CertificateFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    links = Links(settings(tmp_path, own).link)
    before = links()
    other = make_camera_certificate(tmp_path / "other", "gate", NOW)
    own.key.write_bytes(other.key.read_bytes())
    assert links() == links() == before
    assert capsys.readouterr().out.count("going on with what was read before") == 1
    own.certificate.write_bytes(other.certificate.read_bytes())
    assert links().own == (other.certificate.read_bytes(), other.key.read_bytes())
    own.certificate.unlink()
    assert links().own is not None
    assert "No such file" in capsys.readouterr().out


def test_what_is_wrong_at_the_start_is_an_error(tmp_path: Path, own: CertificateFiles) -> None:
    own.key.write_bytes(make_camera_certificate(tmp_path / "b", "gate", NOW).key.read_bytes())
    with pytest.raises(BadSettings, match="do not go together: KEY_VALUES_MISMATCH"):
        Links(settings(tmp_path, own).link)
    own.key.write_bytes(b"-----BEGIN PRIVATE KEY-----")
    with pytest.raises(BadSettings, match="do not go together"):
        Links(settings(tmp_path, own).link)
    own.key.write_bytes(b"key")
    with pytest.raises(BadSettings, match="holds no PEM key"):
        Links(settings(tmp_path, own).link)
    own.certificate.write_bytes(own.key.read_bytes())
    with pytest.raises(BadSettings, match="holds no PEM certificate"):
        Links(settings(tmp_path, own).link)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"key": None}, "certificate and key go together"),
        ({"certificate": None}, "certificate and key go together"),
        ({"insecure": True, "ca": None}, "plaintext"),
    ],
)
def test_settings_that_make_no_sense(
    tmp_path: Path, own: CertificateFiles, changes: dict[str, Any], fault: str
) -> None:
    with pytest.raises(ValueError, match=fault):
        settings(tmp_path, own, **changes)
