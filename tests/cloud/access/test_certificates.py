"""Development certificates: a strict TLS client accepts them, for the hosts they name."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import pytest

from cloud.access.certificates import CertificateFiles, make_certificates
from common.errors import BadSettings

NOW = datetime.datetime.now(datetime.UTC)


def shake_hands(server: CertificateFiles, trusted: Path, host: str) -> None:
    """A whole TLS handshake in memory, by RFC 5280 to the letter. Raises ssl.SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    at_server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    at_server.load_cert_chain(server.certificate, server.key)
    at_client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    at_client.verify_flags |= ssl.VERIFY_X509_STRICT
    at_client.load_verify_locations(trusted)
    ends = [
        at_client.wrap_bio(to_client, to_server, server_hostname=host),
        at_server.wrap_bio(to_server, to_client, server_side=True),
    ]
    while ends:
        for end in tuple(ends):
            try:
                end.do_handshake()
                ends.remove(end)
            except ssl.SSLWantReadError:
                pass


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    return make_certificates(tmp_path / "tls", ["cam.example", "127.0.0.1", "::1"], NOW)


@pytest.mark.parametrize("host", ["cam.example", "127.0.0.1", "::1"])
def test_a_strict_client_accepts_it(files: CertificateFiles, host: str) -> None:
    shake_hands(files, files.authority, host)


@pytest.mark.parametrize("host", ["other.example", "127.0.0.2"])
def test_not_for_another_host(files: CertificateFiles, host: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(files, files.authority, host)


def test_not_under_another_authority(files: CertificateFiles, tmp_path: Path) -> None:
    other = make_certificates(tmp_path / "other", ["cam.example"], NOW)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(files, other.authority, "cam.example")


def test_a_server_certificate_signs_no_other(files: CertificateFiles) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(files, files.certificate, "cam.example")


def test_it_ends_one_day(tmp_path: Path) -> None:
    old = make_certificates(tmp_path, ["cam.example"], NOW - datetime.timedelta(days=400))
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        shake_hands(old, old.authority, "cam.example")


def test_the_key_is_the_owners(files: CertificateFiles) -> None:
    assert files.exist()
    assert files.key.stat().st_mode & 0o777 == 0o600


def test_a_long_name(tmp_path: Path) -> None:
    host = ".".join(["a" * 60] * 3)
    files = make_certificates(tmp_path, [host], NOW)
    shake_hands(files, files.authority, host)


@pytest.mark.parametrize("host", ["höst", "", "a b", "https://x", "x:443"])
def test_what_is_no_host(tmp_path: Path, host: str) -> None:
    with pytest.raises(BadSettings):
        make_certificates(tmp_path / "tls", [host], NOW)
    assert not (tmp_path / "tls").exists()
