"""Privacy masks: polygons that are painted grey before anything else sees the picture.

A pixel that a polygon touches is painted, and one pixel more all around: a picture that was scaled
down mixes neighbours, and what is hidden must not shine through its own edge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from common.errors import BadSettings
from edge.capture.picture import Picture

Point = tuple[float, float]
Polygon = Sequence[Point]
"""Corners (x, y) in fractions of the picture: 0 0 is its upper left, 1 1 its lower right corner."""

Hidden = NDArray[np.bool_]
"""H W: True where a pixel is covered."""

MOST_MASKS = 32
MOST_CORNERS = 64
GREY = 128

# A pixel that the polygon touches has its middle inside, or within half a diagonal of an edge.
_REACH = math.sqrt(0.5) + 1
_SMALLEST_AREA = 1e-6  # of the picture: four pixels of 2048 x 2048


class Masks:
    """The masks of one camera. Raises BadSettings for polygons that hide nothing or are unclear."""

    def __init__(self, polygons: Sequence[Polygon]) -> None:
        faults = mask_faults(polygons)
        if faults:
            raise BadSettings("; ".join(faults))
        self._polygons = [list(polygon) for polygon in polygons]
        self._hidden: Hidden = np.zeros((0, 0), dtype=np.bool_)

    def burn(self, picture: Picture) -> Picture:
        """The picture with what the masks cover in plain grey; the given one is not changed."""
        if not self._polygons:
            return picture
        height, width = picture.pixels.shape[:2]
        if self._hidden.shape != (height, width):
            self._hidden = _hidden(self._polygons, width, height)
        pixels = picture.pixels.copy()
        pixels[self._hidden] = GREY
        return Picture(pixels, picture.width, picture.height)


def mask_faults(polygons: Sequence[Polygon]) -> list[str]:
    """What is wrong with each polygon that cannot be used."""
    if len(polygons) > MOST_MASKS:
        return [f"{len(polygons)} masks; at most {MOST_MASKS}"]
    named = ((number, _fault(polygon)) for number, polygon in enumerate(polygons, start=1))
    return [f"mask {number}: {fault}" for number, fault in named if fault]


def _fault(polygon: Polygon) -> str | None:
    if not 3 <= len(polygon) <= MOST_CORNERS:
        return f"{len(polygon)} corners; a polygon has 3 to {MOST_CORNERS}"
    for x, y in polygon:
        if not (math.isfinite(x) and math.isfinite(y) and 0 <= x <= 1 and 0 <= y <= 1):
            return f"corner ({x:g}, {y:g}) is outside 0..1: corners are fractions of the picture"
    if _crosses_itself(polygon):
        return "its edges cross: what lies inside is unclear"
    if _area(polygon) < _SMALLEST_AREA:
        return "it covers nothing"
    return None


def _area(polygon: Polygon) -> float:
    """By the shoelace formula."""
    return abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in _edges(polygon))) / 2


def _crosses_itself(polygon: Polygon) -> bool:
    return any(_cross(*first, *second) for first, second in combinations(_edges(polygon), 2))


def _edges(polygon: Polygon) -> list[tuple[Point, Point]]:
    return list(pairwise([*polygon, polygon[0]]))


def _cross(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Whether the edges a-b and c-d have a point in common that is inside both."""
    return _side(a, b, c) * _side(a, b, d) < 0 and _side(c, d, a) * _side(c, d, b) < 0


def _side(a: Point, b: Point, point: Point) -> float:
    """Positive on one side of the line a-b, negative on the other."""
    return (b[0] - a[0]) * (point[1] - a[1]) - (b[1] - a[1]) * (point[0] - a[0])


def _hidden(polygons: Sequence[Polygon], width: int, height: int) -> Hidden:
    """H W: which pixels are covered.

    Not drawn by Pillow: it leaves out pixels at the thin end of a polygon, and a mask may not.
    """
    hidden = np.zeros((height, width), dtype=np.bool_)
    for polygon in polygons:
        inside = np.zeros_like(hidden)
        for a, b in _edges([(x * width, y * height) for x, y in polygon]):
            _toggle_left_of(inside, a, b)
            _cover_near(hidden, a, b)
        hidden |= inside
    return hidden


def _toggle_left_of(inside: Hidden, a: Point, b: Point) -> None:
    """Once for each edge: what is toggled an odd number of times in all is inside (even-odd)."""
    (x1, y1), (x2, y2) = sorted((a, b), key=lambda point: point[1])
    rows = slice(math.ceil(y1 - 0.5), math.ceil(y2 - 0.5))  # rows whose middle the edge passes
    y = np.arange(rows.start, rows.stop)[:, None] + 0.5
    x = np.arange(inside.shape[1]) + 0.5
    if y.size:
        inside[rows] ^= x < x1 + (y - y1) * (x2 - x1) / (y2 - y1)


def _cover_near(hidden: Hidden, a: Point, b: Point) -> None:
    """Covers the pixels whose middle is within reach of the edge."""
    height, width = hidden.shape
    (x1, y1), (x2, y2) = a, b
    rows = slice(max(int(min(y1, y2) - _REACH), 0), min(int(max(y1, y2) + _REACH) + 1, height))
    columns = slice(max(int(min(x1, x2) - _REACH), 0), min(int(max(x1, x2) + _REACH) + 1, width))
    x = np.arange(columns.start, columns.stop) + 0.5 - x1
    dx, dy = x2 - x1, y2 - y1
    for row in range(rows.start, rows.stop):  # one at a time: less memory for a large picture
        y = row + 0.5 - y1
        along = ((x * dx + y * dy) / ((dx * dx + dy * dy) or 1.0)).clip(0, 1)
        hidden[row, columns] |= np.hypot(x - along * dx, y - along * dy) <= _REACH
