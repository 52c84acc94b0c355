"""What the commands print: a line for people, or an object for JSON."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cloud.sightings import UNREADABLE
from cloud.wire import MICROSECONDS
from common.types import Box
from glimpse.v1 import detection_pb2

if TYPE_CHECKING:
    from cloud.detector import Detection
    from cloud.store import StoredFrame


def in_view(boxes: Sequence[Box]) -> str:
    """'3 person, 1 car', or 'nothing in view'."""
    counts: dict[str, int] = {}
    for box in boxes:
        counts[box.label] = counts.get(box.label, 0) + 1
    return ", ".join(f"{n} {label}" for label, n in counts.items()) or "nothing in view"


def moment(seconds: float) -> str:
    """ISO 8601 in UTC, to the millisecond; a clock that is far off shows as its bare seconds."""
    try:
        at = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return f"{seconds:.3f}s"
    return at.isoformat(timespec="milliseconds")


def layer_json(file: Path, size: int, model: str, detection: Detection) -> dict[str, object]:
    """size: of the layer in bytes; model: the detector's name."""
    header = detection.header
    about = {"file": str(file), "width": header.width, "height": header.height}
    return about | {"bytes": size, "model": model, "boxes": _boxes_json(detection.boxes)}


def layer_lines(file: Path, size: int, detection: Detection) -> str:
    """One line, and one more for each box."""
    header = detection.header
    lines = [f"{file}  {header.width}x{header.height}  {size} B  {in_view(detection.boxes)}"]
    for b in detection.boxes:
        corners = f"{b.x1:6.0f} {b.y1:6.0f} {b.x2:6.0f} {b.y2:6.0f}"
        lines.append(f"  {b.label:<11}{b.score:5.0%}  {corners}")
    return "\n".join(lines)


def stored_json(stored: StoredFrame) -> dict[str, object]:
    """boxes null: not looked at yet."""
    return {
        "camera": stored.frame.camera,
        "boot": stored.frame.boot,
        "seq": stored.frame.seq,
        "captured_at": moment(stored.captured_at),
        "bytes": len(stored.data),
        "boxes": None if stored.boxes is None else _boxes_json(stored.boxes),
        "model": stored.model,
    }


def stored_line(stored: StoredFrame) -> str:
    if stored.boxes is None:
        seen = "not looked at yet"
    elif stored.model.startswith(UNREADABLE):
        seen = stored.model
    else:
        seen = in_view(stored.boxes)
    return f"{moment(stored.captured_at)}  {stored.frame}  {len(stored.data)} B  {seen}"


def watched_json(r: detection_pb2.WatchResponse) -> dict[str, object]:
    return {
        "camera": r.camera,
        "boot": r.boot,
        "seq": r.seq,
        "captured_at": moment(r.captured_at_us / MICROSECONDS),
        "bytes": r.layer_bytes,
        "width": r.width,
        "height": r.height,
        "boxes": _boxes_json(_boxes(r)),
        "missed": r.missed,
    }


def watched_line(r: detection_pb2.WatchResponse) -> str:
    """Without the date and the boot: these frames are of now."""
    whole = moment(r.captured_at_us / MICROSECONDS)
    at = whole.partition("T")[2].partition("+")[0] or whole
    missed = f"  ({r.missed} frames missed before)" if r.missed else ""
    return f"{at}  {r.camera} {r.seq}  {r.layer_bytes} B  {in_view(_boxes(r))}{missed}"


def _boxes(r: detection_pb2.WatchResponse) -> list[Box]:
    """A float32 from the wire is shown as what the detector said, not with digits of its own."""
    return [
        Box(b.label, round(b.score, 4), *(round(v, 1) for v in (b.x1, b.y1, b.x2, b.y2)))
        for b in r.boxes
    ]


def _boxes_json(boxes: Sequence[Box]) -> list[dict[str, object]]:
    return [
        {"label": b.label, "score": round(b.score, 4), "box": [b.x1, b.y1, b.x2, b.y2]}
        for b in boxes
    ]
