"""Our own commands as a client of a server: where it is, what proves who we are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from common.errors import BadSettings, GlimpseError, PermissionDenied, Unauthenticated, Unreachable


@dataclass(frozen=True, slots=True)
class Endpoint:
    """server HOST:PORT; authority: PEM file to trust, None: the system's; token: bearer token."""

    server: str
    authority: Path | None
    token: str
    insecure: bool = False

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.token}"),)

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[grpc.aio.Channel]:
        """A channel to the server; errors of its calls come out as ours."""
        with _translated(self.server):
            if self.insecure:
                channel = grpc.aio.insecure_channel(self.server)
            else:
                root = self.authority.read_bytes() if self.authority else None
                channel = grpc.aio.secure_channel(self.server, grpc.ssl_channel_credentials(root))
            async with channel:
                yield channel


@contextmanager
def _translated(server: str) -> Iterator[None]:
    try:
        yield
    except grpc.aio.AioRpcError as error:
        details = error.details() or error.code().name
        match error.code():
            case grpc.StatusCode.UNAUTHENTICATED:
                raise Unauthenticated(details) from error
            case grpc.StatusCode.PERMISSION_DENIED:
                raise PermissionDenied(details) from error
            case grpc.StatusCode.UNAVAILABLE:
                raise Unreachable(f"{server}: {details}") from error
            case _:
                raise GlimpseError(details) from error
    except OSError as error:
        raise BadSettings(f"{error.filename}: {error.strerror}") from error
