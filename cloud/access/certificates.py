"""Certificates of one's own: an authority and a server certificate that it signs, and cameras'.

The two authorities are apart. The one that cameras and viewers trust signs one server certificate
and is forgotten: nobody can make another server in its name. The one that the server trusts stays,
because cameras are added one by one; its key is worth as much as the tokens file beside it.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from common.errors import BadSettings, RemoteProtocolError
from common.types import check_camera

_VALID = datetime.timedelta(days=397)  # the longest that TLS libraries accept without complaint
_AUTHORITY_VALID = datetime.timedelta(days=3653)  # of cameras: each would need a new one after it
_HOST_NAME = re.compile(r"(\*\.)?[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")
_PEM = serialization.Encoding.PEM
_LONGEST_NAME = 64  # characters of a common name (RFC 5280, ub-common-name)


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """PEM files: what a client trusts, what the server shows, and the server's secret key."""

    authority: Path
    certificate: Path
    key: Path

    @classmethod
    def in_folder(cls, folder: Path) -> CertificateFiles:
        return cls(folder / "ca.pem", folder / "server.pem", folder / "server.key")

    def exist(self) -> bool:
        return self.certificate.exists() and self.key.exists()


def make_certificates(
    folder: Path, hosts: Sequence[str], now: datetime.datetime
) -> CertificateFiles:
    """Writes ca.pem, server.pem and server.key (mode 0600) for these host names and addresses.

    The authority's key is not kept: to change hosts, make all three anew.
    Raises BadSettings for a host that is neither a name nor an address.
    """
    names = [_host(host) for host in hosts]
    folder.mkdir(parents=True, exist_ok=True)
    files = CertificateFiles.in_folder(folder)
    authority = _Authority.make("glimpse development authority", now, _VALID)
    certificate, key = authority.sign(hosts[0], names, ExtendedKeyUsageOID.SERVER_AUTH, now)
    files.authority.write_bytes(authority.certificate.public_bytes(_PEM))
    _write_pair(files.certificate, files.key, certificate, key)
    return files


def make_camera_certificate(folder: Path, camera: str, now: datetime.datetime) -> CertificateFiles:
    """Writes cameras/NAME.pem and cameras/NAME.key (mode 0600): with these it is that camera.

    They are signed by cameras-ca.pem, which is made if it is missing; its key stays beside it.
    Raises BadSettings for a name that no camera can have, or an authority that cannot be read.
    """
    try:
        check_camera(camera)
    except RemoteProtocolError as error:
        raise BadSettings(str(error)) from error
    own = folder / "cameras"
    own.mkdir(parents=True, exist_ok=True)
    authority = cameras_authority(folder)
    files = CertificateFiles(authority, own / f"{camera}.pem", own / f"{camera}.key")
    key_file = authority.with_suffix(".key")
    if not authority.exists() and not key_file.exists():
        made = _Authority.make("glimpse cameras", now, _AUTHORITY_VALID)
        _write_pair(authority, key_file, made.certificate, made.key)
    signer = _Authority.read(authority, key_file)
    purpose = ExtendedKeyUsageOID.CLIENT_AUTH
    certificate, key = signer.sign(camera, [x509.DNSName(camera)], purpose, now)
    _write_pair(files.certificate, files.key, certificate, key)
    return files


def cameras_authority(folder: Path) -> Path:
    """Who signs the certificates of cameras, unless it is somebody else."""
    return folder / "cameras-ca.pem"


@dataclass(frozen=True, slots=True)
class _Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls, name: str, now: datetime.datetime, valid: datetime.timedelta) -> _Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(name)
        own_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        certificate = (
            _builder(subject, subject, key.public_key(), now, valid)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(own_id, critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def read(cls, certificate: Path, key: Path) -> _Authority:
        """Raises BadSettings."""
        try:
            found = x509.load_pem_x509_certificate(certificate.read_bytes())
            secret = serialization.load_pem_private_key(key.read_bytes(), None)
        except OSError as error:
            raise BadSettings(f"{error.filename}: {error.strerror}") from error
        except (ValueError, TypeError) as error:
            raise BadSettings(f"{certificate}, {key.name}: {error}") from error
        if not isinstance(secret, ec.EllipticCurvePrivateKey):
            raise BadSettings(f"{key}: not a key that this command made")
        return cls(found, secret)

    def sign(
        self,
        subject: str,
        names: Sequence[x509.GeneralName],
        purpose: x509.ObjectIdentifier,
        now: datetime.datetime,
    ) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        """A certificate for one purpose, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        own_id = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        issued_by = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own_id)
        certificate = (
            _builder(_name(subject), self.certificate.subject, key.public_key(), now, _VALID)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(issued_by, critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        return certificate, key


def _write_pair(
    certificate_file: Path,
    key_file: Path,
    certificate: x509.Certificate,
    key: ec.EllipticCurvePrivateKey,
) -> None:
    certificate_file.write_bytes(certificate.public_bytes(_PEM))
    key_file.touch(mode=0o600)
    key_file.write_bytes(
        key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:_LONGEST_NAME])])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime.datetime,
    valid: datetime.timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))  # an edge's clock may be behind
        .not_valid_after(now + valid)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, key_cert_sign=signs_certificates, crl_sign=signs_certificates,
        content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _host(host: str) -> x509.GeneralName:
    with contextlib.suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(host))
    if not _HOST_NAME.fullmatch(host):
        raise BadSettings(f"{host!r} is neither a host name nor an address")
    return x509.DNSName(host)
