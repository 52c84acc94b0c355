"""The process that reads a live source: `python -m edge.capture.grabber`, spoken to over pipes.

It is a process because read() on a dead stream can hang for ever, inside a library that no thread
can be called back from; a process can be killed. It decodes all that comes and keeps the newest
picture only; one that is asked for is converted, scaled and written. So its memory is bounded by
two pictures, however slow the reader is.

    standard input   one line of JSON, {"source", "side", "options"}, then a byte a picture wanted
    standard output  for each of those bytes one answer: ANSWER, then `length` bytes

An answer is a picture (rows of RGB) that is newer than the one before, or the reason why no more
will come. The end of standard input ends the process: no reader leaves one behind, even if killed.
"""

from __future__ import annotations

import io
import json
import os
import struct
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import av
import av.error
from PIL import Image

from common.errors import BadPicture
from common.geometry import working_size
from edge.capture.address import is_device
from edge.capture.picture import scale

PICTURE, TROUBLE = b"p", b"t"

ANSWER = struct.Struct("<cHHHHId")
"""kind, width and height of the source, columns and rows sent, length, age of the picture (s)."""

LONGEST_REASON = 1000  # bytes

# Over UDP one lost packet spoils a picture until the next key frame; and a camera behind NAT or a
# firewall is reached over TCP only. The rate need not be probed for: it is not used.
_STREAM_OPTIONS = {"rtsp_transport": "tcp", "fpsprobesize": "0"}


@dataclass(slots=True)
class _Newest:
    """The newest picture that nobody has taken, and why there will be no other."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    picture: av.VideoFrame | None = None
    moment: float = 0.0  # when it was decoded, seconds of the monotonic clock
    trouble: str = ""

    def put(self, picture: av.VideoFrame) -> None:
        with self.changed:
            self.picture, self.moment = picture, time.monotonic()
            self.changed.notify()

    def fail(self, reason: str) -> None:
        with self.changed:
            self.trouble = reason
            self.changed.notify()

    def take(self) -> tuple[av.VideoFrame | None, float]:
        """Waits for a picture; None when there will be none."""
        with self.changed:
            self.changed.wait_for(lambda: self.picture is not None or self.trouble)
            picture, self.picture = self.picture, None
            return picture, self.moment


def main() -> None:
    request = json.loads(sys.stdin.buffer.readline())
    newest = _Newest()
    wanted = threading.Semaphore(0)
    threading.Thread(target=_read, args=(request, newest), daemon=True).start()
    threading.Thread(target=_write, args=(request["side"], newest, wanted), daemon=True).start()
    while sys.stdin.buffer.read(1):
        wanted.release()
    os._exit(0)  # not sys.exit: that would wait for what may hang


def _read(request: dict[str, Any], newest: _Newest) -> None:
    try:
        for picture in _pictures(request["source"], request["options"]):
            newest.put(picture)
        newest.fail("the stream has ended")
    except av.error.FFmpegError as error:
        newest.fail(error.strerror or str(error))
    except Exception as error:  # noqa: BLE001  this task's top: the reader is told
        newest.fail(f"{type(error).__name__}: {error}")


def _pictures(source: str, options: dict[str, str]) -> Iterator[av.VideoFrame]:
    kind = "v4l2" if is_device(source) else None
    usual = {} if is_device(source) else _STREAM_OPTIONS
    with av.open(source, format=kind, options=usual | options) as container:
        if not container.streams.video:
            raise BadPicture("no video in this stream")
        for packet in container.demux(container.streams.video[0]):
            try:
                yield from packet.decode()
            except av.error.InvalidDataError:
                continue  # a damaged packet: the next key frame mends it, or the deadline passes


def _write(side: int, newest: _Newest, wanted: threading.Semaphore) -> None:
    # Not sys.stdout: whatever a library prints must not come between two answers.
    out = os.fdopen(1, "wb")
    while wanted.acquire():
        picture, moment = newest.take()
        try:
            head, body = _answer(picture, moment, side, newest.trouble)
        except BadPicture as error:
            head, body = _trouble(str(error))
        try:
            out.write(head)
            out.write(body)
            out.flush()
        except OSError:
            os._exit(0)  # the reader is gone


def _answer(
    picture: av.VideoFrame | None, moment: float, side: int, trouble: str
) -> tuple[bytes, bytes]:
    if picture is None:
        return _trouble(trouble)
    width, height = picture.width, picture.height
    size = working_size(width, height, side)
    body = scale(Image.fromarray(picture.to_ndarray(format="rgb24")), size).tobytes()
    age = time.monotonic() - moment
    return ANSWER.pack(PICTURE, width, height, *size, len(body), age), body


def _trouble(reason: str) -> tuple[bytes, bytes]:
    body = reason.encode()[:LONGEST_REASON]
    return ANSWER.pack(TROUBLE, 0, 0, 0, 0, len(body), 0.0), body


if __name__ == "__main__":
    sys.stdout = io.StringIO()
    main()
