"""The way to a server: trust, token, channel options, and what its failures mean."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from glimpse.errors import (
    Error,
    InvalidRequest,
    ModelMismatch,
    NotFound,
    PermissionDenied,
    TimedOut,
    Unauthenticated,
    Unavailable,
    Unsupported,
)

OPTIONS = (
    ("grpc.keepalive_time_ms", 30_000),  # a watch of quiet cameras still notices a dead link
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.enable_retries", 0),  # ours know the deadline, and what is of no use
    ("grpc.use_local_subchannel_pool", 1),  # a new client starts with no back-off of another's
)
_BY_CODE: dict[grpc.StatusCode, type[Error]] = {
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.FAILED_PRECONDITION: ModelMismatch,
    grpc.StatusCode.NOT_FOUND: NotFound,
}
_CEREMONY = re.compile(r"^([A-Z]+: )?(ipv[46]:\S+: )?")  # a status, the address once more


@dataclass(frozen=True, slots=True)
class Connection:
    """server HOST:PORT; ca: PEM to trust, None: the system's; insecure: plaintext, no TLS.

    Raises ValueError for a server or a token that cannot be one.
    """

    server: str
    ca: bytes | None = field(default=None, repr=False)
    token: str = field(default="", repr=False)
    insecure: bool = False

    def __post_init__(self) -> None:
        host, _, port = self.server.rpartition(":")
        if not host or not (port.isascii() and port.isdigit()):
            raise ValueError(f"server: {self.server!r} is not HOST:PORT")
        if not (self.token.isascii() and self.token.isprintable()) or " " in self.token:
            raise ValueError("token: more than letters, digits and signs")

    @classmethod
    def to(
        cls, server: str, ca: str | Path | bytes | None, token: str, insecure: bool
    ) -> Connection:
        """`ca` as bytes is PEM itself, else the path of a PEM file. Raises OSError, ValueError."""
        trust = Path(ca).read_bytes() if isinstance(ca, str | Path) else ca
        return cls(server, trust, token.strip(), insecure)

    @property
    def options(self) -> list[tuple[str, int]]:
        # A proxy for the world outside knows nothing of this machine.
        return [*OPTIONS, *([("grpc.enable_http_proxy", 0)] if self._is_loopback else [])]

    @property
    def credentials(self) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(root_certificates=self.ca)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes along with each call."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    def explain(self, cause: grpc.RpcError, invalid: type[Error] = InvalidRequest) -> Error:
        """What a call's failure means; `invalid` is what INVALID_ARGUMENT means to that call."""
        code, details = _status(cause)
        fault = self._explain(code, details, invalid)
        fault.__cause__ = cause
        return fault

    def _explain(self, code: grpc.StatusCode, details: str, invalid: type[Error]) -> Error:
        reason = details or code.name
        if code in _BY_CODE:
            return _BY_CODE[code](reason)
        if code is grpc.StatusCode.INVALID_ARGUMENT:
            return invalid(reason)
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED:  # also what gRPC says of a long message
            return (invalid if "larger than max" in details else Unavailable)(reason)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return TimedOut(f"{self.server} did not answer in time")
        if code is grpc.StatusCode.UNIMPLEMENTED:
            return Unsupported(f"{self.server} knows no such call: {reason}")
        if code is grpc.StatusCode.UNAVAILABLE:
            return self._explain_transport(details)
        return Error(f"{self.server}: {reason}")

    def _explain_transport(self, details: str) -> Error:
        """gRPC tells failures of TLS from others in its prose only."""
        if "WRONG_VERSION_NUMBER" in details:
            return Unauthenticated(f"{self.server} does not speak TLS")
        if "not in peer certificate" in details or "Hostname Verification" in details:
            return Unauthenticated(f"the certificate of {self.server} is for another host")
        if "certificate" in details.lower():
            trusted = "the authority given" if self.ca else "an authority known here"
            return Unauthenticated(f"the certificate of {self.server} is not signed by {trusted}")
        last = _CEREMONY.sub("", details.rpartition("last error: ")[2])
        return Unavailable(f"{self.server}: {last or 'no connection'}")

    @property
    def _is_loopback(self) -> bool:
        host = self.server.rpartition(":")[0].strip("[]")
        try:
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False


def _status(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    """Every error of a call has both; gRPC's own class does not say so."""
    if isinstance(error, grpc.Call | grpc.aio.AioRpcError):
        code: grpc.StatusCode | None = error.code()  # None: while the call is active
        return code or grpc.StatusCode.UNKNOWN, error.details() or ""
    return grpc.StatusCode.UNKNOWN, str(error)
