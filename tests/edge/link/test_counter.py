from __future__ import annotations

import fcntl
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edge.link.counter import WireBytes, WireCounter

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts on Linux only")


def exchange(client: socket.socket, server: socket.socket, up: int, down: int) -> None:
    """`up` bytes one way, `down` the other."""

    def read(end: socket.socket, size: int) -> None:
        while size:
            size -= len(end.recv(min(size, 65536)))

    for source, sink, size in ((client, server, up), (server, client, down)):
        reader = threading.Thread(target=read, args=(sink, size))
        reader.start()
        source.sendall(bytes(size))
        reader.join()


def connect(listener: socket.socket) -> tuple[socket.socket, socket.socket]:
    client = socket.create_connection(listener.getsockname()[:2])
    return client, listener.accept()[0]


@pytest.mark.parametrize(
    ("family", "host", "ip_header"),
    [(socket.AF_INET, "127.0.0.1", 20), (socket.AF_INET6, "::1", 40)],
)
def test_payload_and_headers_are_counted(family: int, host: str, ip_header: int) -> None:
    try:
        listener = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip(f"no {host} here")
    with listener:
        client, server = connect(listener)
        with client, server:
            wire = WireCounter(f"[{host}]:{listener.getsockname()[1]}")
            exchange(client, server, 100_000, 3_000)
            seen = wire.sample()
    assert seen is not None
    header = ip_header + 20 + 12
    for total, payload in ((seen.sent, 100_000), (seen.received, 3_000)):
        assert total > payload
        assert (total - payload) % header == 0  # whole segments
        assert total - payload < 60 * header


def test_ended_connections_stay_counted_and_others_are_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, \
            socket.create_server(("127.0.0.1", 0)) as other:  # fmt: skip
        wire = WireCounter(f"localhost:{listener.getsockname()[1]}")
        assert wire.sample() == WireBytes(0, 0)
        for _ in range(2):
            client, server = connect(listener)
            with client, server:
                exchange(client, server, 1000, 0)
                before = wire.sample()
        stranger, end = connect(other)
        with stranger, end:
            exchange(stranger, end, 50_000, 0)
            after = wire.sample()
    assert before == after
    assert after is not None
    assert 2000 < after.sent < 3000


def test_sampling_leaks_no_descriptor() -> None:
    wire = WireCounter("127.0.0.1:9")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        wire.sample()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


_TRY_LOCK = """
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("locked")
"""


def test_sampling_drops_no_lock_of_this_process(tmp_path: Path) -> None:
    """SQLite guards its files by POSIX locks, which any close of a copied descriptor drops."""
    path = tmp_path / "database"
    path.write_bytes(b"x")
    command = [sys.executable, "-c", _TRY_LOCK, str(path)]
    with path.open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        WireCounter("127.0.0.1:1").sample()
        assert subprocess.check_output(command, text=True) == "locked\n"


def test_a_name_that_does_not_resolve_counts_nothing() -> None:
    assert WireCounter("no.such.host.invalid:1").sample() == WireBytes(0, 0)


def test_elsewhere_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert WireCounter("127.0.0.1:1").sample() is None
