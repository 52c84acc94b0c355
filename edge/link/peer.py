"""What TLS tells of the server and of this camera's own certificate, by the standard library alone.

gRPC tells why a handshake failed in prose only, and never what it saw when it did not.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge.settings import EdgeSettings

_NOT_YET, _EXPIRED, _OTHER_HOST, _OTHER_ADDRESS = 9, 10, 62, 64  # X509_V_ERR_*


async def server_expiry(settings: EdgeSettings, timeout_s: float) -> float:
    """Unix time at which the server's certificate expires, after a handshake as the camera does it.

    Raises ssl.SSLError, OSError, TimeoutError; BadSettings for files.
    """
    host, _, port = settings.server.rpartition(":")
    context = ssl.create_default_context()
    authority = settings.read_authority()
    if authority is not None:
        context = ssl.create_default_context(cadata=authority.decode(errors="replace"))
    context.set_alpn_protocols(["h2"])
    if settings.certificate is not None:
        context.load_cert_chain(settings.certificate, settings.key)
    async with asyncio.timeout(timeout_s):
        name = host.strip("[]")
        _, writer = await asyncio.open_connection(name, int(port), ssl=context)
        shown = writer.get_extra_info("peercert")
        writer.transport.abort()
    return _end(shown)


def own_expiry(certificate: Path, key: Path) -> float:
    """Unix time at which this certificate expires. Raises ssl.SSLError, also if it has expired.

    The standard library reads only certificates that a peer has shown, so it is shown, in memory.
    """
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.verify_mode = ssl.CERT_REQUIRED
    server.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # it is its own authority here
    server.load_verify_locations(certificate)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    for context in (server, client):
        context.load_cert_chain(certificate, key)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client.wrap_bio(down, up)
    there = server.wrap_bio(up, down, server_side=True)
    for side in (here, there, here, there):
        _step(side.do_handshake)
    return _end(there.getpeercert())


def explained(error: ssl.SSLError) -> tuple[str, str]:
    """What is wrong with a handshake, and what to do."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        if error.reason == "WRONG_VERSION_NUMBER":
            return "the server does not speak TLS", "is it the right port? --insecure if it must be"
        return f"the handshake failed: {error.reason or error}", "look at the server's log"
    match error.verify_code:
        case code if code == _EXPIRED:
            return (
                "the certificate has expired, or this clock is ahead",
                "on the server: glimpse-cloud certificates HOST; here: set the clock",
            )
        case code if code == _NOT_YET:
            return "the certificate is not valid yet: this clock is behind", "set the clock"
        case code if code in (_OTHER_HOST, _OTHER_ADDRESS):
            return (
                "the certificate is for another host",
                "on the server: glimpse-cloud certificates with the name in --server",
            )
        case _:
            return (
                f"not signed by the authority that is trusted here ({error.verify_message})",
                "copy the server's tls/ca.pem here and name it with --ca",
            )


def _step(handshake: Callable[[], None]) -> None:
    try:
        handshake()
    except ssl.SSLWantReadError:
        return


def _end(shown: Any) -> float:
    return ssl.cert_time_to_seconds(shown["notAfter"])
