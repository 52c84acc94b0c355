"""The ports on which gRPC is served, and what guards each.

    listen       TLS; callers bring a token                       (plaintext with `insecure`)
    mtls_listen  TLS; callers must show a certificate, which names a camera; a token goes first

Two ports, because gRPC's Python interface either asks every client of a port for a certificate or
none.
"""

from __future__ import annotations

from dataclasses import dataclass

import grpc
import structlog

from cloud.access.addresses import listens_here_only
from cloud.access.certificates import CertificateFiles, cameras_authority
from cloud.access.credentials import Saw, ServerCredentials
from cloud.settings import CloudSettings
from common.errors import BadSettings

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Ports:
    """mtls: 0 if there is no such port."""

    main: int
    mtls: int


def open_ports(
    server: grpc.aio.Server, settings: CloudSettings, files: CertificateFiles, saw: Saw
) -> Ports:
    """Raises BadSettings for an address, or for files, that do not serve."""
    if settings.insecure:
        if not listens_here_only(settings.listen):
            log.warning("plaintext: others can read tokens and layers", listen=settings.listen)
        return Ports(_bind(server, "listen", settings.listen, None), 0)
    shown = ServerCredentials(files, saw=saw)
    main = _bind(server, "listen", settings.listen, shown)
    if not settings.mtls_listen:
        return Ports(main, 0)
    trusted = settings.cameras_ca or cameras_authority(files.authority.parent)
    mutual = ServerCredentials(files, trusted, saw=saw)
    return Ports(main, _bind(server, "mtls_listen", settings.mtls_listen, mutual))


def _bind(
    server: grpc.aio.Server, setting: str, address: str, credentials: ServerCredentials | None
) -> int:
    if not address.rpartition(":")[0]:
        raise BadSettings(f"{setting}: {address!r} is not HOST:PORT")
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials.grpc())
    except RuntimeError as error:
        raise BadSettings(f"cannot listen on {address}: in use, or not ours") from error
