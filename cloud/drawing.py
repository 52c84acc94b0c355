"""Boxes drawn on a neutral canvas, or on a photograph that the caller has anyway."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from common.errors import BadPicture
from common.types import Box

COLOURS = {
    "person": (255, 176, 32),
    "car": (64, 190, 255),
    "motorcycle": (255, 110, 180),
    "bus": (120, 220, 120),
    "truck": (190, 150, 255),
}
_OTHER = (230, 230, 230)
Rectangle = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""

_CANVAS, _GRID = (24, 27, 32), (38, 42, 49)


def draw_boxes(
    width: int, height: int, boxes: Sequence[Box], photo: Image.Image | None = None
) -> Image.Image:
    """RGB of width x height pixels. A photo of another size is scaled to it."""
    if photo is None:
        picture = _neutral(width, height)
    else:
        picture = photo.convert("RGB").resize((width, height))
    draw = ImageDraw.Draw(picture)
    line = max(2, round(min(width, height) / 280))
    font = ImageFont.load_default(max(11, round(min(width, height) / 44)))
    for box in reversed(boxes):  # the surest last, on top
        draw.rectangle((box.x1, box.y1, box.x2, box.y2), outline=_colour(box), width=line)
    taken: list[Rectangle] = []
    for box in boxes:
        taken.append(_tag(draw, box, font, (width, height), taken))
    return picture


def read_photo(path: Path) -> Image.Image:
    """The photograph, upright. Raises BadPicture naming the file."""
    try:
        with Image.open(path) as picture:
            return ImageOps.exif_transpose(picture).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadPicture(f"{path}: {error}") from error


def _colour(box: Box) -> tuple[int, int, int]:
    return COLOURS.get(box.label, _OTHER)


def _tag(
    draw: ImageDraw.ImageDraw,
    box: Box,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    size: tuple[int, int],
    taken: Sequence[Rectangle],
) -> Rectangle:
    """Label and score on a filled tab: above the box, below it, or inside, where there is room."""
    text = f"{box.label} {box.score:.0%}"
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    tall, wide = bottom - top + 6, right - left + 8
    x = max(0.0, min(box.x1, size[0] - wide))
    places = [(x, y, x + wide, y + tall) for y in (box.y1 - tall, box.y2, box.y1, box.y2 - tall)]
    inside = [p for p in places if p[1] >= 0 and p[3] <= size[1]] or places
    place = next((p for p in inside if not any(_overlap(p, t) for t in taken)), inside[0])
    draw.rectangle(place, fill=_colour(box))
    draw.text((x + 4 - left, place[1] + 3 - top), text, fill=(15, 15, 15), font=font)
    return place


def _overlap(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _neutral(width: int, height: int) -> Image.Image:
    picture = Image.new("RGB", (width, height), _CANVAS)
    draw = ImageDraw.Draw(picture)
    step = max(16, max(width, height) // 16)
    for x in range(step, width, step):
        draw.line((x, 0, x, height), fill=_GRID)
    for y in range(step, height, step):
        draw.line((0, y, width, y), fill=_GRID)
    return picture
