"""`make demo`: a real server process and a real camera process on this machine, over TLS.

    glimpse-edge run ──gRPC, TLS──> glimpse-cloud serve ──> glimpse-cloud watch (this screen)
                                                        └─> one picture, in the middle of it

Everything but that picture lives in a temporary folder and ends by itself. Exit code 0: boxes came
back, every layer was acked, and the account of frames adds up.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import glimpse
from bench.service.processes import (
    CLOUD,
    EDGE,
    ROOT,
    authority,
    camera_command,
    free_port,
    make_token,
    read_summary,
    serving,
)
from edge.coding.weights import DEFAULT_WEIGHTS
from edge.pictures.auxiliary import HUMAN

CAMERA = "demo"
PICTURE = Path.home() / ".cache" / "glimpse" / "demo.png"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__.splitlines()[0])
    parser.add_argument("--source", help="video file or folder of photographs")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--fps", type=float, default=5.0)
    parser.add_argument("--quality", type=float, default=0.4)
    parser.add_argument("--json", type=Path, help="write the camera's summary into this file")
    options = parser.parse_args()
    started = time.monotonic()
    clip = _clip(options.source)
    with tempfile.TemporaryDirectory(prefix="glimpse-demo-") as folder:
        data = Path(folder)
        with _server(data) as server, _watching(data, server, started) as watched:
            asking = threading.Thread(target=_ask, args=(data, server, options.seconds / 2))
            asking.start()
            summary = _camera(data, server, clip, options)
            asking.join()
        if options.json:
            options.json.write_text(json.dumps(summary, indent=2) + "\n")
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
    make_token(data, "camera", CAMERA)
    token = make_token(data, "viewer", "screen").read_text().strip()
    page = f"127.0.0.1:{free_port()}"
    with serving(data, web=page) as address:
        print(f"server      {address}, TLS, data in {data}")
        print(f"page        https://{page}  token {token}  (the certificate is the demo's own)")
        yield address


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


def _ask(data: Path, server: str, wait_s: float) -> None:
    """Asks for a picture of the newest frame, as a person at the page would."""
    if not (DEFAULT_WEIGHTS / HUMAN / "manifest.json").exists():
        return
    time.sleep(wait_s)
    token = (data / "viewer.token").read_text().strip()
    try:
        with glimpse.Client.connect(server, ca=str(authority(data)), token=token) as cloud:
            frame = next(cloud.frames(camera=CAMERA, limit=1))
            begun = time.monotonic()
            picture = cloud.reconstruct(frame.frame, auxiliary="fetch", why="make demo")
    except (glimpse.Error, StopIteration) as error:
        print(f"picture     none: {error}", flush=True)
        return
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_bytes(picture.png)
    print(
        f"picture     {CAMERA} {frame.frame.seq}: {picture.machine_bytes} B + auxiliary layer"
        f" {picture.auxiliary_bytes} B -> {PICTURE} in {time.monotonic() - begun:.1f} s",
        flush=True,
    )


def _camera(data: Path, server: str, clip: str, options: argparse.Namespace) -> dict[str, Any]:
    """Runs the camera process to its end; returns its summary."""
    print(f"camera      {clip}, {options.fps:g} frames a second for {options.seconds:g} s")
    print("boxes       (time of capture, camera, frame, bytes of the layer, what is in view)")
    command = [
        *camera_command(data, CAMERA, clip, server), "--fps", str(options.fps),
        "--quality", str(options.quality), "--seconds", str(options.seconds),
        "--auxiliary", "later",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr, file=sys.stderr, end="")
    return read_summary(data, done.returncode)


def _conclude(summary: dict[str, Any], watched: list[float]) -> int:
    wire, latency = summary["wire"], summary["capture_to_boxes_ms"]
    rate = "not measured here" if wire is None else f"{wire['sent_bits_per_second']} bit/s up"
    down = "" if wire is None else f", {wire['received_bits_per_second']} bit/s down"
    good = summary["adds_up"] and summary["acked"] == summary["coded"] > 0 and bool(watched)
    lines = {
        "frames": f"{summary['captured']} captured, {summary['acked']} acked",
        "layers": f"{summary['mean_bytes']} bytes on average",
        "wire": f"{rate}{down} (TLS, HTTP/2, TCP and IP, and the picture)",
        "latency": f"capture to boxes p50 {latency['p50']} ms, p95 {latency['p95']} ms",
        "first boxes": f"{watched[0]:.1f} s after the start" if watched else "none came",
        "account": "every frame is accounted for" if good else "NOT every frame was delivered",
    }
    print("\n".join(f"{name:<12}{text}" for name, text in lines.items()))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
