"""What the commands print: a line for people, or an object for JSON."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import glimpse
from cloud.sightings import UNREADABLE
from common.types import Box, Presence

if TYPE_CHECKING:
    from cloud.store import StoredFrame

AnyBox = Box | glimpse.Box
AnyPresence = Presence | glimpse.Presence


@dataclass(frozen=True, slots=True)
class Looked:
    """What is in a layer: pixels of the source picture, the model by name, boxes or presences."""

    width: int
    height: int
    model: str
    boxes: tuple[Box, ...]
    presences: tuple[AnyPresence, ...] = ()


def in_view(boxes: Sequence[AnyBox], presences: Sequence[AnyPresence] = ()) -> str:
    """'3 person, 1 car', 'person, car' where nobody counted, or 'nothing in view'."""
    counts: dict[str, int] = {}
    for box in boxes:
        counts[box.label] = counts.get(box.label, 0) + 1
    seen = [f"{n} {label}" for label, n in counts.items()]
    return ", ".join([*seen, *(one.label for one in presences)]) or "nothing in view"


def moment(seconds: float) -> str:
    """ISO 8601 in UTC, to the millisecond; a clock that is far off shows as its bare seconds."""
    try:
        at = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return f"{seconds:.3f}s"
    return at.isoformat(timespec="milliseconds")


def layer_json(file: Path, size: int, looked: Looked) -> dict[str, object]:
    """size: of the layer in bytes."""
    about = {"file": str(file), "width": looked.width, "height": looked.height}
    about |= {"bytes": size, "model": looked.model}
    return about | seen_json(looked.boxes, looked.presences)


def layer_lines(file: Path, size: int, looked: Looked) -> str:
    """One line, and one more for each box and presence."""
    seen = in_view(looked.boxes, looked.presences)
    lines = [f"{file}  {looked.width}x{looked.height}  {size} B  {seen}"]
    for b in looked.boxes:
        corners = f"{b.x1:6.0f} {b.y1:6.0f} {b.x2:6.0f} {b.y2:6.0f}"
        lines.append(f"  {b.label:<11}{b.score:5.0%}  {corners}")
    lines += [f"  {p.label:<11}{p.score:5.0%}" for p in looked.presences]
    return "\n".join(lines)


def as_frame(stored: StoredFrame) -> glimpse.Frame:
    """As a client would see it, but for the sizes, which no line shows."""
    fault = stored.model.startswith(UNREADABLE)
    return glimpse.Frame(
        glimpse.FrameId(*astuple(stored.frame)),
        stored.captured_at,
        len(stored.data),
        width=0,
        height=0,
        boxes=None
        if stored.boxes is None or fault
        else tuple(glimpse.Box(*astuple(box)) for box in stored.boxes),
        detector="" if fault else stored.model,
        fault=stored.model.removeprefix(UNREADABLE) if fault else "",
        pinned=stored.pinned,
        presences=tuple(glimpse.Presence(*astuple(one)) for one in stored.presences),
    )


def frame_json(f: glimpse.Frame) -> dict[str, object]:
    """boxes null: not looked at yet, or for the reason that `fault` gives."""
    return {
        "camera": f.camera,
        "boot": f.frame.boot,
        "seq": f.frame.seq,
        "captured_at": moment(f.captured_at),
        "bytes": f.layer_bytes,
        **seen_json(f.boxes, f.presences),
        "model": f.detector,
        "fault": f.fault,
        "pinned": f.pinned,
    }


def frame_line(f: glimpse.Frame) -> str:
    if f.fault:
        seen = UNREADABLE + f.fault
    elif f.boxes is None:
        seen = "not looked at yet"
    else:
        seen = in_view(f.boxes, f.presences)
    pinned = "  (pinned)" if f.pinned else ""
    return f"{moment(f.captured_at)}  {f.frame}  {f.layer_bytes} B  {seen}{pinned}"


def watched_json(s: glimpse.Sighting) -> dict[str, object]:
    return {
        "camera": s.camera,
        "boot": s.frame.boot,
        "seq": s.frame.seq,
        "captured_at": moment(s.captured_at),
        "bytes": s.layer_bytes,
        "width": s.width,
        "height": s.height,
        **seen_json(s.boxes, s.presences),
        "missed": s.missed,
        "reconnects": s.reconnects,
    }


def watched_line(s: glimpse.Sighting) -> str:
    """Without the date and the boot: these frames are of now."""
    whole = moment(s.captured_at)
    at = whole.partition("T")[2].partition("+")[0] or whole
    missed = f"  ({s.missed} frames missed before)" if s.missed else ""
    lost = "  (connected again)" if s.reconnects else ""
    seen = in_view(s.boxes, s.presences)
    return f"{at}  {s.camera} {s.frame.seq}  {s.layer_bytes} B  {seen}{missed}{lost}"


def seen_json(
    boxes: Sequence[AnyBox] | None, presences: Sequence[AnyPresence]
) -> dict[str, object]:
    """boxes and presences; boxes null for None."""
    return {
        "boxes": None if boxes is None else boxes_json(boxes),
        "presences": [{"label": p.label, "score": round(p.score, 4)} for p in presences],
    }


def boxes_json(boxes: Sequence[AnyBox]) -> list[dict[str, object]]:
    """To a tenth of a pixel and a hundredth of a percent: more is noise."""
    return [
        {
            "label": b.label,
            "score": round(b.score, 4),
            "box": [round(edge, 1) for edge in (b.x1, b.y1, b.x2, b.y2)],
        }
        for b in boxes
    ]
