"""From a camera's layers to a webhook and to MQTT, through a whole server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from cloud.events.out import message
from cloud.events.outbox import Outbox
from cloud.events.presence import Change
from cloud.events.rules import Event
from cloud.sightings import Sighting
from common.errors import BadSettings, StoreFull
from common.types import Box, FrameId
from tests.cloud.broker import broker, needs_mosquitto
from tests.cloud.receiver import SECRET, receiving
from tests.cloud.serving import Served, serving, until

BOX = Box("person", 0.87654321, 1.23, 2.0, 3.0, 4.0)


def sighting(seq: int, *boxes: Box, at: float = 1000.0) -> Sighting:
    return Sighting(FrameId("gate", "b1", seq), at + seq, 300, 160, 120, boxes)


def events_file(folder: Path, **sections: Any) -> Path:
    """JSON is YAML."""
    (folder / "secret").write_bytes(SECRET)
    path = folder / "events.yaml"
    path.write_text(json.dumps(sections))
    return path


def rule(name: str = "r", **changes: Any) -> dict[str, Any]:
    return {"name": name, "appear_frames": 1, "gone_after_s": 1.0, "cooldown_s": 0} | changes


def hook(folder: Path, url: str, name: str = "office", **changes: Any) -> dict[str, Any]:
    return {"name": name, "url": url, "secret_file": str(folder / "secret")} | changes


def publish(served: Served, *items: Sighting) -> None:
    for item in items:
        served.running.bus.publish(item)


def test_a_message_says_all_there_is_to_say() -> None:
    seen = sighting(7, BOX)
    event = Event("r", Change.APPEARED, "person", seen.frame, 1007.0, 0.87654321, 1)
    assert json.loads(message(seen, [event])) == {
        "frame": "gate/b1/7",
        "camera": "gate",
        "captured_at": 1007.0,
        "events": [
            {"rule": "r", "change": "appeared", "label": "person", "score": 0.8765, "count": 1}
        ],
        "width": 160,
        "height": 120,
        "boxes": [{"label": "person", "score": 0.8765, "box": [1.2, 2.0, 3.0, 4.0]}],
    }
    assert message(sighting(7, at=9.2e12), [])  # a mad clock


async def test_from_a_layer_to_a_webhook(tmp_path: Path, layers: list[bytes]) -> None:
    """With boxes of the real detector, whatever it sees in these pictures."""
    async with receiving() as receiver:
        path = events_file(
            tmp_path, rules=[rule(min_score=0.01)], webhooks=[hook(tmp_path, receiver.url)]
        )
        async with (
            serving(tmp_path / "data", events=path, min_score=0.01) as served,
            served.camera() as camera,
        ):
            await camera.send((5, layers[0]))
            await camera.boxes([5])
            await until(lambda: len(receiver.taken) == 1)
            [(key, told)] = receiver.taken
            assert key == told["frame"] == "gate/b1/5"
            labels = {box.label for box in camera.results[5].boxes}
            assert {event["label"] for event in told["events"]} == labels
            assert len(told["boxes"]) == len(camera.results[5].boxes)
            count = sum(
                served.count("glimpse_events_total", rule="r", change=change.value)
                for change in Change
            )
            assert count == len(labels)


async def test_each_webhook_gets_the_events_of_its_rules(tmp_path: Path) -> None:
    async with receiving() as one, receiving() as two:
        path = events_file(
            tmp_path,
            rules=[rule("people", labels=["person"]), rule("cars", labels=["car"])],
            webhooks=[
                hook(tmp_path, one.url, "one", rules=["cars"]),
                hook(tmp_path, two.url, "two"),
            ],
        )
        async with serving(tmp_path / "data", events=path) as served:
            publish(served, sighting(0, BOX), sighting(5), sighting(6, Box("car", 0.9, 1, 2, 3, 4)))
            await until(lambda: len(two.taken) == 3)
            await until(lambda: len(one.taken) == 1)
        assert [key for key, _ in two.taken] == ["gate/b1/0", "gate/b1/5", "gate/b1/6"]
        changes = [event["change"] for _, told in two.taken for event in told["events"]]
        assert changes == ["appeared", "gone", "appeared"]
        assert one.taken[0][1]["events"][0]["rule"] == "cars"


async def test_a_server_that_ends_leaves_nothing_behind(tmp_path: Path) -> None:
    """What could not be delivered is, by the next one."""
    async with receiving() as receiver:
        url = receiver.url
    slow: dict[str, Any] = {"retry_first_s": 0.05, "retry_most_s": 0.05}
    path = events_file(tmp_path, rules=[rule()], webhooks=[hook(tmp_path, url, **slow)])
    async with serving(tmp_path / "data", events=path) as served:
        publish(served, sighting(0, BOX))
        name = {"webhook": "office", "outcome": "failed"}
        await until(lambda: served.count("glimpse_webhooks_total", **name) >= 1)
    port = int(url.split(":")[2].split("/")[0])
    async with receiving(port=port) as receiver, serving(tmp_path / "data", events=path):
        await until(lambda: [key for key, _ in receiver.taken] == ["gate/b1/0"])
    path = events_file(tmp_path, rules=[rule()])
    async with serving(tmp_path / "data", events=path):
        pass


async def test_an_outbox_that_is_full_loses_events_and_not_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> int:
        raise StoreFull("no room left")

    async with receiving() as receiver:
        path = events_file(tmp_path, rules=[rule()], webhooks=[hook(tmp_path, receiver.url)])
        async with serving(tmp_path / "data", events=path) as served:
            with monkeypatch.context() as patch:
                patch.setattr(Outbox, "put", full)
                publish(served, sighting(0, BOX))
                await until(lambda: served.count("glimpse_events_missed_total") == 1)
            publish(served, sighting(5))
            await until(lambda: [key for key, _ in receiver.taken] == ["gate/b1/5"])


@needs_mosquitto
async def test_to_home_assistant(tmp_path: Path, layers: list[bytes]) -> None:
    async with broker(tmp_path) as server, server.follow("glimpse/#", "homeassistant/#") as seen:
        mqtt = {"host": "127.0.0.1", "port": server.port, "tls": False, "appear_frames": 1}
        path = events_file(tmp_path, rules=[rule()], mqtt=mqtt)
        async with serving(tmp_path / "data", events=path) as served:
            async with served.camera() as camera:
                await seen.until(lambda s: s.newest.get("glimpse/gate/status") == "online")
                await camera.send((0, layers[0]))
                await camera.boxes([0])
                publish(served, sighting(1, BOX))
                await seen.until(lambda s: s.newest.get("glimpse/gate/person/present") == "ON")
                await seen.until(lambda s: "glimpse/events" in s.newest)
                assert json.loads(seen.newest["glimpse/events"])["frame"].startswith("gate/b1/")
            await seen.until(lambda s: s.newest["glimpse/gate/status"] == "offline")
        await seen.until(lambda s: s.newest["glimpse/status"] == "offline")


async def test_it_does_not_start_with_a_file_that_is_wrong(tmp_path: Path) -> None:
    path = events_file(tmp_path, rules=[rule()], webhooks=[hook(tmp_path, "https://x/hook")])
    (tmp_path / "secret").unlink()
    with pytest.raises(BadSettings, match="secret_file"):
        async with serving(tmp_path / "data", events=path):
            pass
    path.write_text("rules: 7")
    with pytest.raises(BadSettings, match="rules"):
        async with serving(tmp_path / "data", events=path):
            pass


async def test_nothing_of_it_is_left(tmp_path: Path) -> None:
    before = set(asyncio.all_tasks())
    path = events_file(
        tmp_path, rules=[rule()], webhooks=[hook(tmp_path, "http://127.0.0.1:9/hook")],
        mqtt={"host": "127.0.0.1", "port": 9, "tls": False},
    )  # fmt: skip
    async with serving(tmp_path / "data", events=path) as served:
        publish(served, sighting(0, BOX))
        await until(lambda: served.count("glimpse_webhook_queue", webhook="office") == 1)
    await until(lambda: set(asyncio.all_tasks()) <= before)
    outbox = Outbox(tmp_path / "data" / "outbox.sqlite3")
    assert outbox.waiting("office") == 1
    outbox.close()
