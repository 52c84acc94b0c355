"""What the server tells the page, as plain objects for JSON. Numbers that may pass 2**53 are text.

Boxes are rows of [label, score, x1, y1, x2, y2], in pixels of the source picture; presences, of a
layer that says no more than what is in view, are rows of [label, score].
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from cloud.sightings import UNREADABLE, Sighting
from cloud.store import StoredFrame
from cloud.web.cameras import Status
from common.bitstream import Header, Kind
from common.types import Box, Presence

_KINDS = {
    Kind.MACHINE_INTRA: "machine, intra",
    Kind.MACHINE_INTER: "machine, inter",
    Kind.AUXILIARY_INTRA: "auxiliary, intra",
    Kind.AUXILIARY_INTER: "auxiliary, inter",
}


def to_json(message: Any) -> bytes:
    """One line of JSON."""
    return json.dumps(message, separators=(",", ":"), allow_nan=False).encode()


def sighting_message(sighting: Sighting) -> dict[str, Any]:
    """A frame of now, as the live view draws it."""
    return {
        "camera": sighting.frame.camera,
        "boot": sighting.frame.boot,
        "seq": str(sighting.frame.seq),
        "at": sighting.captured_at,
        "bytes": sighting.layer_bytes,
        "width": sighting.width,
        "height": sighting.height,
        "boxes": _rows(sighting.boxes),
        "presences": _presences(sighting.presences),
    }


def status_message(status: Status, last: Sighting | None) -> dict[str, Any]:
    """A camera. `last`: the newest frame seen of it, if the page is to draw it."""
    message = asdict(status)
    message["stored"] = None if status.stored is None else asdict(status.stored)
    if last is not None:
        message["last"] = sighting_message(last)
    return message


def frame_message(stored: StoredFrame) -> dict[str, Any]:
    """A stored frame, as a list shows it.

    boxes is null until the detector has looked, and when it could not read the layer: `fault` then
    says why.
    """
    fault = stored.model.removeprefix(UNREADABLE) if stored.model.startswith(UNREADABLE) else ""
    header = stored.header
    rotten = header is None and not stored.is_inter  # it was looked at before it was stored
    return {
        "camera": stored.frame.camera,
        "boot": stored.frame.boot,
        "seq": str(stored.frame.seq),
        "at": stored.captured_at,
        "bytes": len(stored.data),
        "width": header.width if header else 0,
        "height": header.height if header else 0,
        "boxes": None if stored.boxes is None or fault else _rows(stored.boxes),
        "presences": _presences(stored.presences),
        "fault": fault or ("the stored layer is damaged" if rotten else ""),
        "pinned": stored.pinned,
    }


def frame_details(stored: StoredFrame, profiles: Sequence[str]) -> dict[str, Any]:
    """Everything that is known of a stored frame. `profiles`: names by their number."""
    message = frame_message(stored)
    message["stored_at"] = stored.stored_at
    message["auxiliary_bytes"] = stored.auxiliary_bytes
    message["detector"] = "" if message["fault"] else stored.model
    header = stored.header
    message["layer"] = None if header is None else _layer(header, profiles)
    return message


def _layer(header: Header, profiles: Sequence[str]) -> dict[str, Any]:
    named = header.profile < len(profiles)
    return {
        "kind": _KINDS[header.kind],
        "model": f"{header.model:04x}",
        "profile": profiles[header.profile] if named else str(header.profile),
        "quality": header.quality / 255,
        "ivn": header.ivn,
        "working": header.working_size,
    }


def _presences(presences: Sequence[Presence]) -> list[list[str | float]]:
    return [[one.label, round(one.score, 3)] for one in presences]


def _rows(boxes: Sequence[Box]) -> list[list[str | float]]:
    return [[b.label, round(b.score, 3), b.x1, b.y1, b.x2, b.y2] for b in boxes]
