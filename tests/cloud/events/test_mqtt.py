"""MQTT against a real mosquitto: states, discovery, last will, a broker that goes and comes."""

from __future__ import annotations

import asyncio
import datetime
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from cloud.access.certificates import make_certificates
from cloud.events.config import MqttConfig
from cloud.events.mqtt import Mqtt
from cloud.metrics import Metrics
from cloud.sightings import Sighting
from common.errors import BadSettings
from common.types import Box, FrameId
from tests.cloud.broker import Broker, broker, needs_mosquitto
from tests.cloud.serving import until

LABELS = ("person", "car")
NOW = datetime.datetime.now(datetime.UTC)
pytestmark = needs_mosquitto


def sighting(seq: int, *labels: str, camera: str = "gate") -> Sighting:
    """One a second, sure of everything."""
    boxes = tuple(Box(label, 0.9, 1.0, 2.0, 3.0, 4.0) for label in labels)
    return Sighting(FrameId(camera, "b1", seq), 1000.0 + seq, 300, 160, 120, boxes)


def config(server: Broker, **changes: Any) -> MqttConfig:
    quick = {"tls": False, "appear_frames": 1, "gone_after_s": 1.0} | changes
    return MqttConfig(host="127.0.0.1", port=server.port, **quick)


class Rig:
    def __init__(self, settings: MqttConfig, *, known: tuple[str, ...] = ()) -> None:
        self.metrics = Metrics(CollectorRegistry())
        self.online: set[str] = {"gate"}
        self.mqtt = Mqtt(
            settings, LABELS, lambda: self.online, self.metrics, known=known, draw=lambda: 0.05
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Mqtt]:
        task = asyncio.create_task(self.mqtt.run())
        try:
            yield self.mqtt
        finally:
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()

    def value(self, name: str) -> float:
        return self.metrics.registry.get_sample_value(name) or 0.0


async def test_what_is_there_now(tmp_path: Path) -> None:
    async with broker(tmp_path) as server, server.follow("glimpse/#") as seen:
        rig = Rig(config(server))
        async with rig.running() as mqtt:
            await seen.until(lambda s: s.newest.get("glimpse/gate/status") == "online")
            assert seen.newest["glimpse/status"] == "online"
            assert rig.value("glimpse_mqtt_connected") == 1
            mqtt.see(sighting(0, "person", "person"))
            await seen.until(lambda s: s.newest["glimpse/gate/person/present"] == "ON")
            await seen.until(lambda s: s.newest["glimpse/gate/person/count"] == "2")
            assert seen.newest["glimpse/gate/car/present"] == "OFF"
            mqtt.see(sighting(1, "person"))
            mqtt.see(sighting(9))
            await seen.until(lambda s: s.newest["glimpse/gate/person/present"] == "OFF")
            await seen.until(lambda s: s.newest["glimpse/gate/person/count"] == "0")
            rig.online.clear()
            await seen.until(lambda s: s.newest["glimpse/gate/status"] == "offline")
        await seen.until(
            lambda s: s.newest["glimpse/status"] == "offline"
        )  # no last will: asked to
        presents = [payload for topic, payload in seen.heard if topic.endswith("person/present")]
        assert presents == ["OFF", "ON", "OFF"]


async def test_who_comes_later_is_told_the_same(tmp_path: Path) -> None:
    async with broker(tmp_path) as server:
        rig = Rig(config(server))
        async with rig.running() as mqtt, server.follow("glimpse/#") as early:
            mqtt.see(sighting(0, "car"))
            await early.until(lambda s: s.newest.get("glimpse/gate/car/count") == "1")
            async with server.follow("glimpse/#") as late:
                await late.until(lambda s: s.newest == early.newest)
                assert late.retained == set(late.newest)


async def test_home_assistant_discovers_it(tmp_path: Path) -> None:
    async with broker(tmp_path) as server, server.follow("homeassistant/#", "glimpse/#") as seen:
        rig = Rig(config(server, labels=("person",)))
        async with rig.running():
            await seen.until(lambda s: "glimpse/gate/status" in s.newest)
            there = json.loads(
                seen.newest["homeassistant/binary_sensor/glimpse_gate/person/config"]
            )
            count = json.loads(seen.newest["homeassistant/sensor/glimpse_gate/person_count/config"])
            assert len([topic for topic in seen.newest if topic.startswith("homeassistant")]) == 2
            for entity in (there, count):
                assert entity["state_topic"] in seen.newest
                assert entity["availability_mode"] == "all"
                for where in entity["availability"]:
                    assert seen.newest[where["topic"]] == "online"
                assert entity["device"] == {
                    "identifiers": ["glimpse_gate"], "name": "gate", "manufacturer": "glimpse",
                }  # fmt: skip
            assert seen.newest[there["state_topic"]] in ("ON", "OFF")  # its defaults
            assert there["unique_id"] != count["unique_id"]
            seen.heard.clear()
            await seen.client.publish("homeassistant/status", "online")  # it has started anew
            await seen.until(lambda s: sum("config" in topic for topic, _ in s.heard) == 2)


