"""Boxes drawn on a neutral canvas, or on a photograph that the caller has anyway."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from common.errors import BadPicture
from common.types import Box

_COLOURS = {
    "person": (255, 176, 32),
    "car": (64, 190, 255),
    "motorcycle": (255, 110, 180),
    "bus": (120, 220, 120),
    "truck": (190, 150, 255),
}
_OTHER = (230, 230, 230)
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
    line = max(2, round(min(width, height) / 240))
    font = ImageFont.load_default(max(11, round(min(width, height) / 36)))
    for box in reversed(boxes):  # the surest last, on top
        colour = _COLOURS.get(box.label, _OTHER)
        draw.rectangle((box.x1, box.y1, box.x2, box.y2), outline=colour, width=line)
        _tag(draw, box, colour, font)
    return picture


def read_photo(path: Path) -> Image.Image:
    """The photograph, upright. Raises BadPicture naming the file."""
    try:
        with Image.open(path) as picture:
            return ImageOps.exif_transpose(picture).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadPicture(f"{path}: {error}") from error


def _tag(
    draw: ImageDraw.ImageDraw,
    box: Box,
    colour: tuple[int, int, int],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """Label and score on a filled tab above the box, or inside it at the picture's upper edge."""
    text = f"{box.label} {box.score:.0%}"
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    tall, wide = bottom - top + 6, right - left + 8
    y = box.y1 - tall if box.y1 >= tall else box.y1
    draw.rectangle((box.x1, y, box.x1 + wide, y + tall), fill=colour)
    draw.text((box.x1 + 4 - left, y + 3 - top), text, fill=(15, 15, 15), font=font)


def _neutral(width: int, height: int) -> Image.Image:
    picture = Image.new("RGB", (width, height), _CANVAS)
    draw = ImageDraw.Draw(picture)
    step = max(16, max(width, height) // 16)
    for x in range(step, width, step):
        draw.line((x, 0, x, height), fill=_GRID)
    for y in range(step, height, step):
        draw.line((0, y, width, y), fill=_GRID)
    return picture
