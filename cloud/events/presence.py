"""Whether something is there, from frames in which it is seen or not. Pure; no clock.

    ABSENT  --seen in `appear_frames` frames one after the other-->  PRESENT
    PRESENT --not seen for `gone_after_s`, by the frames' own time-->  ABSENT

To be seen the first time takes `min_score`, to stay takes only `keep_score`: a detector that wavers
around one threshold would make things come and go with every frame. Only frames speak: a camera
that is silent says nothing of what is in front of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from common.types import FrameId


class Change(Enum):
    APPEARED = "appeared"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """min_score, keep_score 0..1, the second not above the first; gone_after_s seconds."""

    min_score: float = 0.5
    keep_score: float = 0.4
    appear_frames: int = 2
    gone_after_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Look:
    """One frame: when it was captured (unix seconds) and the best score of the thing, 0: none."""

    frame: FrameId
    captured_at: float
    score: float


@dataclass(frozen=True, slots=True)
class State:
    """What is known of one thing in view of one camera; begins as absent.

    streak     frames in a row in which it was seen, while it is absent
    last_seen  capture time of the last of them, unix seconds
    """

    is_present: bool = False
    streak: int = 0
    last_seen: float = 0.0
    last: Look | None = None


def step(before: State, look: Look, at: Thresholds) -> tuple[State, Change | None]:
    """What is known after this frame, and what has changed by it. A late frame changes nothing."""
    if _is_late(look, before.last):
        return before, None
    known = replace(before, last=look)
    if before.last is not None and look.captured_at < before.last.captured_at:
        known = replace(known, last_seen=look.captured_at)  # the camera's clock was set back
    if known.is_present:
        return _while_present(known, look, at)
    return _while_absent(known, look, at)


def _while_absent(known: State, look: Look, at: Thresholds) -> tuple[State, Change | None]:
    if look.score < at.min_score:
        return replace(known, streak=0), None
    known = replace(known, streak=known.streak + 1, last_seen=look.captured_at)
    if known.streak < at.appear_frames:
        return known, None
    return replace(known, is_present=True, streak=0), Change.APPEARED


def _while_present(known: State, look: Look, at: Thresholds) -> tuple[State, Change | None]:
    if look.score >= at.keep_score:
        return replace(known, last_seen=look.captured_at), None
    if look.captured_at - known.last_seen < at.gone_after_s:
        return known, None
    return replace(known, is_present=False), Change.GONE


def _is_late(look: Look, last: Look | None) -> bool:
    """Names tell within a boot, whatever its clock does; between boots only the clocks can."""
    if last is None:
        return False
    if look.frame.boot == last.frame.boot:
        return look.frame.seq <= last.frame.seq
    return look.captured_at < last.captured_at
