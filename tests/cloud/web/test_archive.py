"""Stored frames as the page asks for them: paging, filters, the time line, one frame, its bytes."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import numpy as np
import pytest

from cloud.sightings import UNREADABLE
from cloud.store import Found
from cloud.web.archive import MOST_FRAMES
from common.types import FrameId, Presence
from tests.cloud.web.page import CAR, CODEC, PERSON, Page, layer_bytes
from tests.common.latents import scene


async def get(client: httpx.AsyncClient, path: str, **query: Any) -> Any:
    reply = await client.get(f"/api/{path}", params=query)
    assert reply.status_code == 200, reply.text
    return reply.json()


def seqs(answer: Any) -> list[str]:
    return [frame["seq"] for frame in answer["frames"]]


class TestFrames:
    async def test_none(self, viewer: httpx.AsyncClient) -> None:
        assert await get(viewer, "frames") == {"frames": [], "next": None}

    async def test_newest_first_page_by_page(self, served: Page, viewer: httpx.AsyncClient) -> None:
        for seq in range(7):
            served.keep(seq)
        found, before = [], ""
        for _ in range(3):
            answer = await get(viewer, "frames", limit=3, **({"before": before} if before else {}))
            found.append(seqs(answer))
            before = answer["next"]
        assert found == [["6", "5", "4"], ["3", "2", "1"], ["0"]]
        assert before is None

    async def test_pages_join_up_while_frames_come_and_expire(
        self, served: Page, viewer: httpx.AsyncClient
    ) -> None:
        for seq in range(6):
            served.keep(seq)
        first = await get(viewer, "frames", limit=3)
        served.keep(6)
        served.store.expire(4)  # 0 to 3, of which 3 is the page's last
        assert seqs(await get(viewer, "frames", limit=3, before=first["next"])) == []
        assert seqs(await get(viewer, "frames")) == ["6", "5", "4"]

    async def test_filters(self, served: Page, viewer: httpx.AsyncClient) -> None:
        served.keep(1, [PERSON])
        served.keep(2, [CAR])
        served.keep(3, [PERSON, CAR], camera="yard")
        assert seqs(await get(viewer, "frames", camera="gate")) == ["2", "1"]
        assert seqs(await get(viewer, "frames", label="person")) == ["3", "1"]
        assert seqs(await get(viewer, "frames", camera="gate", label="person")) == ["1"]
        assert seqs(await get(viewer, "frames", since=1002, until=1003)) == ["2"]
        assert seqs(await get(viewer, "frames", camera="", label="", since="")) == ["3", "2", "1"]
        assert seqs(await get(viewer, "frames", label="unicorn", camera="nowhere")) == []

    async def test_what_a_tile_shows(self, served: Page, viewer: httpx.AsyncClient) -> None:
        served.keep(2**63 - 1, [CAR, PERSON], at=1234.5)
        [frame] = (await get(viewer, "frames"))["frames"]
        assert frame == {
            "camera": "gate", "boot": "b1", "seq": str(2**63 - 1), "at": 1234.5,
            "bytes": len(layer_bytes()), "width": 160, "height": 120,
            "boxes": [
                ["person", 0.9, 10.0, 20.0, 30.0, 80.0], ["car", 0.6, 100.0, 40.0, 150.0, 70.0],
            ],
            "presences": [], "fault": "", "pinned": False,
        }  # fmt: skip

    async def test_a_layer_that_says_only_what_is_in_view(
        self, served: Page, viewer: httpx.AsyncClient
    ) -> None:
        served.keep(1, None)
        found = Found(FrameId("gate", "b1", 1), (), "m", presences=(Presence("bus", 0.75),))
        served.store.write([], [found])
        [frame] = (await get(viewer, "frames", label="bus"))["frames"]
        assert (frame["boxes"], frame["presences"]) == ([], [["bus", 0.75]])
        lanes = (await get(viewer, "marks"))["lanes"]
        assert [lane["label"] for lane in lanes if lane["marks"]] == [None, "bus"]

    async def test_not_yet_and_nothing_are_two_things(
        self, served: Page, viewer: httpx.AsyncClient
    ) -> None:
        served.keep(1, None)
        served.keep(2, [])
        frames = (await get(viewer, "frames"))["frames"]
        assert [frame["boxes"] for frame in frames] == [[], None]

    async def test_a_layer_that_could_not_be_read_says_why(
        self, served: Page, viewer: httpx.AsyncClient
    ) -> None:
        served.keep(1, None)
        reason = UNREADABLE + "the body ends early"
        served.store.write([], [Found(FrameId("gate", "b1", 1), (), reason)])
        served.keep(2, [PERSON], data=b"rotten")
        rotten, unread = (await get(viewer, "frames"))["frames"]
        assert (unread["boxes"], unread["fault"]) == (None, "the body ends early")
        assert (rotten["width"], rotten["fault"]) == (0, "the stored layer is damaged")

    async def test_a_page_is_bounded(self, served: Page, viewer: httpx.AsyncClient) -> None:
        served.keep_many(range(MOST_FRAMES + 5))
        assert len(seqs(await get(viewer, "frames", limit=10_000))) == MOST_FRAMES

    @pytest.mark.parametrize(
        "query",
        [
            "camera=../etc", "camera=UPPER", "since=yesterday", "until=nan", "until=inf", "limit=0",
            "limit=-1", "limit=1.5", "limit=a", "before=nonsense", "before=AAAA",
            "label=" + "a" * 65, "before=" + "A" * 3000,
        ],
    )  # fmt: skip
    async def test_what_is_wrong_is_said(self, viewer: httpx.AsyncClient, query: str) -> None:
        reply = await viewer.get(f"/api/frames?{query}")
        assert reply.status_code == 400
        assert reply.json()["error"]


class TestMarks:
    async def marks(self, viewer: httpx.AsyncClient, **query: Any) -> dict[str, list[int]]:
        lanes = (await get(viewer, "marks", **query))["lanes"]
        return {str(lane["label"]): sorted(lane["marks"]) for lane in lanes}

    async def test_where_there_are_frames_and_of_what(
        self, served: Page, viewer: httpx.AsyncClient
    ) -> None:
        served.keep(1, [PERSON], at=1000.0)
        served.keep(2, [PERSON, CAR], at=1010.0)
        served.keep(3, [], at=1095.0)
        assert await self.marks(viewer, span=100, until=1100, marks=10) == {
            "None": [0, 1, 9], "person": [0, 1], "car": [1], "bus": [],
        }  # fmt: skip

    async def test_of_one_camera(self, served: Page, viewer: httpx.AsyncClient) -> None:
        served.keep(1, [PERSON], at=1000.0)
        served.keep(2, [CAR], at=1050.0, camera="yard")
        found = await self.marks(viewer, span=100, until=1100, marks=10, camera="yard")
        assert found == {"None": [5], "person": [], "car": [5], "bus": []}

    async def test_each_part_once_however_many_frames(
        self, served: Page, viewer: httpx.AsyncClient
    ) -> None:
        served.keep_many(range(300), at=1000.0, fps=3)
        answer = await get(viewer, "marks", span=100, until=1100, marks=7)
        assert answer["lanes"][0]["marks"] == [6, 5, 4, 3, 2, 1, 0]
        assert answer["lanes"][1]["marks"] == [6, 5, 4, 3, 2, 1, 0]

    async def test_it_ends_at_the_newest_frame(
        self, served: Page, viewer: httpx.AsyncClient
    ) -> None:
        served.keep(1, [], at=1000.0)
        answer = await get(viewer, "marks", span=100, marks=10)
        assert answer["until"] == pytest.approx(1000.0)
        assert answer["lanes"][0]["marks"] == [9]

    async def test_a_clock_from_the_future_does_not_move_it_there(
        self, served: Page, viewer: httpx.AsyncClient
    ) -> None:
        served.keep(1, [], at=1000.0)
        served.keep(2, [], at=time.time() + 1e6)
        assert (await get(viewer, "marks"))["until"] == pytest.approx(1000.0)

    async def test_of_an_empty_store_it_ends_now(self, viewer: httpx.AsyncClient) -> None:
        answer = await get(viewer, "marks")
        assert answer["until"] == pytest.approx(time.time(), abs=60)
        assert [lane["marks"] for lane in answer["lanes"]] == [[], [], [], []]

    @pytest.mark.parametrize(
        "query", ["span=-1", "span=1e99", "marks=0", "until=x", "camera=/", "span=nan"]
    )
    async def test_what_is_wrong_is_said(self, viewer: httpx.AsyncClient, query: str) -> None:
        reply = await viewer.get(f"/api/marks?{query}")
        assert reply.status_code == 400
        assert reply.json()["error"]


class TestFrame:
    async def test_everything_that_is_known(self, served: Page, viewer: httpx.AsyncClient) -> None:
        served.keep(17, [PERSON], at=1234.5, data=layer_bytes(quality=51))
        served.store.pin(FrameId("gate", "b1", 17))
        frame = await get(viewer, "frames/gate/b1/17")
        assert frame["layer"] == {
            "kind": "machine, intra", "model": "1a2b", "profile": "detect", "quality": 0.2,
            "ivn": 0, "working": [160, 120],
        }  # fmt: skip
        assert frame["boxes"] == [["person", 0.9, 10.0, 20.0, 30.0, 80.0]]
        assert (frame["detector"], frame["pinned"]) == ("streets-1a2b", True)
        assert frame["stored_at"] == pytest.approx(time.time(), abs=60)

    async def test_a_damaged_one(self, served: Page, viewer: httpx.AsyncClient) -> None:
        served.keep(1, None, data=b"rotten")
        frame = await get(viewer, "frames/gate/b1/1")
        assert (frame["layer"], frame["detector"]) == (None, "")
        assert frame["fault"] == "the stored layer is damaged"

    @pytest.mark.parametrize("tail", ["", "/layer"])
    async def test_one_that_is_gone(self, viewer: httpx.AsyncClient, tail: str) -> None:
        reply = await viewer.get(f"/api/frames/gate/b1/17{tail}")
        assert reply.status_code == 404
        assert reply.json()["error"] == "gate/b1/17 is not stored"

    @pytest.mark.parametrize("tail", ["", "/layer"])
    @pytest.mark.parametrize(
        "name",
        ["GATE/b1/1", "gate/b.1/1", "gate/b1/-1", "gate/b1/x", "gate/b1/1e3", f"gate/b1/{2**63}",
         "gate/b1/" + "9" * 5000, "gate/b1/%D9%A1", "%2e%2e/%2e%2e/1", "gate/%00/1"],
    )  # fmt: skip
    async def test_what_is_no_name(self, viewer: httpx.AsyncClient, name: str, tail: str) -> None:
        reply = await viewer.get(f"/api/frames/{name}{tail}")
        assert reply.status_code in (400, 404)
        assert "error" in reply.json() or "No such page" in reply.text
        assert reply.status_code == 400 or "%2e" in name


class TestInterFrame:
    """A frame whose layer leans on the one before it."""

    @pytest.fixture
    def alone(self, served: Page) -> bytes:
        """Frames 1 and 2 of one chain are stored; the first is detected. Frame 2's layer alone."""
        y = scene(np.random.default_rng(3), 8, 8, 10, 2, 0.05)
        size = {"width": 160, "height": 120, "side": 160}
        first = CODEC.encode(y[0], **size, quality=102)
        second = CODEC.encode_inter(y[1], first, quality=51)
        served.keep(1, data=first.data)
        served.keep(2, None, data=second.data)
        self.header = second.header
        return CODEC.encode(y[1], **size, quality=51).data

    async def test_it_is_known_once_a_detector_has_read_it(
        self, served: Page, viewer: httpx.AsyncClient, alone: bytes
    ) -> None:
        frame = await get(viewer, "frames/gate/b1/2")
        assert (frame["layer"], frame["width"], frame["boxes"]) == (None, 0, None)
        assert frame["fault"] == ""
        found = Found(FrameId("gate", "b1", 2), (PERSON,), "streets-1a2b", self.header)
        served.store.write((), [found])
        frame = await get(viewer, "frames/gate/b1/2")
        assert (frame["width"], frame["height"], frame["fault"]) == (160, 120, "")
        assert frame["layer"]["kind"] == "machine, inter"
        assert frame["layer"]["quality"] == 0.2

    async def test_its_layer_is_handed_out_alone(
        self, served: Page, viewer: httpx.AsyncClient, alone: bytes
    ) -> None:
        reply = await viewer.get("/api/frames/gate/b1/2/layer")
        assert reply.content == alone
        [entry] = map(json.loads, (served.data / "audit.jsonl").read_text().splitlines())
        assert entry["bytes"] == len(alone)

    async def test_it_is_not_where_its_chain_is_gone(
        self, served: Page, viewer: httpx.AsyncClient, alone: bytes
    ) -> None:
        layer = served.store.get(FrameId("gate", "b1", 2))
        assert layer is not None
        served.keep(1, camera="yard", data=layer.data)
        reply = await viewer.get("/api/frames/yard/b1/1/layer")
        assert reply.status_code == 404
        assert "missing" in reply.json()["error"]


