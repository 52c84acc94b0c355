"""Certificates that anybody can make, with whatever names."""

from __future__ import annotations

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
VALID = datetime.timedelta(days=9)
PEM = serialization.Encoding.PEM


def self_signed(common_name: str | None, *alternative: str) -> tuple[bytes, bytes]:
    """Certificate and key in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    oid = x509.oid.NameOID.COMMON_NAME
    name = x509.Name([x509.NameAttribute(oid, common_name)] if common_name else [])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + VALID)
    )
    if alternative:
        names = [x509.DNSName(text) for text in alternative]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(PEM)
    form, lock = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return certificate, key.private_bytes(PEM, form, lock)