async def test_without_discovery(tmp_path: Path) -> None:
    async with broker(tmp_path) as server, server.follow("#") as seen:
        rig = Rig(config(server, discovery="", prefix="house/one"))
        async with rig.running():
            await seen.until(lambda s: s.newest.get("house/one/gate/status") == "online")
        assert all(topic.startswith("house/one/") for topic in seen.newest)


async def test_cameras_that_were_known_before(tmp_path: Path) -> None:
    """What an earlier process left in the broker is put right."""
    async with broker(tmp_path) as server, server.follow("glimpse/#") as seen:
        for topic, old in (("status", "online"), ("person/present", "ON")):
            await seen.client.publish(f"glimpse/yard/{topic}", old, retain=True)
        rig = Rig(config(server), known=("yard",))
        async with rig.running():
            await seen.until(lambda s: s.newest.get("glimpse/yard/status") == "offline")
            await seen.until(lambda s: s.newest.get("glimpse/yard/person/present") == "OFF")


async def test_only_its_cameras(tmp_path: Path) -> None:
    async with broker(tmp_path) as server, server.follow("glimpse/#") as seen:
        rig = Rig(config(server, cameras=("gate",)), known=("yard",))
        rig.online.add("yard")
        async with rig.running() as mqtt:
            mqtt.see(sighting(0, "car", camera="yard"))
            mqtt.see(sighting(0, "car"))
            await seen.until(lambda s: s.newest.get("glimpse/gate/car/present") == "ON")
        assert not any("yard" in topic for topic in seen.newest)


async def test_a_broker_that_goes_and_comes_back_has_the_newest(tmp_path: Path) -> None:
    async with broker(tmp_path) as server:
        rig = Rig(config(server))
        async with rig.running() as mqtt:
            await until(lambda: rig.value("glimpse_mqtt_connected") == 1)
            server.kill()
            await until(lambda: rig.value("glimpse_mqtt_connected") == 0)
            mqtt.see(sighting(0, "person"))
            for n in range(1003):
                mqtt.tell(b"%d" % n)
            assert rig.value("glimpse_mqtt_dropped_total") == 3
            await server.start()
            async with server.follow("glimpse/#") as seen:
                await seen.until(lambda s: s.newest.get("glimpse/gate/person/present") == "ON")
                await seen.until(lambda s: s.newest.get("glimpse/events") == "1002")


async def test_events_are_told_in_order_and_not_retained(tmp_path: Path) -> None:
    async with broker(tmp_path) as server, server.follow("glimpse/events") as seen:
        rig = Rig(config(server))
        async with rig.running() as mqtt:
            for n in range(5):
                mqtt.tell(b"%d" % n)
            await seen.until(lambda s: len(s.heard) == 5)
        assert [payload for _, payload in seen.heard] == list("01234")
        assert not seen.retained


async def test_tls_and_a_password(tmp_path: Path) -> None:
    tls = make_certificates(tmp_path / "tls", ["127.0.0.1"], NOW)
    password = tmp_path / "password"
    password.write_text("open sesame\n")
    async with broker(tmp_path, tls=tls, user=("glimpse", "open sesame")) as server:
        secure = {"tls": True, "ca": tls.authority, "username": "glimpse"}
        rig = Rig(config(server, **secure, password_file=password))
        async with rig.running():
            await until(lambda: rig.value("glimpse_mqtt_connected") == 1)


# paho leaves the socket of a handshake that failed to the garbage collector, which closes it.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket")
@pytest.mark.parametrize("fault", ["authority", "password", "host"])
async def test_a_broker_that_is_not_ours(
    tmp_path: Path, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is told once, tried again, and takes nothing down."""
    tls = make_certificates(tmp_path / "tls", ["127.0.0.1", "localhost"], NOW)
    other = make_certificates(tmp_path / "other", ["10.0.0.1"], NOW)
    password = tmp_path / "password"
    password.write_text("guess" if fault == "password" else "open sesame")
    shown = other if fault == "host" else tls
    async with broker(tmp_path, tls=shown, user=("glimpse", "open sesame")) as server:
        trusted = tls.authority if fault == "password" else other.authority
        secure = {"tls": True, "ca": trusted, "username": "glimpse", "password_file": password}
        rig = Rig(config(server, **secure))
        async with rig.running():
            await asyncio.sleep(0.5)  # for several tries
            assert rig.value("glimpse_mqtt_connected") == 0
    assert capsys.readouterr().out.count("no mqtt broker") == 1


def test_files_that_are_none(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    bad = tmp_path / "bad"
    bad.write_bytes(b"\xff\xfe")
    for settings in (
        {"ca": missing}, {"ca": bad}, {"certificate": bad, "key": bad},
        {"username": "u", "password_file": missing}, {"username": "u", "password_file": bad},
    ):  # fmt: skip
        with pytest.raises(BadSettings, match="mqtt"):
            Rig(MqttConfig(host="127.0.0.1", **settings))
