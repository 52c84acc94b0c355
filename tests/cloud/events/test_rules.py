"""Rules: cameras, labels, scores, and how often the same thing is said."""

from __future__ import annotations

from cloud.events.presence import Thresholds
from cloud.events.rules import Event, Rule, Scope, Seen, Watcher, events_of
from cloud.sightings import Sighting
from common.types import Box, FrameId, Presence

QUICK = Thresholds(min_score=0.5, keep_score=0.4, appear_frames=1, gone_after_s=2.0)


def sighting(at: float, *seen: tuple[str, float], camera: str = "gate") -> Sighting:
    """Frames are numbered by their second."""
    boxes = tuple(Box(label, score, 1.0, 2.0, 3.0, 4.0) for label, score in seen)
    return Sighting(FrameId(camera, "b1", int(at * 10)), 1000.0 + at, 300, 160, 120, boxes)


def told(rule: Rule, *sightings: Sighting) -> list[str]:
    events = [event for one in sightings for event in events_of([rule], one)]
    return [f"{e.captured_at - 1000:g} {e.frame.camera} {e.label} {e.change.value}" for e in events]


def rule(cooldown_s: float = 0.0, **scope: frozenset[str]) -> Rule:
    return Rule("r", Scope(thresholds=QUICK, **scope), cooldown_s)


def coming_and_going(*starts: float) -> list[Sighting]:
    """A person for one second each time."""
    return [
        one
        for start in starts
        for one in (sighting(start, ("person", 0.9)), sighting(start + 1), sighting(start + 2.5))
    ]


def test_an_event_says_all_there_is_to_say() -> None:
    seen = sighting(1, ("person", 0.9), ("person", 0.45), ("person", 0.2), ("car", 0.3))
    [event] = rule().see(seen)
    assert event == Event("r", event.change, "person", seen.frame, 1001.0, 0.9, 2)
    assert event.change.value == "appeared"


def test_each_camera_and_label_by_itself() -> None:
    assert told(
        rule(),
        sighting(0, ("person", 0.9)),
        sighting(0, ("person", 0.9), camera="yard"),
        sighting(1, ("person", 0.9), ("car", 0.9)),
        sighting(4, ("car", 0.9)),
    ) == ["0 gate person appeared", "0 yard person appeared", "1 gate car appeared",
          "4 gate person gone"]  # fmt: skip


def test_cameras_and_labels_of_a_rule() -> None:
    seen = [
        sighting(0, ("person", 0.9), ("car", 0.9)),
        sighting(0, ("person", 0.9), camera="yard"),
    ]
    assert told(rule(cameras=frozenset({"yard"})), *seen) == ["0 yard person appeared"]
    assert told(rule(labels=frozenset({"car", "bus"})), *seen) == ["0 gate car appeared"]


def test_without_a_cooldown_everything_is_told() -> None:
    assert told(rule(), *coming_and_going(0, 10)) == [
        "0 gate person appeared", "2.5 gate person gone",
        "10 gate person appeared", "12.5 gate person gone",
    ]  # fmt: skip


def test_a_cooldown_passes_over_what_comes_too_soon_and_its_going() -> None:
    assert told(rule(cooldown_s=25), *coming_and_going(0, 10, 20, 30)) == [
        "0 gate person appeared", "2.5 gate person gone",
        "30 gate person appeared", "32.5 gate person gone",
    ]  # fmt: skip


def test_a_cooldown_is_of_one_camera_and_label() -> None:
    car = [sighting(5, ("car", 0.9), ("person", 0.9)), sighting(5, ("person", 0.9), camera="yard")]
    assert told(rule(cooldown_s=60), sighting(0, ("person", 0.9)), *car) == [
        "0 gate person appeared", "5 gate car appeared", "5 yard person appeared",
    ]  # fmt: skip


def test_several_rules_in_their_order() -> None:
    rules = [Rule(name, Scope(thresholds=QUICK), 0.0) for name in ("b", "a")]
    events = events_of(rules, sighting(0, ("person", 0.9)))
    assert [event.rule for event in events] == ["b", "a"]


def test_a_layer_that_says_only_what_is_in_view_counts_as_well() -> None:
    surest, other = Presence("person", 0.9), Presence("car", 0.1)
    seen = Sighting(FrameId("gate", "b1", 0), 1000.0, 30, 160, 120, (), (surest, other))
    assert told(rule(), seen, sighting(1, ("person", 0.9)), sighting(4)) == [
        "0 gate person appeared", "4 gate person gone",
    ]  # fmt: skip
    assert Watcher(Scope(thresholds=QUICK)).labels_in(seen) == {
        "person": Seen(0.9, 1),
        "car": Seen(0.1, 0),
    }


def test_a_watcher_counts_what_is_sure_enough() -> None:
    watcher = Watcher(Scope(labels=frozenset({"person"}), thresholds=QUICK))
    seen = watcher.labels_in(sighting(0, ("person", 0.41), ("person", 0.39), ("car", 0.9)))
    assert seen == {"person": Seen(0.41, 1)}
