"""Rules: which of what is seen becomes an event. Pure; no clock.

A rule names cameras, labels and scores. Of each camera and label that it covers it knows whether
the thing is there (cloud/events/presence.py) and says when that changes, but not more often than
once in `cooldown_s`: what comes and goes in between is passed over, both ways.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cloud.events.presence import Change, Look, State, Thresholds, step
from cloud.sightings import Sighting
from common.types import Box, FrameId, Presence


@dataclass(frozen=True, slots=True)
class Scope:
    """Which cameras and labels; empty: all. Boxes below the thresholds are not there."""

    cameras: frozenset[str] = frozenset()
    labels: frozenset[str] = frozenset()
    thresholds: Thresholds = field(default_factory=Thresholds)

    def covers(self, camera: str) -> bool:
        return not self.cameras or camera in self.cameras


@dataclass(frozen=True, slots=True)
class Event:
    """Something appeared, or is gone.

    score  the best of it in this frame, 0..1; count: boxes of it that pass the rule; 0 when gone
    """

    rule: str
    change: Change
    label: str
    frame: FrameId
    captured_at: float
    score: float
    count: int


@dataclass(frozen=True, slots=True)
class Seen:
    """One label in one frame: how sure the surest is, and how many boxes are sure enough.

    Where a layer says only what is in view, `count` is 1 for what is.
    """

    score: float
    count: int


class Watcher:
    """What is there, for every camera and label of a scope."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._known: dict[tuple[str, str], State] = {}

    def see(self, sighting: Sighting) -> list[tuple[str, Change, Seen]]:
        """What this frame changes, by label."""
        camera = sighting.frame.camera
        if not self._scope.covers(camera):
            return []
        seen = self.labels_in(sighting)
        known = {label for name, label in self._known if name == camera}
        changes = []
        for label in sorted(seen.keys() | known):
            what = seen.get(label, Seen(0.0, 0))
            before = self._known.get((camera, label), State())
            look = Look(sighting.frame, sighting.captured_at, what.score)
            after, change = step(before, look, self._scope.thresholds)
            self._known[camera, label] = after
            if change is not None:
                changes.append((label, change, what))
        return changes

    def labels_in(self, sighting: Sighting) -> Mapping[str, Seen]:
        """The scope's labels that are in this frame at all."""
        wanted = self._scope.labels
        scores: dict[str, list[float]] = {}
        things: list[Box | Presence] = [*sighting.boxes, *sighting.presences]
        for thing in things:
            if not wanted or thing.label in wanted:
                scores.setdefault(thing.label, []).append(thing.score)
        least = self._scope.thresholds.keep_score
        return {
            label: Seen(max(some), sum(score >= least for score in some))
            for label, some in scores.items()
        }


class Rule:
    """A watcher with a name that does not say the same thing over and over."""

    def __init__(self, name: str, scope: Scope, cooldown_s: float) -> None:
        self.name = name
        self._watcher = Watcher(scope)
        self._cooldown_s = cooldown_s
        self._told: dict[tuple[str, str], float] = {}  # capture time of the last that appeared
        self._silent: set[tuple[str, str]] = set()  # appeared and nobody was told

    def see(self, sighting: Sighting) -> list[Event]:
        """The events of this frame; at most one of each label."""
        changes = self._watcher.see(sighting)
        return [
            Event(
                *(self.name, change, label, sighting.frame, sighting.captured_at),
                *(what.score, what.count),
            )
            for label, change, what in changes
            if self._is_told((sighting.frame.camera, label), change, sighting.captured_at)
        ]

    def _is_told(self, thing: tuple[str, str], change: Change, at: float) -> bool:
        if change is Change.GONE:
            was_silent = thing in self._silent
            self._silent.discard(thing)
            return not was_silent
        last = self._told.get(thing)
        if last is not None and 0 <= at - last < self._cooldown_s:
            self._silent.add(thing)
            return False
        self._told[thing] = at
        return True


def events_of(rules: Iterable[Rule], sighting: Sighting) -> list[Event]:
    """Of all rules, in their order."""
    return [event for rule in rules for event in rule.see(sighting)]
