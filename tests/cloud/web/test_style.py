"""One colour a class, on the page as in the pictures that the command line draws."""

from __future__ import annotations

import re
from pathlib import Path

from cloud import web
from cloud.drawing import COLOURS
from cloud.weights import load_weights

SHEET = (Path(web.__file__).parent / "static" / "style.css").read_text()


def test_the_page_has_the_colours_of_the_drawings() -> None:
    found = re.findall(r"--class-([a-z]+): #(\w\w)(\w\w)(\w\w);", SHEET)
    colours = {label: tuple(int(part, 16) for part in parts) for label, *parts in found}
    assert colours.pop("other")
    assert colours == COLOURS


def test_every_class_of_the_weights_has_one() -> None:
    assert set(load_weights().manifest.labels) <= COLOURS.keys()
