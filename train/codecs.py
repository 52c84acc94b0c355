"""Image codecs as an edge would use them: scale a picture down, code it, and show it again.

    pixels ──scale──> smaller picture ──codec──> bytes ──decode──> picture, as coded or scaled back

JPEG      libjpeg-turbo, 4:2:0, Huffman tables made for the picture; quality 0..100
WebP      libwebp, lossy, its slowest method; quality 0..100
AVIF      libavif with its default encoder and speed, 4:2:0; quality 0..100
JPEG XL   libjxl, effort 7, bare codestream; quality 0..100
HEVC      x265, one intra picture, preset medium, 4:2:0, a bare Annex B stream; CRF 51..0

One thread each. Colours are 8-bit RGB at both ends.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import pillow_jxl  # noqa: F401  registers JPEG XL with Pillow
from PIL import Image

from train.data import Pixels


@dataclass(frozen=True, slots=True)
class Setting:
    """codec, one of CODECS; scale, 0..1 of each side; quality, on the codec's own scale."""

    codec: str
    scale: float
    quality: int


@dataclass(frozen=True)
class _Codec:
    encode: Callable[[Image.Image, int], bytes]
    decode: Callable[[bytes], Image.Image]
    payload: Callable[[bytes], int] = len  # bytes without the file's container


def encode(picture: Pixels, setting: Setting) -> bytes:
    """The file of a picture H W 3."""
    image = Image.fromarray(scaled(picture, setting.scale))
    return CODECS[setting.codec].encode(image, setting.quality)


def decode(data: bytes, setting: Setting, width: int, height: int) -> Pixels:
    """The picture as it was coded, at `scale` of its source of width x height pixels."""
    wide, high = coded_size(width, height, setting.scale)
    return np.asarray(CODECS[setting.codec].decode(data).crop((0, 0, wide, high)))


def payload_bytes(data: bytes, codec: str) -> int:
    """Length of what the decoder itself needs: the file without its container."""
    return CODECS[codec].payload(data)


def coded_size(width: int, height: int, scale: float) -> tuple[int, int]:
    """(width, height) of the picture that is coded; at least 16 pixels a side, as x265 asks."""
    return max(16, round(width * scale)), max(16, round(height * scale))


def scaled(picture: Pixels, scale: float) -> Pixels:
    """The picture that is coded."""
    height, width = picture.shape[:2]
    return resized(picture, *coded_size(width, height, scale))


def resized(picture: Pixels, width: int, height: int) -> Pixels:
    """The picture at width x height pixels, by the filter that costs a detector least."""
    if picture.shape[:2] == (height, width):
        return picture
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


def _pillow(file_format: str, **options: object) -> Callable[[Image.Image, int], bytes]:
    def encode_one(image: Image.Image, quality: int) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, file_format, quality=quality, **options)
        return buffer.getvalue()

    return encode_one


def _open(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB")


def _hevc(image: Image.Image, crf: int) -> bytes:
    pixels = np.asarray(image)
    odd = ((0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0))
    frame = av.VideoFrame.from_ndarray(np.pad(pixels, odd, mode="edge"), format="rgb24")
    context = av.VideoCodecContext.create("libx265", "w")
    context.width, context.height = frame.width, frame.height
    context.pix_fmt = "yuv420p"
    context.time_base = Fraction(1, 25)
    quiet = "keyint=1:info=0:log-level=none:pools=none:frame-threads=1"
    context.options = {"preset": "medium", "crf": str(crf), "x265-params": quiet}
    packets = [*context.encode(frame.reformat(format="yuv420p")), *context.encode(None)]
    return b"".join(bytes(packet) for packet in packets)


def _open_hevc(data: bytes) -> Image.Image:
    context = av.VideoCodecContext.create("hevc", "r")
    (frame,) = [*context.decode(av.Packet(data)), *context.decode(None)]
    return Image.fromarray(frame.to_ndarray(format="rgb24"))


def _media_box(data: bytes) -> int:
    """Length of an ISO base media file's `mdat` contents; the other boxes are container."""
    at, found = 0, 0
    while at + 8 <= len(data):
        size, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        if kind == b"mdat":
            found += size - 8
        at += max(size, 8)
    return found


CODECS = {
    "jpeg": _Codec(_pillow("JPEG", optimize=True), _open),
    "webp": _Codec(_pillow("WEBP", method=6), _open, lambda data: len(data) - 20),  # RIFF and VP8
    "avif": _Codec(_pillow("AVIF", max_threads=1), _open, _media_box),
    "jxl": _Codec(_pillow("JXL", num_threads=0), _open),
    "hevc": _Codec(_hevc, _open_hevc),
}
