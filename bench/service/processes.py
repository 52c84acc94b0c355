"""A real server process and a real camera process on this machine, over TLS.

Everything lives in a folder that the caller gives: certificates, tokens, the store, logs.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

EDGE = [sys.executable, "-m", "edge.main"]
CLOUD = [sys.executable, "-m", "cloud.main"]
ROOT = Path(__file__).parents[2]
_PATIENCE_S = 60.0


def make_token(data: Path, role: str, name: str) -> Path:
    """A file with the token of a new camera or viewer."""
    command = [*CLOUD, "token", role, name, "--data", str(data)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    file = data / f"{role}.token"
    file.write_text(done.stdout)
    return file


@contextmanager
def serving(
    data: Path, env: Mapping[str, str] | None = None, web: str = "", metrics: str = ""
) -> Iterator[str]:
    """A server process; yields its address when it serves. Raises SystemExit if it does not.

    web      HOST:PORT of its viewer page; '': none
    metrics  HOST:PORT of /metrics; '': none
    """
    address = f"127.0.0.1:{free_port()}"
    command = [*CLOUD, "serve", "--listen", address, "--data", str(data)]
    command += ["--metrics-listen", metrics, "--web-listen", web]
    log = data / "server.log"
    own = {**os.environ, **(env or {})}
    with log.open("w") as f, subprocess.Popen(command, cwd=ROOT, stderr=f, env=own) as process:
        try:
            _wait_until_serving(address, authority(data), process, log)
            yield address
        finally:
            process.terminate()


def authority(data: Path) -> Path:
    """The PEM file that a camera of this server trusts."""
    return data / "tls" / "ca.pem"


@contextmanager
def running(
    command: Sequence[str], log: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is killed at the end; what it says goes to `log`."""
    own = {**os.environ, **(env or {})}
    with (
        log.open("w") as output,
        subprocess.Popen(command, cwd=ROOT, env=own, stdout=output, stderr=output) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def camera_command(data: Path, name: str, source: str, server: str) -> list[str]:
    """A camera process that replays `source`; its summary goes to `data`/summary.json."""
    return [
        *EDGE, "run", "--camera", name, "--source", source, "--server", server, "--loop",
        "--spool", str(data / "spool"), "--ca", str(authority(data)),
        "--token-file", str(data / "camera.token"), "--json", str(data / "summary.json"),
    ]  # fmt: skip


def demo_clip() -> str:
    """The clip of `make demo`, fetched if it is not there."""
    command = [*EDGE, "demo-clip"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


def read_summary(data: Path, returncode: int) -> dict[str, Any]:
    """What the camera process said at its end. Raises SystemExit if it said nothing."""
    file = data / "summary.json"
    if not file.exists():
        raise SystemExit(returncode or 1)
    summary: dict[str, Any] = json.loads(file.read_text())
    return summary


def _wait_until_serving(
    address: str, trusted: Path, process: subprocess.Popen[bytes], log: Path
) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            credentials = grpc.ssl_channel_credentials(trusted.read_bytes())
            with grpc.secure_channel(address, credentials) as channel:
                stub = health_pb2_grpc.HealthStub(channel)
                stub.Check(health_pb2.HealthCheckRequest(), timeout=2)
                return
        except (grpc.RpcError, FileNotFoundError):
            time.sleep(0.2)  # the process is still starting
    raise SystemExit(f"the server did not start:\n{log.read_text()}")


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
