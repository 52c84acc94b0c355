"""A camera's source as its settings describe it: file or live, in real time, masks burned in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace
from functools import partial

from edge.capture.address import is_live
from edge.capture.file import Frame, paced
from edge.capture.live import Patience, live
from edge.capture.masks import Masks
from edge.capture.picture import Picture
from edge.settings import EdgeSettings


def camera_frames(
    settings: EdgeSettings, source: str, stopping: threading.Event
) -> Generator[Frame, None, None]:
    """Frames of `source` until it ends or `stopping` is set. Close it, to end what it started.

    No one sees a frame before its masks are on it. Raises BadSettings for masks that are none, and
    what `paced` and `live` raise.
    """
    masks = Masks(settings.masks)
    with closing(_frames(settings, source, stopping)) as frames:
        for frame in frames:
            yield replace(frame, read=partial(_masked, frame.read, masks))


def _frames(
    settings: EdgeSettings, source: str, stopping: threading.Event
) -> Generator[Frame, None, None]:
    fps, side = settings.fps, settings.side
    if not is_live(source):
        return paced(source, fps, side=side, loop=settings.loop, stopping=stopping)
    patience = Patience(
        settings.open_deadline_s,
        settings.frame_deadline_s,
        settings.reopen_s,
        max(settings.reopen_s, settings.reopen_most_s),
    )
    return live(
        source, fps, side=side, options=settings.source_options, patience=patience,
        stopping=stopping,
    )  # fmt: skip


def _masked(read: Callable[[], Picture], masks: Masks) -> Picture:
    return masks.burn(read())
