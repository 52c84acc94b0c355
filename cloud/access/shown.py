"""The certificate that a caller has shown, and which camera it names."""

from __future__ import annotations

import datetime
import functools
from dataclasses import dataclass
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from common.errors import RemoteProtocolError, Unauthenticated
from common.types import check_camera


@dataclass(frozen=True, slots=True)
class ShownCertificate:
    """names: its common name and its alternative names; fingerprint: SHA-256, hexadecimal."""

    names: tuple[str, ...]
    fingerprint: str
    not_after: datetime.datetime

    @property
    def camera(self) -> str:
        """The one camera among its names; host names and addresses beside it are let pass.

        Raises Unauthenticated if there is none, or more than one.
        """
        cameras = {name for name in self.names if _is_camera(name)}
        if len(cameras) != 1:
            shown = ", ".join(self.names) or "nothing"
            raise Unauthenticated(f"a certificate is to name one camera, this one names {shown}")
        return cameras.pop()


def shown_certificate(context: grpc.aio.ServicerContext[Any, Any]) -> ShownCertificate | None:
    """None: the caller has shown none. One that is here was signed by an authority trusted.

    Raises Unauthenticated for one that cannot be read.
    """
    pem = next(iter(context.auth_context().get("x509_pem_cert", ())), None)
    return None if pem is None else read_certificate(pem)


@functools.lru_cache(maxsize=1024)
def read_certificate(pem: bytes) -> ShownCertificate:
    """Raises Unauthenticated for what is no certificate in PEM."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        names = _common_names(certificate) + _alternative_names(certificate)
    except ValueError as error:  # TLS libraries put up with more than this one
        raise Unauthenticated(f"this certificate cannot be read: {error}") from error
    return ShownCertificate(
        tuple(dict.fromkeys(names)),
        certificate.fingerprint(hashes.SHA256()).hex(),
        certificate.not_valid_after_utc,
    )


def _common_names(certificate: x509.Certificate) -> list[str]:
    found = certificate.subject.get_attributes_for_oid(x509.oid.NameOID.COMMON_NAME)
    return [str(attribute.value) for attribute in found]


def _alternative_names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return names.value.get_values_for_type(x509.DNSName)


def _is_camera(name: str) -> bool:
    try:
        check_camera(name)
    except RemoteProtocolError:
        return False
    return True
