"""The stream that the live view follows: state first, then what happens, and what ends it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from cloud.web import live
from tests.cloud.serving import until
from tests.cloud.web.page import CAR, PERSON, Page, events, log_in, page, sighting


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "STATES_S", 0.05)
    monkeypatch.setattr(live, "TOTALS_S", 0.05)


def camera(message: Any, name: str) -> Any:
    [found] = [camera for camera in message["cameras"] if camera["name"] == name]
    return found


class TestState:
    async def test_it_comes_first_with_every_camera(self, tmp_path: Path) -> None:
        async with page(tmp_path) as served:
            served.keep(1, [PERSON], at=1000.0)
            served.token("camera", "porch")
        async with page(tmp_path) as served, served.viewer() as viewer:
            served.connected.add("porch")
            async with events(viewer) as stream:
                name, message = await stream.next()
        assert name == "state"
        assert [camera["name"] for camera in message["cameras"]] == ["gate", "porch"]
        gate, porch = message["cameras"]
        assert (gate["state"], gate["since"], gate["connected"]) == ("silent", 1000.0, False)
        assert gate["stored"]["frames"] == 1
        assert gate["last"]["boxes"] == [["person", 0.9, 10.0, 20.0, 30.0, 80.0]]
        assert (porch["state"], porch["connected"], porch["stored"]) == ("waiting", True, None)
        assert "last" not in porch

    async def test_of_an_empty_server(self, viewer: httpx.AsyncClient) -> None:
        async with events(viewer) as stream:
            assert (await stream.next())[1]["cameras"] == []

    async def test_it_is_told_again_and_again(
        self, quick: None, served: Page, viewer: httpx.AsyncClient
    ) -> None:
        async with events(viewer) as stream:
            served.bus.publish(sighting(1, PERSON))
            while not (message := (await stream.next("cameras"))[1])["cameras"]:
                pass
            assert "last" not in camera(message, "gate")
            served.keep(1, [PERSON])
            while (message := (await stream.next("cameras"))[1])["cameras"][0]["stored"] is None:
                pass
            assert camera(message, "gate")["stored"]["frames"] == 1

    async def test_a_camera_that_turns_up_in_the_store_is_told_with_its_last_frame(
        self, quick: None, served: Page, viewer: httpx.AsyncClient
    ) -> None:
        async with events(viewer) as stream:
            assert (await stream.next("state"))[1]["cameras"] == []
            served.keep(1, [PERSON])
            _, message = await stream.next("state")
        assert camera(message, "gate")["last"]["seq"] == "1"

    async def test_a_tokens_file_gone_wrong_stops_nothing(
        self, quick: None, served: Page, viewer: httpx.AsyncClient
    ) -> None:
        (served.data / "tokens").write_text("nonsense\n")
        await asyncio.sleep(0.2)  # some rounds of counting
        served.keep(1, [])
        (served.data / "tokens").write_text("")
        token = served.token()
        async with served.client() as client:
            await log_in(client, token)
            async with events(client) as stream:
                while not (await stream.next())[1]["cameras"]:
                    pass


class TestSeen:
    async def test_a_frame_as_it_comes(self, served: Page, viewer: httpx.AsyncClient) -> None:
        async with events(viewer) as stream:
            await stream.next("state")
            served.bus.publish(sighting(2**63 - 1, PERSON, at=1234.5))
            _, message = await stream.next("seen")
        assert message["seen"] == [
            {
                "camera": "gate", "boot": "b1", "seq": str(2**63 - 1), "at": 1234.5, "bytes": 300,
                "width": 160, "height": 120, "boxes": [["person", 0.9, 10.0, 20.0, 30.0, 80.0]],
                "presences": [],
            }
        ]  # fmt: skip

    async def test_of_many_at_once_the_newest_of_each_camera(
        self, served: Page, viewer: httpx.AsyncClient
    ) -> None:
        async with events(viewer) as stream:
            await stream.next("state")
            served.bus.publish(sighting(0))
            await stream.next("seen")
            for seq in range(1, 9):
                served.bus.publish(sighting(seq, PERSON))
                served.bus.publish(sighting(seq, CAR, camera="yard"))
            _, message = await stream.next("seen")
        assert {(one["camera"], one["seq"]) for one in message["seen"]} == {
            ("gate", "8"), ("yard", "8"),
        }  # fmt: skip

    async def test_who_comes_later_gets_the_last_one_with_the_state(
        self, served: Page, viewer: httpx.AsyncClient
    ) -> None:
        async with events(viewer) as stream:
            await stream.next("state")
            served.bus.publish(sighting(5, PERSON))
            await stream.next("seen")
        async with events(viewer) as stream:
            _, message = await stream.next()
        assert camera(message, "gate")["last"]["seq"] == "5"

    async def test_who_reads_too_slowly_gets_the_state_instead_of_what_it_missed(
        self, served: Page, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(live, "TICK_S", 0.0)
        stream = served.live.events(lambda: True)
        assert (await anext(stream)).startswith(b"event: state\n")
        for seq in range(30):
            served.bus.publish(sighting(seq, PERSON))
            await asyncio.sleep(0.001)  # a tick of its own
        assert (await anext(stream)).startswith(b"event: state\n")
        assert (await anext(stream)).startswith((b"event: seen\n", b"event: cameras\n"))
        await stream.aclose()


class TestEnd:
    async def test_with_the_bus(self, served: Page, viewer: httpx.AsyncClient) -> None:
        async with events(viewer) as stream:
            await stream.next("state")
            served.bus.close()
            await stream.end()

    async def test_pages_are_counted_while_they_are_open(
        self, served: Page, viewer: httpx.AsyncClient
    ) -> None:
        def viewers() -> float | None:
            return served.metrics.registry.get_sample_value("glimpse_viewers")

        async with events(viewer) as one, events(viewer) as other:
            await one.next()
            await other.next()
            assert viewers() == 2
        await until(lambda: viewers() == 0)

    async def test_there_are_so_many_and_no_more(
        self, served: Page, viewer: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("cloud.web.app.MOST_PAGES", 1)
        async with events(viewer) as stream:
            await stream.next()
            reply = await viewer.get("/api/live")
            assert reply.status_code == 503
            assert "takes no more" in reply.json()["error"]
            assert (await viewer.get("/api/frames")).status_code == 200