class TestLayer:
    async def test_it_is_what_the_camera_sent(
        self, served: Page, viewer: httpx.AsyncClient
    ) -> None:
        sent = layer_bytes(bytes(range(256)))
        served.keep(17, [PERSON], data=sent)
        reply = await viewer.get("/api/frames/gate/b1/17/layer")
        assert reply.content == sent
        assert reply.headers["content-type"] == "application/octet-stream"
        assert reply.headers["content-disposition"] == 'attachment; filename="gate-b1-17.glimpse"'

    async def test_who_takes_it_is_in_the_audit_and_who_looks_at_boxes_is_not(
        self, served: Page, viewer: httpx.AsyncClient
    ) -> None:
        served.keep(17, [PERSON])
        await get(viewer, "frames/gate/b1/17")
        await viewer.get("/api/frames/gate/b1/17/layer")
        [entry] = map(json.loads, (served.data / "audit.jsonl").read_text().splitlines())
        assert (entry["who"], entry["from"]) == ("viewer alice", "127.0.0.1")
        assert (entry["frame"], entry["call"]) == ("gate/b1/17", "page")

    async def test_nobody_takes_it_unseen(self, served: Page, viewer: httpx.AsyncClient) -> None:
        served.keep(17, [PERSON])
        (served.data / "audit.jsonl").unlink()
        (served.data / "audit.jsonl").mkdir()
        reply = await viewer.get("/api/frames/gate/b1/17/layer")
        assert reply.status_code == 507
        assert "audit" in reply.json()["error"]


async def test_ten_thousand_frames_cost_a_page_no_more_than_three_hundred(
    served: Page, viewer: httpx.AsyncClient
) -> None:
    """Counted in steps of SQLite's machine, which no other program's load can change."""
    questions = (
        "frames", "frames?camera=gate", "frames?label=person", "frames?camera=gate&label=person",
        "frames?label=bus", "frames?until=1000050", "marks?span=60", "frames/gate/b1/7",
    )  # fmt: skip
    costs = []
    for seqs in (range(300), range(300, 10_000)):
        served.keep_many(seqs)
        costs.append([await steps(served, viewer, question) for question in questions])
    for question, few, many in zip(questions, *costs, strict=True):
        assert many < 1.5 * few + 100, question
        assert many < 100_000, question  # some milliseconds


async def steps(served: Page, viewer: httpx.AsyncClient, question: str) -> int:
    """To the ten."""
    taken = 0

    def step() -> None:
        nonlocal taken
        taken += 10

    database = served.store._database._db
    database.set_progress_handler(step, 10)
    try:
        assert (await viewer.get(f"/api/{question}")).status_code == 200
    finally:
        database.set_progress_handler(None, 0)
    return taken
