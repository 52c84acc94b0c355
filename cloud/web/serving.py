"""The page on a port of its own: uvicorn within this process's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import structlog
import uvicorn
from starlette.types import ASGIApp

from cloud.access.certificates import CertificateFiles
from common.errors import BadSettings

log = structlog.get_logger()

RENEW_S = 10.0

_DRAIN_S = 2
_DEAD_MS = 30_000  # bytes to a page that nobody acknowledges for so long


class _Server(uvicorn.Server):
    """One that leaves signals to the process, which has other things to end as well."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class WebServer:
    """Serves `app` at HOST:PORT. Bound at once; leave its `with` block to let go of the port.

    certificates  None: plaintext; else read again when they change. Raises BadSettings.
    """

    def __init__(self, app: ASGIApp, listen: str, certificates: CertificateFiles | None) -> None:
        config = uvicorn.Config(
            app, loop="none", http="h11", ws="none", lifespan="off", log_config=None,
            access_log=False, server_header=False, timeout_graceful_shutdown=_DRAIN_S,
            ssl_certfile=certificates.certificate if certificates else None,
            ssl_keyfile=certificates.key if certificates else None,
        )  # fmt: skip
        try:
            config.load()
        except OSError as error:  # ssl.SSLError is one
            raise BadSettings(f"the page's certificate cannot be used: {error}") from error
        self._certificates, self._context = certificates, config.ssl
        self._listener = _listen(listen)
        self._server = _Server(config)

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    async def run(self) -> None:
        """Until it is cancelled; then answers that have begun are finished, within two seconds."""
        serving = asyncio.create_task(self._server.serve(sockets=[self._listener]))
        renewing = asyncio.create_task(self._renew())
        try:
            await asyncio.shield(serving)
        finally:
            renewing.cancel()
            self._server.should_exit = True
            await serving

    async def _renew(self) -> None:
        """Takes a renewed certificate for the connections that come then."""
        if self._certificates is None or self._context is None:
            return
        pair = self._certificates.certificate, self._certificates.key
        stamp = _stamp(pair)
        while True:
            await asyncio.sleep(RENEW_S)
            if (new := _stamp(pair)) == stamp:
                continue
            try:  # first in a context that nobody uses: a half-replaced pair must change nothing
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*pair)
                self._context.load_cert_chain(*pair)
            except OSError as error:
                log.warning("the page's certificate is not taken", reason=str(error))
                continue
            stamp = new
            log.info("the page's certificate is read again", certificate=str(pair[0]))

    def __enter__(self) -> WebServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()


def _stamp(paths: tuple[Path, ...]) -> tuple[tuple[int, int, int], ...]:
    stats = [path.stat() for path in paths if path.exists()]
    return tuple((stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in stats)


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    if not host:
        raise BadSettings(f"web_listen: {address!r} is not HOST:PORT")
    in_brackets = host.startswith("[") and host.endswith("]")
    listener = socket.socket(socket.AF_INET6 if in_brackets else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_MS)
        listener.bind((host[1:-1] if in_brackets else host, int(port)))
        listener.listen()
    except (OSError, ValueError, OverflowError) as error:
        listener.close()
        raise BadSettings(f"cannot serve the page on {address}: {error}") from error
    return listener
