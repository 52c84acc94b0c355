"""Many cameras in one process: real sessions over TLS, whose layers were coded before.

Each sends its layers at its frame rate, spread evenly over the frame's interval, and notes when the
boxes of each came back. What a camera process does beside that, capture and encode, would take the
processor from a server that is measured on the same machine.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from common.session import EdgeSession
from edge.ledger import Ledger
from edge.link import Link
from edge.spool import MemorySpool
from edge.uplink import Uplink

_SPOOL_BYTES = 64 << 20
_GRACE_S = 10.0


@dataclass(frozen=True)
class Got:
    """Of all sessions together: frames sent and acked; seconds from sending to boxes, sorted."""

    sent: int
    acked: int
    latency: Sequence[float]


async def send(
    server: str,
    authority: bytes,
    tokens: dict[str, str],
    layers: Sequence[bytes],
    model_id: int,
    *,
    fps: float,
    seconds: float,
) -> Got:
    """One session for each camera of `tokens`; `layers` is a chain, an intra layer first."""
    cameras = [
        _Camera(name, Link(server, authority, token), model_id) for name, token in tokens.items()
    ]
    began = time.monotonic() + 1.0  # for all to connect
    works = [
        camera.run(layers, began + n / len(cameras) / fps, fps, seconds)
        for n, camera in enumerate(cameras)
    ]
    await asyncio.gather(*works)
    latency = sorted(taken for camera in cameras for taken in camera.ledger.latency.recent)
    sent = sum(camera.ledger.coded for camera in cameras)
    return Got(sent, sum(camera.ledger.acked for camera in cameras), latency)


class _Camera:
    def __init__(self, name: str, link: Link, model_id: int) -> None:
        spool = MemorySpool(name, max_bytes=_SPOOL_BYTES)
        boot = f"{time.time_ns():x}"
        self.ledger = Ledger(boot, 0)
        session = EdgeSession(name, boot, model_id, random=random.random, want_boxes=True)
        self._uplink = Uplink(session, link, spool, self.ledger)

    async def run(self, layers: Sequence[bytes], began: float, fps: float, seconds: float) -> None:
        running = asyncio.create_task(self._uplink.run())
        for seq in range(round(seconds * fps)):
            await asyncio.sleep(max(began + seq / fps - time.monotonic(), 0.0))
            data = layers[seq % len(layers)]
            self.ledger.captured += 1
            self.ledger.on_coded(seq, time.monotonic(), len(data))
            self._uplink.frame(seq, time.time(), data)
        self._uplink.end()
        await asyncio.wait([running], timeout=_GRACE_S)
        self._uplink.stop()
        await running
