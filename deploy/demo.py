"""`make demo`: a real server process and a real camera process on this machine, over TLS.

    glimpse-edge run ──gRPC, TLS──> glimpse-cloud serve ──> glimpse-cloud watch (this screen)

Everything lives in a temporary folder and ends by itself. Exit code 0: boxes came back, every layer
was acked, and the account of frames adds up.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

EDGE = [sys.executable, "-m", "edge.main"]
CLOUD = [sys.executable, "-m", "cloud.main"]
ROOT = Path(__file__).parents[1]
CAMERA = "demo"
_PATIENCE_S = 60.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__.splitlines()[0])
    parser.add_argument("--source", help="video file or folder of photographs")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--fps", type=float, default=5.0)
    parser.add_argument("--quality", type=float, default=0.4)
    options = parser.parse_args()
    started = time.monotonic()
    clip = _clip(options.source)
    with tempfile.TemporaryDirectory(prefix="glimpse-demo-") as folder:
        data = Path(folder)
        with _server(data) as server, _watching(data, server, started) as watched:
            summary = _camera(data, server, clip, options)
        return _conclude(summary, watched)


def _clip(source: str | None) -> str:
    wanted = ["--source", source] if source else []
    found = subprocess.run(
        [*EDGE, "demo-clip", *wanted], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False
    )
    if found.returncode:
        raise SystemExit(found.returncode)
    return found.stdout.strip()


@contextmanager
def _server(data: Path) -> Iterator[str]:
    """A server process with certificates and tokens of its own; yields its address."""
    address = f"127.0.0.1:{_free_port()}"
    token = subprocess.run(
        [*CLOUD, "token", "camera", CAMERA, "--data", str(data)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    (data / "camera.token").write_text(token.stdout)
    viewer = [*CLOUD, "token", "viewer", "screen", "--data", str(data)]
    (data / "viewer.token").write_text(subprocess.check_output(viewer, cwd=ROOT, text=True))
    command = [*CLOUD, "serve", "--listen", address, "--metrics-listen", "", "--data", str(data)]
    log = data / "server.log"
    with log.open("w") as f, subprocess.Popen(command, cwd=ROOT, stderr=f) as process:
        try:
            _wait_until_serving(address, data / "tls" / "ca.pem", process, log)
            print(f"server      {address}, TLS, data in {data}")
            yield address
        finally:
            process.terminate()


def _wait_until_serving(
    address: str, authority: Path, process: subprocess.Popen[bytes], log: Path
) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            credentials = grpc.ssl_channel_credentials(authority.read_bytes())
            with grpc.secure_channel(address, credentials) as channel:
                stub = health_pb2_grpc.HealthStub(channel)
                stub.Check(health_pb2.HealthCheckRequest(), timeout=2)
                return
        except (grpc.RpcError, FileNotFoundError):
            time.sleep(0.2)  # the process is still starting
    raise SystemExit(f"the server did not start:\n{log.read_text()}")


@contextmanager
def _watching(data: Path, server: str, started: float) -> Iterator[list[float]]:
    """A viewer process whose lines appear here; yields the moments at which boxes came."""
    command = [*CLOUD, "watch", "--server", server, "--data", str(data)]
    moments: list[float] = []

    def show(lines: Iterator[str]) -> None:
        for line in lines:
            moments.append(time.monotonic() - started)
            print(f"  {line.rstrip()}", flush=True)

    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        if process.stdout is None:
            raise RuntimeError("no pipe")
        reader = threading.Thread(target=show, args=(process.stdout,))
        reader.start()
        try:
            yield moments
        finally:
            process.terminate()
            reader.join()


def _camera(data: Path, server: str, clip: str, options: argparse.Namespace) -> dict[str, Any]:
    """Runs the camera process to its end; returns its summary."""
    print(f"camera      {clip}, {options.fps:g} frames a second for {options.seconds:g} s")
    print("boxes       (time of capture, camera, frame, bytes of the layer, what is in view)")
    summary = data / "summary.json"
    command = [
        *EDGE, "run", "--camera", CAMERA, "--source", clip, "--server", server, "--loop",
        "--fps", str(options.fps), "--quality", str(options.quality),
        "--seconds", str(options.seconds), "--spool", str(data / "spool"),
        "--ca", str(data / "tls" / "ca.pem"), "--token-file", str(data / "camera.token"),
        "--json", str(summary),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
    if not summary.exists():
        raise SystemExit(done.returncode or 1)
    report: dict[str, Any] = json.loads(summary.read_text())
    return report


def _conclude(summary: dict[str, Any], watched: list[float]) -> int:
    wire, latency = summary["wire"], summary["capture_to_boxes_ms"]
    rate = "not measured here" if wire is None else f"{wire['sent_bits_per_second']} bit/s up"
    down = "" if wire is None else f", {wire['received_bits_per_second']} bit/s down"
    good = summary["adds_up"] and summary["acked"] == summary["coded"] > 0 and bool(watched)
    lines = {
        "frames": f"{summary['captured']} captured, {summary['acked']} acked",
        "layers": f"{summary['mean_bytes']} bytes on average",
        "wire": f"{rate}{down} (TLS, HTTP/2, TCP and IP included)",
        "latency": f"capture to boxes p50 {latency['p50']} ms, p95 {latency['p95']} ms",
        "first boxes": f"{watched[0]:.1f} s after the start" if watched else "none came",
        "account": "every frame is accounted for" if good else "NOT every frame was delivered",
    }
    print("\n".join(f"{name:<12}{text}" for name, text in lines.items()))
    return 0 if good else 1


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main())
