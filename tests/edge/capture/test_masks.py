from __future__ import annotations

import math

import numpy as np
import pytest

from common.errors import BadSettings
from edge.capture.masks import GREY, Masks
from edge.capture.picture import Picture

RIGHT_HALF = [(0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0)]


def white(width: int, height: int) -> Picture:
    return Picture.whole(np.full((height, width, 3), 255, dtype=np.uint8))


def test_what_is_covered_is_grey_and_the_rest_is_as_it_was() -> None:
    picture = white(100, 60)
    burned = Masks([RIGHT_HALF]).burn(picture).pixels
    assert (burned[:, 50:] == GREY).all()
    assert (burned[:, :48] == 255).all()  # at most two pixels more than the polygon
    assert (picture.pixels == 255).all()


def test_the_whole_picture() -> None:
    corners = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
    for width, height in ((1, 1), (7, 3), (640, 480)):
        assert (Masks([corners]).burn(white(width, height)).pixels == GREY).all()


@pytest.mark.parametrize("size", [(64, 48), (640, 360), (33, 17), (5, 5)])
@pytest.mark.parametrize("seed", range(5))
def test_each_pixel_that_a_polygon_touches_is_covered(size: tuple[int, int], seed: int) -> None:
    """Against a dense sample of points inside a triangle, whatever the pixel grid is."""
    rng = np.random.default_rng(seed)
    triangle = rng.uniform(size=(3, 2))
    shares = rng.dirichlet((0.3, 0.3, 0.3), size=5000)  # many near the edges
    points = np.minimum(shares @ triangle * size, np.array(size) - 1e-9).astype(int)
    burned = Masks([[(x, y) for x, y in triangle.tolist()]]).burn(white(*size)).pixels
    assert (burned[points[:, 1], points[:, 0]] == GREY).all()


def test_several_masks_on_pictures_of_changing_size() -> None:
    left = [(0.0, 0.0), (0.2, 0.0), (0.2, 1.0), (0.0, 1.0)]
    masks = Masks([RIGHT_HALF, left])
    for width, height in ((100, 60), (60, 100), (100, 60)):
        burned = masks.burn(white(width, height)).pixels
        covered = (burned == GREY).all(axis=(0, 2))
        assert covered[: width // 5].all()
        assert covered[width // 2 :].all()
        assert not covered[width // 5 + 2 : width // 2 - 2].any()


def test_the_sources_size_is_kept() -> None:
    small = Picture(white(64, 48).pixels, 1280, 960)
    burned = Masks([RIGHT_HALF]).burn(small)
    assert (burned.width, burned.height, burned.pixels.shape) == (1280, 960, (48, 64, 3))


def test_no_masks_no_copy() -> None:
    picture = white(4, 4)
    assert Masks([]).burn(picture) is picture


@pytest.mark.parametrize(
    ("polygon", "reason"),
    [
        ([(0.0, 0.0), (1.0, 1.0)], "2 corners"),
        ([(0.0, 0.0)] * 65, "65 corners"),
        ([(0.0, 0.0), (1.0, 0.0), (640.0, 480.0)], "outside 0..1"),
        ([(0.0, 0.0), (1.0, 0.0), (0.5, -0.1)], "outside 0..1"),
        ([(0.0, 0.0), (1.0, 0.0), (0.5, math.nan)], "outside 0..1"),
        ([(0.0, 0.0), (1.0, 1.0), (1.0, 0.0), (0.0, 1.0)], "cross"),
        ([(0.1, 0.1), (0.5, 0.5), (0.9, 0.9)], "covers nothing"),
        ([(0.5, 0.5)] * 4, "covers nothing"),
    ],
)
def test_bad_polygons(polygon: list[tuple[float, float]], reason: str) -> None:
    with pytest.raises(BadSettings, match=f"mask 2: .*{reason}"):
        Masks([RIGHT_HALF, polygon])


def test_too_many_masks() -> None:
    with pytest.raises(BadSettings, match="33 masks"):
        Masks([RIGHT_HALF] * 33)
