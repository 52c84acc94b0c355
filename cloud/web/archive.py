"""Stored frames for the page: a page of them, where in time they are, one frame, its layer.

Each answer is a few walks along an index of the store, on threads that the cameras do not need.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cloud.access.attempts import address_of
from cloud.access.audit import Audit
from cloud.alone import Alone
from cloud.places import from_token, to_token
from cloud.store import FrameStore, StoredFrame
from cloud.web.login import peer_of
from cloud.web.messages import frame_details, frame_message, to_json
from common.errors import NotStored, RemoteProtocolError
from common.types import FrameId, check_camera

T = TypeVar("T")

PAGE_FRAMES, MOST_FRAMES = 60, 200
MARKS, MOST_MARKS = 120, 240
SPAN_S, MOST_SPAN_S = 3600.0, 366 * 86_400.0
_READERS = 2  # threads; the others of the pool are for those who write
_SKEW_S = 60.0  # a frame from further in the future has a wrong clock: not where 'now' is
_LONGEST_LABEL = 64
_LONGEST_SEQ = 19  # digits of 2**63-1


class Archive:
    """labels, profiles: names of the detector's classes, of the codec's task profiles."""

    def __init__(
        self,
        store: FrameStore,
        alone: Alone,
        audit: Audit,
        labels: Sequence[str],
        profiles: Sequence[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._alone, self._audit, self._clock = store, alone, audit, clock
        self._labels, self._profiles = labels, profiles
        self._readers = asyncio.Semaphore(_READERS)

    def routes(self) -> list[Route]:
        return [
            Route("/frames", self.frames),
            Route("/marks", self.marks),
            Route("/frames/{camera}/{boot}/{seq}", self.frame),
            Route("/frames/{camera}/{boot}/{seq}/layer", self.layer),
        ]

    async def frames(self, request: Request) -> Response:
        """?camera, label, since, until, before, limit: newest first; `next` leads to the rest."""
        asked = request.query_params
        camera, label = _camera(asked), _label(asked)
        since, until = _number(asked, "since"), _number(asked, "until")
        limit = _count(asked, "limit", PAGE_FRAMES, MOST_FRAMES)
        before = from_token(asked["before"]) if "before" in asked else None

        def page() -> bytes:
            found = self._store.frames(
                camera=camera, label=label, since=since, until=until, limit=limit + 1, before=before
            )
            shown = found[:limit]
            further = to_token(shown[-1].place) if len(found) > limit else None
            return to_json({"frames": [frame_message(f) for f in shown], "next": further})

        return _json(await self._read(page))

    async def marks(self, request: Request) -> Response:
        """?camera, span, until, marks: in which of so many equal parts of a time there are frames.

        A lane for all frames and one for each class, each with the parts' numbers from the oldest.
        Without `until` the time ends at the newest frame.
        """
        asked = request.query_params
        camera, until = _camera(asked), _number(asked, "until")
        span = _number(asked, "span") or SPAN_S
        if not 0 < span <= MOST_SPAN_S:
            raise RemoteProtocolError(
                f"span: not more than 0 and at most {MOST_SPAN_S:.0f} seconds"
            )
        parts = _count(asked, "marks", MARKS, MOST_MARKS)

        def lanes() -> bytes:
            end = self._newest(camera) if until is None else until
            step = span / parts
            lanes = [
                {"label": label, "marks": list(self._occupied(camera, label, end, step, parts))}
                for label in (None, *self._labels)
            ]
            return to_json({"since": end - span, "until": end, "step": step, "lanes": lanes})

        return _json(await self._read(lanes))

    async def frame(self, request: Request) -> Response:
        """Everything about one frame but its bytes."""
        stored = await self._stored(request)
        return _json(to_json(frame_details(stored, self._profiles)))

    async def layer(self, request: Request) -> Response:
        """The layer as one that stands alone, for saving; it leaves a line in the audit."""
        stored = await self._stored(request)
        layer = await self._read(lambda: self._alone(stored))
        address = address_of(peer_of(request))
        self._audit.read(request.scope["viewer"], address, "page", stored.frame, len(layer))
        name = f"{stored.frame.camera}-{stored.frame.boot}-{stored.frame.seq}.glimpse"
        headers = {"content-disposition": f'attachment; filename="{name}"'}
        return Response(layer, media_type="application/octet-stream", headers=headers)

    async def _stored(self, request: Request) -> StoredFrame:
        frame = frame_of(request.path_params)
        stored = await self._read(lambda: self._store.get(frame))
        if stored is None:
            raise NotStored(f"{frame} is not stored")
        return stored

    def _newest(self, camera: str | None) -> float:
        now = self._clock()
        newest = self._store.frames(camera=camera, until=now + _SKEW_S, limit=1)
        return math.nextafter(newest[0].captured_at, math.inf) if newest else now

    def _occupied(
        self, camera: str | None, label: str | None, until: float, step: float, parts: int
    ) -> Iterator[int]:
        """From the newest part to the oldest; one look at the index for each that is occupied."""
        since = until - step * parts
        while newest := self._store.frames(
            camera=camera, label=label, since=since, until=until, limit=1
        ):
            part = min(int((newest[0].captured_at - since) / step), parts - 1)
            yield part
            until = min(since + part * step, newest[0].captured_at)

    async def _read(self, work: Callable[[], T]) -> T:
        async with self._readers:
            return await asyncio.to_thread(work)


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


def frame_of(path: Mapping[str, str]) -> FrameId:
    """The frame that an address names. Raises RemoteProtocolError."""
    seq = path["seq"]
    if not (seq.isascii() and seq.isdigit() and len(seq) <= _LONGEST_SEQ):
        raise RemoteProtocolError(f"not a frame's number: {seq[:80]!r}")
    return FrameId(path["camera"], path["boot"], int(seq))


def _camera(asked: Mapping[str, str]) -> str | None:
    return check_camera(asked["camera"]) if asked.get("camera") else None


def _label(asked: Mapping[str, str]) -> str | None:
    label = asked.get("label") or None
    if label is not None and len(label) > _LONGEST_LABEL:
        raise RemoteProtocolError(f"label: at most {_LONGEST_LABEL} characters")
    return label


def _number(asked: Mapping[str, str], name: str) -> float | None:
    """Raises RemoteProtocolError for what is no finite number."""
    if not (text := asked.get(name)):
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise RemoteProtocolError(f"{name}: not a number: {text[:80]!r}")
    return value


def _count(asked: Mapping[str, str], name: str, default: int, most: int) -> int:
    """Raises RemoteProtocolError unless it is 1 or more; more than `most` is `most`."""
    value = _number(asked, name)
    if value is None:
        return default
    if value < 1 or value != int(value):
        raise RemoteProtocolError(f"{name}: not a whole number of 1 or more")
    return min(int(value), most)
