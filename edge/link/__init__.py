"""The way to the server: channel, trust, token, and what its failures mean."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field

import grpc
import grpc.aio

from common.errors import GlimpseError, PermissionDenied, Unauthenticated, Unreachable

KEEPALIVE_MS = 30_000
_OPTIONS = (
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),  # a camera at rest still notices a dead link
    ("grpc.http2.bdp_probe", 0),  # probes for bandwidth that a camera does not use cost bytes
    ("grpc.enable_retries", 0),  # the session retries
    ("grpc.use_local_subchannel_pool", 1),  # a new channel is a new connection, with no back-off
)


_CEREMONY = re.compile(r"^([A-Z]+: )?(ipv[46]:\S+: )?")  # a status, the address once more


@dataclass(frozen=True, slots=True)
class Link:
    """Where the server is and how to talk to it.

    server     HOST:PORT
    authority  PEM certificates to trust; None: those that the system trusts
    token      bearer token, sent with each stream
    plaintext  no TLS: on a network that others can read, token and layers are theirs
    own        PEM of this camera's certificate and of its key, shown to a server that asks for it
    """

    server: str
    authority: bytes | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    plaintext: bool = False
    own: tuple[bytes, bytes] | None = field(default=None, repr=False)

    def channel(self) -> grpc.aio.Channel:
        """A channel that is not connected yet: to be closed by the caller."""
        options = [*_OPTIONS]
        if self.is_loopback:
            options.append(("grpc.enable_http_proxy", 0))
        if self.plaintext:
            return grpc.aio.insecure_channel(self.server, options=options)
        certificate, key = self.own or (None, None)
        trust = grpc.ssl_channel_credentials(self.authority, key, certificate)
        return grpc.aio.secure_channel(self.server, trust, options=options)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes along with each call."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    @property
    def is_loopback(self) -> bool:
        """Whether the server is on this machine."""
        host = self.server.rpartition(":")[0].strip("[]")
        if host == "localhost":
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def explain(self, error: grpc.aio.AioRpcError) -> GlimpseError:
        """Unauthenticated or PermissionDenied where trying again is no use, else Unreachable."""
        code, details = error.code(), error.details() or ""
        if code is grpc.StatusCode.UNAUTHENTICATED:
            return Unauthenticated(f"{self.server} does not know this camera: {details}")
        if code is grpc.StatusCode.PERMISSION_DENIED:
            return PermissionDenied(f"{self.server} refuses this camera: {details}")
        if code is grpc.StatusCode.UNIMPLEMENTED:
            return Unreachable(f"{self.server} is no glimpse server: {details}")
        return self._explain_transport(code, details)

    def _explain_transport(self, code: grpc.StatusCode, details: str) -> GlimpseError:
        """gRPC tells failures of TLS from others in its prose only."""
        if "WRONG_VERSION_NUMBER" in details:
            return Unreachable(f"{self.server} does not speak TLS")
        if "not in peer certificate" in details or "Hostname Verification" in details:
            return Unauthenticated(f"the certificate of {self.server} is for another host")
        if "certificate has expired" in details or "certificate is not yet valid" in details:
            fault = "has expired" if "has expired" in details else "is not valid yet"
            return Unreachable(
                f"the certificate of {self.server} {fault}, or the clock of this machine is wrong"
            )
        if "certificate" in details.lower():
            trusted = "the authority given" if self.authority else "an authority known here"
            reason = details.rpartition("OPENSSL_internal:")[2].removesuffix(": OK")
            return Unauthenticated(
                f"the certificate of {self.server} is not signed by {trusted} ({reason})"
            )
        if details.startswith("failed to connect") and details.endswith("Socket closed"):
            what = "this certificate" if self.own else "cameras without a certificate"
            return Unreachable(f"{self.server} hung up at once: does it take {what}?")
        if code is grpc.StatusCode.INTERNAL:  # a write met the end of the stream and hid its reason
            return Unreachable(f"{self.server}: the stream broke")
        return Unreachable(f"{self.server}: {_tail(details) or code.name}")


def _tail(details: str) -> str:
    """The last, most specific part of gRPC's long explanation."""
    return _CEREMONY.sub("", details.rpartition("last error: ")[2])
