"""Memory and open files of both processes over many frames, and of the server over cancelled calls.

    glimpse-edge run ──TLS──> glimpse-cloud serve <──TLS── viewers whose Watch calls are cancelled

Looked at in /proc from outside, as often as the frames allow. What matters is the second half:
allocators, caches and rings of recent times fill in the first.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import grpc

from bench.report import write_report
from bench.service.house import House, made_film, wait_until
from bench.service.processes import authority, make_token
from glimpse.v1 import detection_pb2, detection_pb2_grpc

_LOOKS = 40
_TOGETHER = 50  # calls at once
_SIDE = 64


@dataclass(frozen=True)
class Look:
    """done: frames stored, or calls cancelled."""

    done: int
    rss_mb: float
    files: int


def look(pid: int, done: int) -> Look:
    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return Look(done, round(resident * os.sysconf("SC_PAGE_SIZE") / 1e6, 2), files)


def flat(
    folder: Path, out: Path, weights: Path, *, frames: int, calls: int, fps: float
) -> dict[str, Any]:
    """Writes flat.json and flat.png into `out`; `folder` is empty, and used for the processes."""
    film = made_film(folder / "film")
    options = ["--fps", str(fps), "--side", str(_SIDE)]
    with House(folder, film, weights.resolve(), 1, options) as house:
        token = make_token(house.data, "viewer", "viewer").read_text().strip()
        [camera] = house.cameras
        looks: dict[str, list[Look]] = {"server": [], "camera": [], "server_calls": []}
        began = time.monotonic()
        for step in range(1, _LOOKS + 1):
            _wait_for(house, frames * step // _LOOKS, patience=60 + 20 * frames / _LOOKS / fps)
            stored = house.stored_count()
            looks["server"].append(look(house.server.pid, stored))
            looks["camera"].append(look(camera.pid, stored))
        took = time.monotonic() - began
        camera.end()
        trusted = authority(house.data).read_bytes()
        for step in range(1, _LOOKS + 1):
            count = calls * step // _LOOKS - calls * (step - 1) // _LOOKS
            asyncio.run(cancelled_calls(house.address, trusted, token, count))
            looks["server_calls"].append(look(house.server.pid, calls * step // _LOOKS))
    report: dict[str, Any] = {
        "frames": looks["server"][-1].done,
        "calls": calls,
        "fps": round(looks["server"][-1].done / took, 1),
        **{name: grown(seen) for name, seen in looks.items()},
        "looks": {name: [asdict(one) for one in seen] for name, seen in looks.items()},
    }
    write_report(out / "flat.json", report)
    _plot(out / "flat.png", looks)
    return report


def grown(looks: Sequence[Look]) -> dict[str, float]:
    """What the second half has more than the first quarter of it: 0 where all is flat."""
    half = looks[len(looks) // 2 :]
    quarter = max(len(half) // 4, 1)
    first, last = half[:quarter], half[-quarter:]
    return {
        "rss_mb": looks[-1].rss_mb,
        "files": looks[-1].files,
        "rss_grown_mb": round(mean(o.rss_mb for o in last) - mean(o.rss_mb for o in first), 2),
        "files_grown": round(mean(o.files for o in last) - mean(o.files for o in first), 2),
    }


async def cancelled_calls(server: str, trusted: bytes, token: str, count: int) -> None:
    """So many Watch calls, each cancelled when it has begun."""
    metadata = (("authorization", f"Bearer {token}"),)
    credentials = grpc.ssl_channel_credentials(trusted)

    async def one(stub: detection_pb2_grpc.DetectionServiceStub) -> None:
        call: Any = stub.Watch(detection_pb2.WatchRequest(), metadata=metadata)
        await call.initial_metadata()  # the server has it
        call.cancel()

    async with grpc.aio.secure_channel(server, credentials) as channel:
        stub = detection_pb2_grpc.DetectionServiceStub(channel)
        for begin in range(0, count, _TOGETHER):
            together = min(_TOGETHER, count - begin)
            await asyncio.gather(*(one(stub) for _ in range(together)))


def _wait_for(house: House, frames: int, patience: float) -> None:
    wait_until(lambda: house.stored_count() >= frames, f"{frames} frames are stored", patience)


def _plot(path: Path, looks: dict[str, list[Look]]) -> None:
    """Resident memory over frames, and over calls."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2))
    for name in ("server", "camera"):
        seen = looks[name]
        axes[0].plot([one.done for one in seen], [one.rss_mb for one in seen], label=name)
    seen = looks["server_calls"]
    axes[1].plot([one.done for one in seen], [one.rss_mb for one in seen], label="server")
    top = 1.1 * max(one.rss_mb for seen in looks.values() for one in seen)
    for axis, what in zip(axes, ("frames", "cancelled Watch calls"), strict=True):
        axis.set(xlabel=what, ylabel="resident MB", ylim=(0, top))
        axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
