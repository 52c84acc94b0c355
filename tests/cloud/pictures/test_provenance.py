"""What a picture says of itself, read back by Pillow and by an XML parser."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ElementTree
import zlib
from base64 import b64decode
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cloud.pictures.provenance import FAITHFUL, GENERATED, provenance, with_provenance
from cloud.pictures.values import Picture, Still, Subject, Work
from common.codec import Coded, MachineCodec
from common.types import FrameId
from tests.common.latents import scene_model

CODEC = MachineCodec(scene_model(8), 0x1A2B)
IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"


@pytest.fixture(scope="module")
def base() -> Coded:
    y = np.zeros((8, 8, 10), np.int16)
    return CODEC.encode(y, width=160, height=120, side=160, quality=102)


def png(shade: int = 7) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 8), (shade, 0, 0)).save(file, "PNG")
    return file.getvalue()


def said(base: Coded, **changes: Any) -> dict[str, Any]:
    work = Work(base, b"auxiliary", changes.get("steps", 4), 0.5, 7, changes.get("still"))
    picture = Picture(png(), 16, 8, "human-1-0d0d", (), changes.get("seen"))
    frame = changes.get("frame", FrameId("gate", "b1", 17))
    captured = changes.get("captured_at", 1_700_000_000.25)
    return provenance(Subject(base, frame, captured), work, picture, ("a <note> & more",))


def test_the_pixels_stay_and_the_text_is_there(base: Coded) -> None:
    about = said(base)
    whole = with_provenance(png(), about)
    with Image.open(io.BytesIO(whole)) as picture:
        picture.load()
        assert picture.getpixel((3, 3)) == (7, 0, 0)
        text = picture.info
    assert json.loads(text["glimpse"]) == about
    assert text["Title"] == "gate/b1/17, 2023-11-14T22:13:20.250+00:00"
    assert text["Disclaimer"] == GENERATED
    assert "4 diffusion steps, seed 7" in text["Description"]


def test_layers_by_bytes_and_hash(base: Coded) -> None:
    layers = said(base)["layers"]
    assert layers["machine"]["bytes"] == len(base.data)
    assert layers["machine"]["model"] == "1a2b"
    assert layers["auxiliary"]["bytes"] == len(b"auxiliary")
    assert len(layers["auxiliary"]["sha256"]) == 64


@pytest.mark.parametrize(
    ("steps", "kind", "meaning"),
    [(0, "algorithmicallyEnhanced", FAITHFUL), (1, "trainedAlgorithmicMedia", GENERATED)],
)
def test_xmp_says_how_it_came_to_be(base: Coded, steps: int, kind: str, meaning: str) -> None:
    about = said(base, steps=steps, frame=None, captured_at=None)
    with Image.open(io.BytesIO(with_provenance(png(), about))) as picture:
        packet = picture.info["XML:com.adobe.xmp"]
    root = ElementTree.fromstring(packet[packet.index("<x:") : packet.rindex("<?")])
    [description] = [node for node in root.iter() if IPTC in node.attrib]
    assert description.attrib[IPTC].endswith(f"/{kind}")
    assert meaning in "".join(root.itertext())


def test_the_map_of_what_was_seen(base: Coded) -> None:
    seen = said(base, seen=(2, 1, b"\x00\xff"))["seen"]
    assert (seen["columns"], seen["rows"], seen["share"]) == (2, 1, 0.5)
    assert zlib.decompress(b64decode(seen["shares"])) == b"\x00\xff"


def test_the_reference_picture_and_when_it_was_seen(base: Coded) -> None:
    still = Still(b"an avif file", base, FrameId("gate", "b1", 3), 1_700_000_000.0)
    about = said(base, steps=0, seen=(2, 1, b"\x00\xff"), still=still)
    reference = about["layers"]["reference"]
    assert (reference["bytes"], reference["frame"]) == (12, "gate/b1/3")
    assert reference["captured_at"] == "2023-11-14T22:13:20.000+00:00"
    assert about["meaning"].startswith(FAITHFUL)
    assert "as it was seen 2023-11-14T22:13:20" in about["meaning"]
    unused = said(base, steps=0, still=still)  # the decoder could not use it
    assert (unused["layers"]["reference"], unused["meaning"]) == (None, FAITHFUL)
    at_hand = said(base, seen=(2, 1, b"\x00\xff"), still=Still(b"a file", base))
    assert "seen in an earlier picture" in at_hand["meaning"]


def test_a_clock_far_off_is_no_failure(base: Coded) -> None:
    assert said(base, captured_at=1e300)["captured_at"].endswith("s")
