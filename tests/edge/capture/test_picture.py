from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.errors import BadPicture
from edge.capture.picture import decode_picture, read_picture
from tests.weights import photograph


def saved(picture: Image.Image, kind: str = "png", **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def scene() -> Image.Image:
    return Image.fromarray(photograph(np.random.default_rng(3), 120, 160))


def test_rgb_comes_as_it_is(scene: Image.Image) -> None:
    picture = decode_picture(saved(scene))
    np.testing.assert_array_equal(picture.pixels, np.asarray(scene))
    assert (picture.width, picture.height) == (160, 120)


def test_grey_gets_three_channels(scene: Image.Image) -> None:
    grey = scene.convert("L")
    pixels = decode_picture(saved(grey)).pixels
    for channel in range(3):
        np.testing.assert_array_equal(pixels[..., channel], np.asarray(grey))


def test_transparency_is_flattened_onto_white(scene: Image.Image) -> None:
    clear = scene.convert("RGBA")
    clear.putalpha(Image.new("L", scene.size, 0))
    assert (decode_picture(saved(clear)).pixels == 255).all()
    clear.putalpha(Image.new("L", scene.size, 255))
    np.testing.assert_array_equal(decode_picture(saved(clear)).pixels, np.asarray(scene))


def test_a_palette_with_a_transparent_colour() -> None:
    picture = Image.new("P", (8, 8), 0)
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.putpixel((0, 0), 1)
    pixels = decode_picture(saved(picture, transparency=0)).pixels
    assert pixels[0, 0].tolist() == [200, 100, 50]
    assert pixels[4, 4].tolist() == [255, 255, 255]


def test_16_bit_grey_keeps_its_range(scene: Image.Image) -> None:
    grey = np.asarray(scene.convert("L"))
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    np.testing.assert_array_equal(decode_picture(saved(deep)).pixels[..., 1], grey)


def test_16_bit_files_of_8_bit_values_are_not_black(scene: Image.Image) -> None:
    grey = np.asarray(scene.convert("L"))
    shallow = Image.fromarray(grey.astype(np.uint16))
    np.testing.assert_array_equal(decode_picture(saved(shallow)).pixels[..., 1], grey)


def png(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    """A PNG by hand: Pillow writes neither 16-bit colour nor wrong sizes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_16_bit_colour_keeps_its_range() -> None:
    row = b"\0" + struct.pack(">3H", 0xFFFF, 0x8000, 0) * 4
    assert decode_picture(png(4, 4, 16, 2, row * 4)).pixels[2, 2].tolist() == [255, 128, 0]


def test_cmyk_looks_like_its_original(scene: Image.Image) -> None:
    pixels = decode_picture(saved(scene.convert("CMYK"), "jpeg", quality=95)).pixels
    assert np.abs(pixels.astype(int) - np.asarray(scene)).mean() < 5


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I", "F", "P", "YCbCr", "LAB"])
def test_odd_modes_become_rgb(scene: Image.Image, mode: str) -> None:
    source = Image.new("LAB", scene.size) if mode == "LAB" else scene.convert("L").convert(mode)
    kind = "tiff" if mode in ("I", "F", "YCbCr", "LAB") else "png"
    assert decode_picture(saved(source, kind), 80).pixels.shape == (60, 80, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("side", [4096, 64])
def test_exif_rotation(scene: Image.Image, orientation: int, side: int) -> None:
    """A file that says how to turn it comes out upright, also when it is scaled as it is read."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    stored = scene.transpose(undo[orientation]) if orientation > 1 else scene
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = decode_picture(saved(stored, exif=exif), side)
    assert (picture.width, picture.height) == (160, 120)
    expected = decode_picture(saved(scene), side).pixels
    assert picture.pixels.shape == expected.shape
    assert np.abs(picture.pixels.astype(int) - expected).mean() < 1.5


def test_scaling_while_reading_keeps_the_source_size(scene: Image.Image) -> None:
    picture = decode_picture(saved(scene), 64)
    assert picture.pixels.shape == (48, 64, 3)
    assert (picture.width, picture.height) == (160, 120)


def test_4096_is_the_last_size_that_is_taken() -> None:
    assert decode_picture(saved(Image.new("L", (4096, 1)))).width == 4096
    with pytest.raises(BadPicture, match="4097 x 1"):
        decode_picture(saved(Image.new("L", (4097, 1))))


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    with pytest.raises(BadPicture, match="4096"):
        decode_picture(png(30000, 30000, 8, 2, b""))


def test_zero_sized_pictures_are_refused() -> None:
    with pytest.raises(BadPicture):
        decode_picture(png(0, 5, 8, 2, b""))
    with pytest.raises(BadPicture):
        decode_picture(b"GIF89a\0\0\0\0\x80\0\0" + bytes(6) + b",\0\0\0\0\0\0\0\0\0\2\2L\1\0;")


@pytest.mark.parametrize(
    "data", [b"", b"hello", bytes(1000), b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"]
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(BadPicture):
        decode_picture(data)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff", "bmp"])
def test_truncated_files_are_refused_and_never_crash(scene: Image.Image, kind: str) -> None:
    data = saved(scene, kind)
    for length in range(0, len(data) - 8, max(len(data) // 40, 1)):
        with pytest.raises(BadPicture):
            decode_picture(data[:length])


def test_files_are_named_in_errors(tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_text("no picture")
    with pytest.raises(BadPicture, match=r"bad\.jpg: not a picture"):
        read_picture(bad)
    with pytest.raises(BadPicture, match=r"gone\.jpg: No such file"):
        read_picture(tmp_path / "gone.jpg")
    with pytest.raises(BadPicture, match="directory"):
        read_picture(tmp_path)
