"""A real RTSP server (RFC 2326, RTP interleaved in its TCP connection) that misbehaves on demand.

Its pictures are flat grey, 64 x 48, each key frames in MPEG-4 (RFC 3016: the bits as they are, cut
into packets). Picture n has the brightness 10 (n mod 25).
"""

from __future__ import annotations

import itertools
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import cache

import av
import numpy as np

SDP = """v=0\r
o=- 0 0 IN IP4 127.0.0.1\r
s=camera\r
t=0 0\r
m=video 0 RTP/AVP 96\r
c=IN IP4 0.0.0.0\r
a=rtpmap:96 MP4V-ES/90000\r
a=control:track1\r
"""


@cache
def coded() -> tuple[bytes, ...]:
    encoder = av.CodecContext.create("mpeg4", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = 64, 48, "yuv420p"
    encoder.framerate = Fraction(25)
    encoder.gop_size = 1
    shades = (np.full((48, 64, 3), 10 * n, dtype=np.uint8) for n in range(25))
    return tuple(
        bytes(packet)
        for shade in shades
        for packet in encoder.encode(av.VideoFrame.from_ndarray(shade, format="rgb24"))
    )


class RtspServer:
    """stalled  while it is set, connections stay open and nothing is sent
    fps      pictures a second
    opened   how many clients have come as far as PLAY
    """

    def __init__(self, fps: float = 50.0) -> None:
        self.fps = fps
        self.stalled = threading.Event()
        self.opened = 0
        self.requests: list[str] = []
        self._listener: socket.socket | None = None
        self._clients: set[socket.socket] = set()
        self.port = 0

    @property
    def url(self) -> str:
        return f"rtsp://user:secret@127.0.0.1:{self.port}/live"

    def start(self) -> None:
        """Listens; again on the same port after `die`."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def die(self) -> None:
        """Closes every connection and listens no more."""
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        for client in list(self._clients):
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._clients.add(client)
        with suppress(OSError), client, client.makefile("rb") as lines:
            while request := self._request(lines):
                method, number = request
                self.requests.append(method)
                client.sendall(self._reply(method, number))
                if method == "PLAY":
                    self.opened += 1
                    threading.Thread(target=self._play, args=(client,), daemon=True).start()
        self._clients.discard(client)

    def _request(self, lines) -> tuple[str, str] | None:
        """Method and number of the next request; skips the receiver's reports between them."""
        while (first := lines.read(1)) == b"$":
            _, length = struct.unpack(">BH", lines.read(3))
            lines.read(length)
        if not first:
            return None
        method = (first + lines.readline()).split()[0].decode()
        number = "0"
        while (line := lines.readline().decode().strip()) != "":
            name, _, value = line.partition(":")
            if name.lower() == "cseq":
                number = value.strip()
        return method, number

    def _reply(self, method: str, number: str) -> bytes:
        head = f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\nSession: 1\r\n"
        body = ""
        match method:
            case "OPTIONS":
                head += "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
            case "DESCRIBE":
                head += f"Content-Type: application/sdp\r\nContent-Length: {len(SDP)}\r\n"
                body = SDP
            case "SETUP":
                head += "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
        return f"{head}\r\n{body}".encode()

    def _play(self, client: socket.socket) -> None:
        sequence = itertools.count()
        start = time.monotonic()
        with suppress(OSError):
            for picture, data in enumerate(itertools.cycle(coded())):
                time.sleep(max(start + picture / self.fps - time.monotonic(), 0.0))
                if not self.stalled.is_set():
                    client.sendall(packets(data, int(picture / self.fps * 90000), sequence))


def packets(data: bytes, timestamp: int, sequence: Iterator[int]) -> bytes:
    """RTP packets of one picture, each framed for an RTSP connection; the last one is marked."""
    parts = [data[i : i + 1400] for i in range(0, len(data), 1400)]
    out = b""
    for i, part in enumerate(parts):
        marker = 0x80 if i == len(parts) - 1 else 0
        number = next(sequence) & 0xFFFF
        packet = struct.pack(">BBHII", 0x80, marker | 96, number, timestamp, 7) + part
        out += struct.pack(">cBH", b"$", 0, len(packet)) + packet
    return out


@contextmanager
def rtsp_server(fps: float = 50.0) -> Iterator[RtspServer]:
    server = RtspServer(fps)
    server.start()
    try:
        yield server
    finally:
        server.die()
