"""Pages without browsers, before a real page."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import pytest

from bench.service.processes import ROOT
from bench.service.viewers import _order
from cloud.access.certificates import CertificateFiles
from tests.cloud.serving import until
from tests.cloud.web.page import PERSON, Page, page, sighting
from tests.cloud.web.test_serving import certificates


async def start(served: Page, files: CertificateFiles, count: int, token: str) -> Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.service.watchers",
        f"127.0.0.1:{served.port}", str(files.authority),
        str(count), cwd=ROOT, stdin=PIPE, stdout=PIPE, stderr=PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(token.encode())
    process.stdin.close()
    return process


async def test_each_page_reads_until_the_server_ends_it(tmp_path: Path) -> None:
    files = certificates(tmp_path / "tls")
    async with page(tmp_path, tls=files) as served:
        process = await start(served, files, 5, served.token())
        await until(lambda: served.live.pages == 5)
        served.bus.publish(sighting(1, PERSON))
        served.bus.close()
        got = json.loads((await process.communicate())[0])
    assert (got["pages"], process.returncode) == (5, 0)
    assert got["events"] >= 5  # the state, to each
    assert got["bytes"] > 5 * len('event: state\ndata: {"now":0,"cameras":[]}')


async def test_they_end_when_they_are_told_to(tmp_path: Path) -> None:
    files = certificates(tmp_path / "tls")
    async with page(tmp_path, tls=files) as served:
        process = await start(served, files, 2, served.token())
        await until(lambda: served.live.pages == 2)
        process.send_signal(signal.SIGTERM)
        said, _ = await process.communicate()
    assert process.returncode == 0
    assert json.loads(said).keys() == {"pages", "events", "bytes"}


async def test_a_token_that_is_not_known_is_told(tmp_path: Path) -> None:
    files = certificates(tmp_path / "tls")
    async with page(tmp_path, tls=files) as served:
        process = await start(served, files, 1, "guess")
        _, said = await process.communicate()
    assert process.returncode == 1
    assert b"does not let us in" in said


@pytest.mark.parametrize("rounds", [1, 2, 4, 6])
def test_both_kinds_come_as_often_and_neither_always_first(rounds: int) -> None:
    order = _order(50, rounds)
    assert order.count(0) == order.count(50) == rounds
    firsts = order[::2]
    assert rounds < 2 or len(set(firsts)) == 2
