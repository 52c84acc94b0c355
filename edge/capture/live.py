"""Pictures of a live source, a stream or a USB camera, whatever becomes of the source.

The source is read by a process of its own (grabber.py). A picture is asked for when its moment
has come; if none comes in time the process is killed, and another one opens the source after a
pause that doubles with each failure. So nothing that hangs there hangs here.
"""

from __future__ import annotations

import json
import math
import os
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import structlog

from common.errors import BadPicture, BadSettings
from common.geometry import MAX_SIDE_PX
from edge.capture.address import is_device, shown
from edge.capture.file import Frame
from edge.capture.grabber import ANSWER, LONGEST_REASON, PICTURE
from edge.capture.picture import Picture

log = structlog.get_logger()

_ROOT = Path(__file__).parents[2]
_GLANCE_S = 0.05  # how often a wait for the source looks whether it is to stop
_STEADY_S = 10.0  # a source that gave pictures for so long is not failing: pauses begin anew


@dataclass(frozen=True, slots=True)
class Patience:
    """Deadlines and pauses, in seconds.

    open_s    from opening to the first picture
    frame_s   from one picture to the next
    reopen_s  pause before the source is opened again; doubles up to
    most_s    this one
    """

    open_s: float = 20.0
    frame_s: float = 5.0
    reopen_s: float = 1.0
    most_s: float = 30.0


def live(
    source: str,
    fps: float,
    *,
    side: int = MAX_SIDE_PX,
    options: dict[str, str] | None = None,
    patience: Patience | None = None,
    stopping: threading.Event | None = None,
) -> Generator[Frame, None, None]:
    """At most `fps` frames a second, each the newest of its moment; ends when `stopping` is set.

    source   a URL (rtsp, rtsps, http, https, tcp, udp) or the path of a V4L2 device
    side     pictures are scaled down to this longer side
    options  for FFmpeg's reader of the source, such as video_size

    Raises BadPicture for a device that is not there at the start, BadSettings for fps <= 0. A
    source that is lost later, or a stream that does not answer yet, is waited for.
    """
    if not fps > 0:
        raise BadSettings(f"{fps} frames a second: it must be more than 0")
    if is_device(source) and not Path(source).exists():
        raise BadPicture(f"{source}: no such device; {_devices()}")
    patience, stopping = patience or Patience(), stopping or threading.Event()
    return _live(source, 1 / fps, side, options or {}, patience, stopping)


def _live(
    source: str,
    gap: float,
    side: int,
    options: dict[str, str],
    patience: Patience,
    stopping: threading.Event,
) -> Generator[Frame, None, None]:
    start = time.monotonic()
    pause = patience.reopen_s
    while not stopping.is_set():
        first = math.inf  # when the first picture came
        try:
            with Grabber(source, side, options) as grabber:
                for picture, age in _paced(grabber, gap, patience, stopping):
                    now = time.monotonic()
                    first = min(first, now)
                    yield Frame(now - start - age, partial(_given, picture), age=age)
        except Lost as lost:
            if time.monotonic() - first > _STEADY_S:
                pause = patience.reopen_s
            log.warning("no pictures", source=shown(source), reason=str(lost), again_in_s=pause)
            stopping.wait(pause)
            pause = min(2 * pause, patience.most_s)


def _paced(
    grabber: Grabber, gap: float, patience: Patience, stopping: threading.Event
) -> Iterator[tuple[Picture, float]]:
    """Pictures and their ages in seconds, one every `gap` seconds. Raises Lost."""
    within, due = patience.open_s, -math.inf
    while not stopping.wait(max(due - time.monotonic(), 0.0)):
        answer = grabber.picture(within, stopping)
        if answer is None:
            return
        if answer[1] > patience.frame_s:
            raise Lost(f"the newest picture is {answer[1]:.1f} s old")
        yield answer
        # After a late picture the next is asked for at once, and none is asked for twice.
        now = time.monotonic()
        within, due = patience.frame_s, now + gap if math.isinf(due) else max(due + gap, now)


def _given(picture: Picture) -> Picture:
    return picture


class Lost(Exception):
    """The source cannot be opened, has ended or hangs; it may come back."""


class Grabber:
    """One process that reads one source. It does not outlive the `with`, nor this process.

    Raises Lost when the system has no process to spare.
    """

    def __init__(self, source: str, side: int, options: dict[str, str]) -> None:
        self._process = _spawn()
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("Popen was asked for pipes and gave none")
        self._input, self._output = self._process.stdin, self._process.stdout
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._output, selectors.EVENT_READ)
        # Not among the arguments: those can be read by anyone, and a URL may hold a password.
        request = {"source": source, "side": side, "options": options}
        self._unsaid = json.dumps(request).encode() + b"\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._selector.close()
        self._input.close()
        self._output.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def picture(self, within: float, stopping: threading.Event) -> tuple[Picture, float] | None:
        """The newest picture and its age in seconds; None when `stopping` was set meanwhile.

        Raises Lost when none comes `within` so many seconds, or none will come.
        """
        self._ask()
        deadline = time.monotonic() + within
        try:
            head = self._read(ANSWER.size, deadline, stopping)
            kind, width, height, columns, rows, length, age = ANSWER.unpack(head)
            if length > max(3 * MAX_SIDE_PX**2, LONGEST_REASON):
                raise Lost("the reading process wrote nonsense")
            body = self._read(length, deadline, stopping)
        except _Stopped:
            return None
        except TimeoutError:
            raise Lost(f"no picture within {within:g} s") from None
        if kind != PICTURE:
            raise Lost(body.decode(errors="replace"))
        pixels = np.frombuffer(body, dtype=np.uint8).reshape(rows, columns, 3)
        return Picture(pixels, width, height), age

    def _ask(self) -> None:
        try:
            self._input.write(self._unsaid + b".")
            self._unsaid = b""
        except BrokenPipeError:
            raise Lost("the reading process has ended") from None

    def _read(self, count: int, deadline: float, stopping: threading.Event) -> bytearray:
        data = bytearray(count)
        rest = memoryview(data)
        while rest:
            if stopping.is_set():
                raise _Stopped
            if time.monotonic() > deadline:
                raise TimeoutError
            if self._selector.select(_GLANCE_S):
                got = os.readv(self._output.fileno(), [rest])
                if not got:
                    raise Lost("the reading process has ended")
                rest = rest[got:]
        return data


class _Stopped(Exception):
    """There is no need for an answer any more."""


def _spawn() -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C is for this process, which then ends that one.
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "edge.capture.grabber"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": _python_path()}, start_new_session=True, bufsize=0,
        )  # fmt: skip
    except OSError as error:
        raise Lost(f"no process to read it: {error.strerror or error}") from error


def _python_path() -> str:
    """So that the other process finds this package wherever it was started."""
    return os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))


def _devices() -> str:
    found = ", ".join(sorted(map(str, Path("/dev").glob("video*"))))
    return f"there are {found}" if found else "there is no camera in /dev: is it plugged in?"
