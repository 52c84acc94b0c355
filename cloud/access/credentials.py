"""What the server shows of itself, and whom it trusts, read again whenever the files change.

gRPC asks at each handshake, on a thread of its own. Files that are being replaced (the key is there
already, the certificate is not) or are broken change nothing: what was good stays until its
successor is. Connections that stand keep what they were made with.
"""

from __future__ import annotations

import contextlib
import datetime
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from cloud.access.certificates import CertificateFiles
from common.errors import BadSettings

log = structlog.get_logger()

Saw = Callable[[str, datetime.datetime], None]


@dataclass(frozen=True, slots=True)
class _Pem:
    """What the files hold; expiries by what expires."""

    key: bytes
    certificate: bytes
    clients: bytes | None
    expiries: dict[str, datetime.datetime]


class ServerCredentials:
    """For one port.

    files    certificate (with what leads to its authority, if anything) and key
    clients  PEM of authorities: every client must show a certificate that one of them signed;
             None: no client is asked for one
    saw      is told what expires when, at once and after each change

    Raises BadSettings for files that do not make a server.
    """

    def __init__(
        self, files: CertificateFiles, clients: Path | None = None, *, saw: Saw = lambda *_: None
    ) -> None:
        self._files, self._clients, self._saw = files, clients, saw
        self._lock = threading.Lock()
        self._stamp = self._look()
        self._refused = self._stamp
        self._good = self._read()
        self._tell()

    def grpc(self) -> grpc.ServerCredentials:
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self._good), self._changed, self._clients is not None
        )

    def _changed(self) -> Any:
        """What holds from now on; None: what held before."""
        with self._lock:
            stamp = self._look()
            if stamp == self._stamp:
                return None
            try:
                good = self._read()
            except BadSettings as error:
                if stamp != self._refused:
                    log.warning("certificates are not taken", reason=str(error))
                self._refused = stamp
                return None
            self._stamp = stamp  # of before the reading: a later change is seen the next time
            if good == self._good:
                return None
            self._good = good
            log.info("certificates are read again", certificate=str(self._files.certificate))
            self._tell()
            return _configuration(good)

    def _look(self) -> tuple[tuple[int, int, int], ...]:
        """What changes when a file does; of one that is missing, nothing."""
        stamp = []
        for path in filter(None, (self._files.key, self._files.certificate, self._clients)):
            with contextlib.suppress(OSError):
                stat = path.stat()
                stamp.append((stat.st_ino, stat.st_mtime_ns, stat.st_size))
        return tuple(stamp)

    def _read(self) -> _Pem:
        """Raises BadSettings."""
        files = self._files
        try:
            key, certificate = files.key.read_bytes(), files.certificate.read_bytes()
            clients = None if self._clients is None else self._clients.read_bytes()
        except OSError as error:
            raise BadSettings(f"{error.filename}: {error.strerror}") from error
        shown = _certificates(certificate, files.certificate)
        try:
            public = serialization.load_pem_private_key(key, None).public_key()
        except (ValueError, TypeError) as error:
            raise BadSettings(f"{files.key}: not a key in PEM without a password") from error
        if public != shown[0].public_key():
            raise BadSettings(f"{files.key} is not the key of {files.certificate}")
        expiries = {"server": min(c.not_valid_after_utc for c in shown)}
        if clients is not None and self._clients is not None:
            trusted = _certificates(clients, self._clients)
            expiries["cameras_authority"] = min(c.not_valid_after_utc for c in trusted)
        return _Pem(key, certificate, clients, expiries)

    def _tell(self) -> None:
        for name, at in self._good.expiries.items():
            self._saw(name, at)


def _configuration(pem: _Pem) -> Any:
    """An object of gRPC's own, for which its type information has no name."""
    return grpc.ssl_server_certificate_configuration(
        [(pem.key, pem.certificate)], root_certificates=pem.clients
    )


def _certificates(pem: bytes, path: Path) -> list[x509.Certificate]:
    """One or more. Raises BadSettings."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise BadSettings(f"{path}: not a certificate in PEM") from error
