"""Bytes on the wire between this process and its server, by the kernel's own counters.

A process may ask the kernel about its own sockets: the descriptors under /proc/self/fd, and
TCP_INFO of each that is connected to the server. So what is counted is what crossed the network:
TLS handshakes, HTTP/2 frames, acknowledgements and repeated segments included. The kernel counts
TCP payload and segments; each segment is taken to cost an IP header (20 bytes; 40 for IPv6), a TCP
header (20) and its timestamp option (12, if the connection has it). Link-layer framing is left out.

Linux (4.19 or newer) only; elsewhere nothing is measured, and the answer is None.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

_DESCRIPTORS = Path("/proc/self/fd")

# struct tcp_info of linux/tcp.h: where its fields begin
_OPTIONS = 5
_RECEIVED = 128  # tcpi_bytes_received, then tcpi_segs_out and tcpi_segs_in
_SENT = 200  # tcpi_bytes_sent, repeated segments included
_LENGTH = 208
_HAS_TIMESTAMPS = 1

_TCP_HEADER = 20
_TIMESTAMP_OPTION = 12


@dataclass(frozen=True, slots=True)
class WireBytes:
    """Bytes on the wire, sent and received by this process."""

    sent: int
    received: int


class WireCounter:
    """Counts all connections to one server: those that stand and those that have ended.

    Sample now and then: what a connection moved between the last sample and its end is lost.
    """

    def __init__(self, server: str) -> None:
        self._host, _, port = server.rpartition(":")
        self._port = int(port)
        self._addresses: frozenset[str] = frozenset()
        self._connections: dict[int, WireBytes] = {}  # by inode, as last seen

    def sample(self) -> WireBytes | None:
        """What was sent and received since this object was made; None if that cannot be measured.

        Resolves the server's name (blocks) until that has succeeded once.
        """
        if sys.platform != "linux" or not _DESCRIPTORS.is_dir():
            return None
        self._addresses = self._addresses or _resolve(self._host, self._port)
        for entry in _DESCRIPTORS.iterdir():
            self._look(int(entry.name))
        seen = self._connections.values()
        return WireBytes(sum(c.sent for c in seen), sum(c.received for c in seen))

    def _look(self, descriptor: int) -> None:
        """Borrows the descriptor: nothing is duplicated, so nothing has to be closed.

        To close any copy of a descriptor of a database drops SQLite's locks on it: POSIX locks
        belong to the process, not to the descriptor.
        """
        try:
            inode = os.fstat(descriptor)
            if not stat.S_ISSOCK(inode.st_mode):
                return
            connection = socket.socket(fileno=descriptor)
        except OSError:
            return  # closed by another thread in this moment
        try:
            address = self._server_address(connection)
            counted = None if address is None else count(connection)
        except OSError:
            return  # not connected
        finally:
            connection.detach()
        if counted is not None:
            self._connections[inode.st_ino] = counted

    def _server_address(self, connection: socket.socket) -> str | None:
        """The peer's address if this is a connection to the server."""
        if connection.type is not socket.SOCK_STREAM:
            return None
        if connection.family not in (socket.AF_INET, socket.AF_INET6):
            return None
        peer, port = connection.getpeername()[:2]
        address: str = peer.removeprefix("::ffff:")  # IPv4 through an IPv6 socket
        return address if port == self._port and address in self._addresses else None


def count(connection: socket.socket) -> WireBytes | None:
    """What a TCP connection has carried so far; None if the kernel does not say."""
    if sys.platform != "linux":
        return None
    is_ipv6 = ":" in str(connection.getpeername()[0]).removeprefix("::ffff:")
    raw = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return _read_info(raw, ip_header=40 if is_ipv6 else 20)


def _resolve(host: str, port: int) -> frozenset[str]:
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except OSError:
        return frozenset()
    return frozenset(str(entry[4][0]) for entry in found)


def _read_info(raw: bytes, ip_header: int) -> WireBytes | None:
    """None from a kernel that is too old to count."""
    if len(raw) < _LENGTH:
        return None
    received, segments_out, segments_in = struct.unpack_from("=QII", raw, _RECEIVED)
    (sent,) = struct.unpack_from("=Q", raw, _SENT)
    option = _TIMESTAMP_OPTION if raw[_OPTIONS] & _HAS_TIMESTAMPS else 0
    header = ip_header + _TCP_HEADER + option
    return WireBytes(sent + segments_out * header, received + segments_in * header)
