"""The live view's stream of server-sent events: one subscription, one encoding, many pages.

    Bus[Sighting] ──> newest of each camera ──every 100 ms at most──> bytes ──> Bus[bytes] ──> pages

A page gets every camera's state when it connects, so a page that was away, or whose server was,
asks for nothing that it missed: the store has it. A page that reads too slowly is treated alike.
What fifty pages cost is fifty copies of bytes that were made once.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Collection
from typing import Any

from cloud.access.identity import Identities
from cloud.bus import Bus
from cloud.metrics import Metrics
from cloud.sightings import Sighting
from cloud.store import FrameStore
from cloud.web.cameras import Camera
from cloud.web.messages import sighting_message, status_message, to_json
from common.errors import BadSettings

TICK_S = 0.1  # the eye does not tell; and a camera's boxes of one tick are drawn over each other
STATES_S = 2.0  # a page that hears nothing for longer takes the connection for dead
TOTALS_S = 5.0
_QUEUE_EVENTS = 20  # two seconds
_LOOK_BACK = 16  # frames


class Live:
    """Follows the bus. Belongs to one event loop.

    connected  names of the cameras whose streams are open, as it is now
    """

    def __init__(
        self,
        bus: Bus[Sighting],
        store: FrameStore,
        identities: Identities,
        metrics: Metrics,
        connected: Collection[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._bus, self._store, self._identities = bus, store, identities
        self._metrics, self._connected, self._clock = metrics, connected, clock
        self._pages: Bus[bytes] = Bus()
        self._counted = asyncio.Event()  # what is stored is known
        self._cameras: dict[str, Camera] = {}
        self._fresh: dict[str, Sighting] = {}
        self._sent_at = 0.0
        self._due: asyncio.TimerHandle | None = None

    @property
    def pages(self) -> int:
        """How many are open."""
        return self._pages.subscribers

    async def run(self) -> None:
        """Until the bus closes; then every page's stream ends."""
        await self._count_stored()
        self._counted.set()
        async with asyncio.TaskGroup() as tasks:
            others = [tasks.create_task(self._tell_states()), tasks.create_task(self._totals())]
            try:
                with self._bus.subscribe() as sightings:
                    async for delivery in sightings:
                        self._see(delivery.item)
            finally:
                if self._due:
                    self._due.cancel()
                self._pages.close()
                for task in others:
                    task.cancel()

    async def events(self, may_look: Callable[[], bool]) -> AsyncGenerator[bytes]:
        """A page's stream, until the server drains or `may_look` says no."""
        with (
            self._metrics.viewers.track_inprogress(),
            self._pages.subscribe(size=_QUEUE_EVENTS) as events,
        ):
            await self._counted.wait()
            yield self._states("state", with_last=True)
            async for delivery in events:
                if delivery.item.startswith(b"event: cameras") and not may_look():
                    return
                yield self._states("state", with_last=True) if delivery.missed else delivery.item

    def _see(self, sighting: Sighting) -> None:
        name = sighting.frame.camera
        self._camera(name).see(sighting, self._clock())
        self._fresh[name] = sighting
        if self._due is None:
            loop = asyncio.get_running_loop()
            self._due = loop.call_at(self._sent_at + TICK_S, self._send_fresh)

    def _send_fresh(self) -> None:
        self._due, self._sent_at = None, asyncio.get_running_loop().time()
        seen, self._fresh = self._fresh, {}
        if self._pages.subscribers:
            messages = [sighting_message(sighting) for sighting in seen.values()]
            self._pages.publish(_event("seen", {"now": self._clock(), "seen": messages}))

    async def _tell_states(self) -> None:
        while True:
            await asyncio.sleep(STATES_S)
            if self._pages.subscribers:
                self._pages.publish(self._states("cameras"))

    async def _totals(self) -> None:
        while True:
            await asyncio.sleep(TOTALS_S)
            await self._count_stored()

    async def _count_stored(self) -> None:
        with contextlib.suppress(BadSettings):  # a tokens file gone wrong: every caller is told so
            for name in self._identities.names("camera"):
                self._camera(name)
        found = False
        for summary in await asyncio.to_thread(self._store.cameras):
            camera = self._camera(summary.camera)
            camera.count(summary, self._clock())
            if camera.last is None and summary.frames:
                before = await asyncio.to_thread(self._newest, camera.name)
                camera.last = camera.last or before
                found |= camera.last is not None
        if found and self._pages.subscribers:
            self._pages.publish(self._states("state", with_last=True))

    def _newest(self, camera: str) -> Sighting | None:
        """What was seen of it before this process; None if the detector looked at none of late."""
        for stored in self._store.frames(camera=camera, limit=_LOOK_BACK):
            header, boxes = stored.header, stored.boxes
            if header is not None and boxes is not None:
                return Sighting(
                    stored.frame, stored.captured_at, len(stored.data),
                    header.width, header.height, boxes, stored.presences,
                )  # fmt: skip
        return None

    def _camera(self, name: str) -> Camera:
        return self._cameras.setdefault(name, Camera(name))

    def _states(self, event: str, *, with_last: bool = False) -> bytes:
        now = self._clock()
        cameras = [
            status_message(
                camera.status(camera.name in self._connected, now),
                camera.last if with_last else None,
            )
            for camera in sorted(self._cameras.values(), key=lambda camera: camera.name)
        ]
        return _event(event, {"now": now, "cameras": cameras})


def _event(name: str, message: dict[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), to_json(message))
