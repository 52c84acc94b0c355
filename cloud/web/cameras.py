"""What is known of one camera at a moment, and what to call it. `now` is passed in, unix seconds.

    waiting   it never sent a frame
    live      frames arrive, and they are of now
    behind    frames arrive, and their boxes are old: the camera catches up, its clock is wrong, or
              the detector cannot keep up
    silent    nothing has arrived for longer than is usual for it

A camera whose stream is open is given more time: it may have little to say.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

from cloud.sightings import Sighting
from cloud.store import CameraSummary

PATIENCE_S = 10.0  # without a stream: time to come back
PATIENCE_CONNECTED_S = 60.0  # with one: layers may be gathered before they are sent
BEHIND_S = 5.0

_STEP_S = 10.0
_STEPS = 360  # an hour
_HOUR_S = _STEP_S * _STEPS
_RECENT_STEPS = 3


class State(StrEnum):
    WAITING = "waiting"
    LIVE = "live"
    BEHIND = "behind"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Status:
    """One camera, for people.

    since           when it fell silent; None unless it is
    delay           seconds from capture to arrival of the newest frame seen here, below zero if the
                    camera's clock is ahead; None before the first
    undetected      frames are stored whose boxes are due: the detector is what is behind
    fps             frames with boxes, a second, in the last half minute
    bytes_per_hour  of layers, by the last hour or what was seen of it; None before the first
    stored          what the store has of it; None: nothing, ever
    """

    name: str
    state: State
    connected: bool
    since: float | None
    delay: float | None
    undetected: bool
    fps: float
    bytes_per_hour: float | None
    stored: CameraSummary | None


class Camera:
    """One camera as this process has seen it since its start.

    last    its newest frame: to be drawn
    stored  what the store had of it when it was last asked: `count`
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.stored: CameraSummary | None = None
        self.last: Sighting | None = None
        self._received: float | None = None
        self._stored_at: float | None = None  # when it last turned out to have sent something
        self._traffic = Traffic()

    def see(self, sighting: Sighting, now: float) -> None:
        """A frame of it came."""
        self.last, self._received = sighting, now
        self._traffic.add(sighting.layer_bytes, now)

    def count(self, stored: CameraSummary, now: float) -> None:
        """What the store has of it."""
        if self.stored is not None and stored.last_seen > self.stored.last_seen:
            self._stored_at = now
        self.stored = stored

    def status(self, connected: bool, now: float) -> Status:
        quiet_since = self._quiet_since()
        delay = self._delay()
        if quiet_since is None:
            state = State.WAITING
        elif now - quiet_since > self._patience(connected):
            state = State.SILENT
        elif self._undetected() or (delay is not None and delay > BEHIND_S):
            state = State.BEHIND
        else:
            state = State.LIVE
        return Status(
            name=self.name,
            state=state,
            connected=connected,
            since=quiet_since if state is State.SILENT else None,
            delay=delay,
            undetected=self._undetected(),
            fps=self._traffic.fps(now),
            bytes_per_hour=self._traffic.bytes_per_hour(now),
            stored=self.stored,
        )

    def _delay(self) -> float | None:
        if self.last is None or self._received is None:
            return None
        return self._received - self.last.captured_at

    def _undetected(self) -> bool:
        if self.stored is None or self._stored_at is None:
            return False
        return self.last is None or self.stored.last_seen - self.last.captured_at > BEHIND_S

    def _quiet_since(self) -> float | None:
        """When its last frame came; of one that came before this process, when it was captured."""
        came = [at for at in (self._received, self._stored_at) if at is not None]
        if came:
            return max(came)
        return None if self.stored is None else self.stored.last_seen

    def _patience(self, connected: bool) -> float:
        if not connected:
            return PATIENCE_S
        return max(PATIENCE_CONNECTED_S, 3 * self._traffic.mean_gap())


class Traffic:
    """Frames and bytes of the last hour, in steps of ten seconds."""

    def __init__(self) -> None:
        self._first: float | None = None
        self._steps: deque[tuple[int, int, int]] = deque()  # (step, frames, bytes), rising

    def add(self, size: int, now: float) -> None:
        self._first = now if self._first is None else self._first
        step = int(now // _STEP_S)
        if self._steps and self._steps[-1][0] >= step:  # or the clock was set back
            last, frames, total = self._steps.pop()
            self._steps.append((last, frames + 1, total + size))
        else:
            self._steps.append((step, 1, size))
        self._forget(now)

    def fps(self, now: float) -> float:
        """Over the last half minute, or the time since the first frame."""
        self._forget(now)
        from_step = int(now // _STEP_S) - _RECENT_STEPS + 1
        frames = sum(frames for step, frames, _ in self._steps if step >= from_step)
        return frames / self._seconds(now, now - from_step * _STEP_S)

    def bytes_per_hour(self, now: float) -> float | None:
        if self._first is None:
            return None
        self._forget(now)
        return sum(size for _, _, size in self._steps) * _HOUR_S / self._seconds(now, _HOUR_S)

    def mean_gap(self) -> float:
        """Seconds from frame to frame in the last hour that had any; 0 before the second one."""
        frames = sum(frames for _, frames, _ in self._steps)
        if frames < 2:
            return 0.0
        return (self._steps[-1][0] - self._steps[0][0]) * _STEP_S / (frames - 1)

    def _seconds(self, now: float, most: float) -> float:
        """Of observation, at most `most`; never so few that a figure would be a guess."""
        seen = 0.0 if self._first is None else now - self._first
        return max(min(seen, most), 1.0)

    def _forget(self, now: float) -> None:
        oldest = int(now // _STEP_S) - _STEPS
        while self._steps and self._steps[0][0] <= oldest:
            self._steps.popleft()
