"""Video codecs as a camera would use them live: one frame in, one frame out, nothing held back.

    pictures ──scale, 4:2:0──> frames ──encoder──> packets ──decoder──> pictures, as coded

x265      tune zerolatency, no B-frames; crf 0..51. Bits for the eye's sake (psy-rd) are off: a
          detector does not miss them
SVT-AV1   low-delay prediction, no look-ahead; crf 1..63

What counts is the elementary stream, with every header that a decoder needs and none besides; an
MP4 file's length is told beside. One thread each.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.video.stream import VideoStream

from common.errors import BadSettings
from train.codecs import resized
from train.data import Pixels

os.environ.setdefault("SVT_LOG", "1")  # errors; it would write a page to stderr for every clip

NEVER = 9999  # frames between key frames that no clip reaches


@dataclass(frozen=True, slots=True)
class VideoSetting:
    """One way to code a clip.

    codec   one of VIDEO_CODECS
    preset  on the codec's own scale
    keyint  frames from one key frame to the next, at most
    side    longer side in pixels of what is coded
    crf     constant rate factor
    """

    codec: str
    preset: str
    keyint: int
    side: int
    crf: int

    def __str__(self) -> str:
        keys = "one key frame" if self.keyint >= NEVER else f"key frames every {self.keyint}"
        return f"preset {self.preset}, crf {self.crf}, {keys}"


@dataclass(frozen=True)
class Stream:
    """A coded clip.

    packets     one a picture, in order; the first one carries the parameter sets
    file_bytes  the length of an MP4 file of it
    """

    packets: Sequence[bytes]
    file_bytes: int


@dataclass(frozen=True)
class _Codec:
    encoder: str
    decoder: str
    parameters: str  # the option that takes `options`
    options: str
    tune: str | None = None
    delimiter: bytes = b""  # before each packet: an MP4 file and our count do without
    headers_apart: bool = False


VIDEO_CODECS = {
    "x265": _Codec(
        "libx265",
        "hevc",
        "x265-params",
        "keyint={0}:min-keyint={0}:scenecut=0:bframes=0:psy-rd=0:psy-rdoq=0"
        ":info=0:log-level=none:pools=none:frame-threads=1",
        tune="zerolatency",
        headers_apart=True,
    ),
    "svt-av1": _Codec(
        "libsvtav1",
        "libdav1d",
        "svtav1-params",
        "keyint={0}:pred-struct=1:lookahead=0:scd=0:scm=0:rtc=0:lp=1",
        delimiter=b"\x12\x00",
    ),
}


def check_codec(name: str) -> None:
    """Raises BadSettings for a codec that is not known, or not in this build of PyAV."""
    if name not in VIDEO_CODECS:
        raise BadSettings(f"no such video codec: {name}; there are {', '.join(VIDEO_CODECS)}")
    codec = VIDEO_CODECS[name]
    for part in (codec.encoder, codec.decoder):
        if part not in av.codec.codecs_available:
            raise BadSettings(f"{name}: this build of PyAV has no {part}")


def options(name: str) -> str:
    """What the codec is told, for the record; {0} is the distance of key frames."""
    codec = VIDEO_CODECS[name]
    return f"tune={codec.tune}:{codec.options}" if codec.tune else codec.options


def encode(pictures: Sequence[Pixels], setting: VideoSetting, fps: float) -> Stream:
    """The clip of these pictures H W 3, all of one size, scaled to `setting.side`.

    Raises BadSettings as `check_codec` does, or where the encoder holds a picture back.
    """
    check_codec(setting.codec)
    codec = VIDEO_CODECS[setting.codec]
    width, height = coded_size(pictures[0], setting.side)
    told = {
        "preset": setting.preset,
        "crf": str(setting.crf),
        codec.parameters: codec.options.format(setting.keyint),
    }
    if codec.tune:
        told["tune"] = codec.tune
    file, packets = io.BytesIO(), []
    with _same_priority(), av.open(file, "w", format="mp4") as container:
        rate = Fraction(fps).limit_denominator(1000)
        stream = cast(VideoStream, container.add_stream(codec.encoder, rate, told))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        for i, picture in enumerate(pictures):
            small = np.ascontiguousarray(resized(picture, width, height))
            frame = av.VideoFrame.from_ndarray(small, format="rgb24").reformat(format="yuv420p")
            frame.pts = i
            for packet in stream.encode(frame):
                packets.append(bytes(packet).removeprefix(codec.delimiter))
                container.mux(packet)
            if len(packets) != i + 1:
                raise BadSettings(f"{setting.codec}, {setting}: not one packet for each picture")
        container.mux(stream.encode(None))
        if codec.headers_apart:
            packets[0] = bytes(stream.codec_context.extradata or b"") + packets[0]
    return Stream(packets, file.tell())


@contextmanager
def _same_priority() -> Iterator[None]:
    """SVT-AV1, run by root, makes its caller a real-time thread and leaves it one.

    All that the caller starts later would be so too, and can starve a machine for ever.
    """
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, priority)


def decode(stream: Stream, setting: VideoSetting) -> list[Pixels]:
    """The pictures of a clip at the size at which they were coded."""
    decoder = VIDEO_CODECS[setting.codec].decoder
    context = cast(av.VideoCodecContext, av.CodecContext.create(decoder, "r"))
    context.thread_count = 1
    frames = [frame for data in stream.packets for frame in context.decode(av.Packet(data))]
    frames += context.decode(None)
    return [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in frames]


def coded_size(picture: Pixels, side: int) -> tuple[int, int]:
    """(width, height) in pixels, both even, as 4:2:0 asks; the longer one about `side`."""
    height, width = picture.shape[:2]
    share = min(1.0, side / max(height, width))
    return max(2 * round(width * share / 2), 16), max(2 * round(height * share / 2), 16)


def versions() -> dict[str, str]:
    """Of the library that carries the codecs."""
    libraries = {name: ".".join(map(str, v)) for name, v in av.library_versions.items()}
    return {"av": av.__version__, "libavcodec": libraries["libavcodec"]}
