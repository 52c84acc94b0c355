"""What the page is told of a frame: nothing that is lost on the way through JSON and JavaScript."""

from __future__ import annotations

import json

import pytest

from cloud.store import StoredFrame
from cloud.web.messages import frame_details, to_json
from common.bitstream import Header, Kind, header_bytes, pack, pack_inter
from common.types import MAX_SEQ, Box, FrameId

INTER = (Kind.MACHINE_INTER, Kind.AUXILIARY_INTER)


def stored(header: Header) -> StoredFrame:
    frame, boxes = FrameId("gate", "b1", MAX_SEQ), (Box("person", 1 / 3, 0.1, 0.0, 1e5, 7.0),)
    if header.kind in INTER:
        data = pack_inter(header.kind, header.quality, 0, b"body")
        return StoredFrame(frame, 1.5, data, boxes, "m-1a2b", read=header_bytes(header))
    return StoredFrame(frame, 1.5, pack(header, b"body"), boxes, "m-1a2b")


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_of_layer_has_a_name(kind: Kind) -> None:
    layer = frame_details(stored(Header(kind, 1, 0, 255, 3, 640, 480, 640)), ["detect"])["layer"]
    assert layer["kind"] == kind.name.lower().replace("_", ", ")
    assert (layer["model"], layer["quality"], layer["ivn"]) == ("0001", 1.0, 3)


@pytest.mark.parametrize("kind", INTER)
def test_an_inter_layer_that_nobody_has_read_yet_is_not_damaged(kind: Kind) -> None:
    waiting = StoredFrame(FrameId("gate", "b1", 1), 1.5, pack_inter(kind, 9, 0, b"body"))
    frame = frame_details(waiting, ["detect"])
    assert (frame["layer"], frame["boxes"], frame["fault"]) == (None, None, "")
    assert (frame["width"], frame["height"]) == (0, 0)


def test_a_profile_that_this_server_has_no_name_for_is_a_number() -> None:
    header = Header(Kind.MACHINE_INTRA, 1, 7, 0, 0, 640, 480, 640)
    assert frame_details(stored(header), ["detect"])["layer"]["profile"] == "7"


def test_numbers_that_javascript_would_round_are_text() -> None:
    header = Header(Kind.MACHINE_INTRA, 1, 0, 0, 0, 640, 480, 640)
    frame = json.loads(to_json(frame_details(stored(header), ["detect"])))
    assert frame["seq"] == str(MAX_SEQ)
    assert frame["boxes"] == [["person", 0.333, 0.1, 0.0, 1e5, 7.0]]


def test_what_json_has_no_word_for_is_our_error() -> None:
    with pytest.raises(ValueError):
        to_json({"at": float("nan")})
