"""Clicks without a browser, before a real page and a decoder in its own process."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from bench.service.clicks import Click, Visitor, _together, clicks
from common.types import FrameId
from edge.coding.weights import DEFAULT_WEIGHTS
from tests.cloud.decoders import did
from tests.cloud.web.page import page, scene_layer
from tests.cloud.web.test_serving import certificates


def names(*seqs: int) -> list[FrameId]:
    return [FrameId("gate", "b1", seq) for seq in seqs]


async def test_the_first_click_is_cold_and_the_next_is_warm(tmp_path: Path) -> None:
    files = certificates(tmp_path / "tls")
    async with page(tmp_path, tls=files) as served:
        human = served.decoder()
        for seq in (1, 2):
            served.keep(seq, data=scene_layer(seq).data)

        def visit(token: str) -> list[Click]:
            web = f"127.0.0.1:{served.port}"
            visitor = Visitor(web, files.authority, token)
            return [visitor.click(frame) for frame in names(1, 2, 2)]

        cold, warm, again = await asyncio.to_thread(visit, served.token())
    assert [cold.cold, warm.cold, again.cold] == [True, False, False]
    for one in (cold, warm, again):
        assert 0 < one.first <= one.preview <= one.picture
    assert cold.first < cold.picture  # it was told of on the way
    assert again.preview == again.picture  # it was made before, and comes at once
    assert did(human).count("begin 0") == 2


async def test_what_the_page_refuses_is_told(tmp_path: Path) -> None:
    files = certificates(tmp_path / "tls")
    async with page(tmp_path, tls=files) as served:
        served.decoder()
        web = f"127.0.0.1:{served.port}"
        with pytest.raises(SystemExit, match="does not let us in"):
            await asyncio.to_thread(Visitor, web, files.authority, "guess")
        token = served.token()
        visitor = await asyncio.to_thread(Visitor, web, files.authority, token)
        with pytest.raises(SystemExit, match="not stored"):
            await asyncio.to_thread(visitor.click, *names(77))
        served.keep(1, data=scene_layer().data)
        (served.data / "human" / "fail").write_text("no memory")
        with pytest.raises(SystemExit, match="the decoder failed"):
            await asyncio.to_thread(visitor.click, *names(1))


def test_percentiles_of_what_there_was() -> None:
    made = [Click(False, first, first + 100, first + 200) for first in (10.0, 20.0, 30.0)]
    figures = _together(made)
    assert figures["clicks"] == 3
    assert figures["first_ms"] == {"p50": 20.0, "p95": 29.0}
    assert figures["picture_ms"] == {"p50": 220.0, "p95": 229.0}
    assert _together([]) == {"clicks": 0}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_real_server_and_decoder(tmp_path: Path) -> None:
    clicks(tmp_path, DEFAULT_WEIGHTS, count=1)
    report = json.loads((tmp_path / "clicks.json").read_text())
    assert report["clicks"] == 2
    assert report["cold"]["clicks"] >= 1
    first, picture = (report["cold"][f"{what}_ms"]["p50"] for what in ("first", "picture"))
    assert 0 < first < picture
