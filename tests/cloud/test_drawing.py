"""Boxes on a canvas or a photograph."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from cloud.drawing import draw_boxes, read_photo
from common.errors import BadPicture
from common.types import Box


def colours(picture: Image.Image) -> set[tuple[int, ...]]:
    return {tuple(c) for _, c in picture.getcolors(1 << 24)}  # type: ignore[union-attr, arg-type]


def test_the_canvas_has_the_size_of_the_source() -> None:
    picture = draw_boxes(321, 123, [])
    assert (picture.size, picture.mode) == ((321, 123), "RGB")
    assert len(colours(picture)) == 2  # ground and grid


def test_a_box_is_where_it_says() -> None:
    empty = draw_boxes(200, 150, [])
    picture = draw_boxes(200, 150, [Box("car", 0.5, 50, 60, 150, 140)])
    colour = picture.getpixel((50, 100))
    assert colour == picture.getpixel((150, 100)) == picture.getpixel((100, 140))
    assert colour != empty.getpixel((50, 100))
    assert picture.getpixel((100, 100)) == empty.getpixel((100, 100))  # inside
    assert picture.getpixel((40, 100)) == empty.getpixel((40, 100))  # outside


def test_labels_differ_in_colour_and_an_unknown_one_has_one() -> None:
    labels = ("person", "car", "motorcycle", "bus", "truck", "giraffe")
    found = {
        draw_boxes(90, 90, [Box(label, 0.5, 20, 30, 70, 80)]).getpixel((20, 60)) for label in labels
    }
    assert len(found) == len(labels)


@pytest.mark.parametrize(
    "box",
    [(0, 0, 1, 1), (0, 0, 100, 80), (99, 79, 100, 80), (-50, -50, 500, 500), (30, 30, 30, 30)],
    ids=str,
)
def test_boxes_at_the_edges(box: tuple[float, float, float, float]) -> None:
    assert draw_boxes(100, 80, [Box("person", 0.99, *box)]).size == (100, 80)


@pytest.mark.parametrize("size", [(1, 1), (1, 4096), (4096, 3)])
def test_odd_canvases(size: tuple[int, int]) -> None:
    assert draw_boxes(*size, [Box("bus", 1.0, 0, 0, *size)]).size == size


def test_a_photo_is_the_ground_and_is_scaled() -> None:
    photo = Image.new("L", (20, 10), 200)
    picture = draw_boxes(200, 100, [Box("car", 0.5, 50, 50, 90, 90)], photo)
    assert picture.size == (200, 100)
    assert picture.getpixel((10, 10)) == (200, 200, 200)


class TestPhotos:
    def test_it_stands_upright(self, tmp_path: Path) -> None:
        path = tmp_path / "photo.jpg"
        exif = Image.Exif()
        exif[0x0112] = 6  # the camera was turned
        Image.new("RGB", (40, 20)).save(path, exif=exif)
        assert read_photo(path).size == (20, 40)

    @pytest.mark.parametrize("data", [None, b"", b"no picture", b"\x89PNG\r\n\x1a\n\x00\x00"])
    def test_what_is_no_photo(self, tmp_path: Path, data: bytes | None) -> None:
        path = tmp_path / "photo.jpg"
        if data is not None:
            path.write_bytes(data)
        with pytest.raises(BadPicture, match=r"photo\.jpg"):
            read_photo(path)
