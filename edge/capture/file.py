"""Frames from a file, one at a time: a folder of pictures, a picture, or a video file.

A source is paced: at `fps` frames a second of the source's own time, replayed at real speed. A
consumer that is late does not pile up work: a frame whose moment has passed is marked late, and its
pixels need never be read.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import av
import av.error
import numpy as np

from common.errors import BadPicture, BadSettings
from common.geometry import MAX_SIDE_PX
from edge.capture.picture import PICTURE_SUFFIXES, Picture, read_picture


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a source.

    position  seconds since the source began
    read      reads it; raises BadPicture
    late      its moment passed more than a frame ago
    age       seconds for which it has waited already, of a live source
    """

    position: float
    read: Callable[[], Picture]
    late: bool = False
    age: float = 0.0


def open_source(source: str, fps: float, side: int = MAX_SIDE_PX) -> Iterator[Frame]:
    """About `fps` frames a second of the source, as fast as they are asked for.

    side  pictures are scaled down to this longer side as they are read

    Raises BadPicture for a source that is not there or holds no picture, BadSettings for fps <= 0.
    """
    if not fps > 0:
        raise BadSettings(f"{fps} frames a second: it must be more than 0")
    path = Path(source)
    if not path.exists():
        raise BadPicture(f"{source}: no such file or folder")
    if path.is_dir():
        return _pictures(path, fps, side)
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return iter([Frame(0.0, partial(read_picture, path, side))])
    return _video(path, fps)


def _pictures(folder: Path, fps: float, side: int) -> Iterator[Frame]:
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES)
    if not paths:
        raise BadPicture(f"{folder}: no pictures in this folder")
    return (Frame(i / fps, partial(read_picture, path, side)) for i, path in enumerate(paths))


def _video(path: Path, fps: float) -> Iterator[Frame]:
    """Those frames of the video that are nearest to every 1 / fps seconds."""
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise BadPicture(f"{path}: no video in this file")
            stream = container.streams.video[0]
            between = 1 / float(stream.average_rate or 25)
            first: float | None = None
            due = 0.0
            for number, picture in enumerate(container.decode(stream)):
                moment = number * between if picture.time is None else picture.time
                first = moment if first is None else first
                position = moment - first
                if position + between / 2 >= due:
                    due = max(due + 1 / fps, position)
                    yield Frame(position, partial(_rgb, picture))
    except av.error.FFmpegError as error:
        raise BadPicture(f"{path}: {error.strerror or error}") from error


def _rgb(picture: av.VideoFrame) -> Picture:
    return Picture.whole(np.ascontiguousarray(picture.to_ndarray(format="rgb24")))


def paced(
    source: str,
    fps: float,
    *,
    side: int = MAX_SIDE_PX,
    loop: bool = False,
    stopping: threading.Event | None = None,
) -> Generator[Frame, None, None]:
    """The same in real time: each frame comes at its moment, or marked late.

    loop      begin again when the source ends
    stopping  ends the source at once when it is set, also while this waits for a moment
    """
    stopping = stopping or threading.Event()
    start = time.monotonic()
    length = 0.0
    for _ in itertools.count() if loop else range(1):
        offset = length
        for frame in open_source(source, fps, side):
            position = offset + frame.position
            length = position + 1 / fps
            early = start + position - time.monotonic()
            if stopping.wait(max(early, 0.0)):
                return
            yield replace(frame, position=position, late=-early > 1 / fps)
        if length == offset:
            return
