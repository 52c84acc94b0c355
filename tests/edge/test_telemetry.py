from __future__ import annotations

import asyncio
import io
import math
import time
from pathlib import Path

from common.session.events import Telemetry
from common.types import FrameId
from edge.display import Display
from edge.ledger import Ledger
from edge.link.counter import WireBytes
from edge.rate import Limits, RateControl
from edge.run import run
from edge.settings import read_settings
from edge.spool import Expired, ExpiryReason, SpoolStatus
from edge.telemetry import telemetry
from tests.edge.server import Server, serving, until
from tests.edge.test_uplink import MODEL, Rig, plain


def test_it_says_what_the_ledger_and_the_spool_say() -> None:
    ledger = Ledger("b1", 0)
    ledger.captured, ledger.bad, ledger.connections, ledger.refused = 10, 1, 3, 1
    ledger.skipped["late"], ledger.thinned["budget"] = 2, 3
    ledger.on_coded(1, 0.0, 100)
    ledger.quality_sum = 0.5
    ledger.on_settled("b1", 1, refused=False)
    ledger.on_expired([Expired(FrameId("gate", "b1", 9), ExpiryReason.SPOOL_FULL)])
    told = telemetry(ledger, SpoolStatus(4, 400, 900.0, 1000), WireBytes(50, 60), 1250.4, 1000.5)
    assert told == Telemetry(10, 3, 3, 1, 1, 1, 4, 100, 128, 110, 2, 1250, 400, 1000)


def test_what_is_not_known_or_not_there() -> None:
    told = telemetry(Ledger("b1", 0), SpoolStatus(0, 0, None, 1000), None, math.inf, 0.0)
    assert told == Telemetry(spool_max_bytes=1000)
    future = telemetry(Ledger("b1", 0), SpoolStatus(1, 9, 5000.0, 1000), None, 0.2, 1000.0)
    assert (future.spool_oldest_s, future.budget) == (0, 1)


async def test_it_reaches_the_server_and_counts_in_the_budget() -> None:
    rate = RateControl(Limits(budget=5000.0), time.monotonic())
    async with serving(Server(MODEL)) as server:
        rig = Rig(plain(server), rate=rate)
        rig.uplink.tell(Telemetry(captured=1))  # nobody is there yet: it is gone
        task = asyncio.create_task(rig.uplink.run())
        await until(lambda: rig.ledger.connections)
        before = rate._bucket.spent
        rig.uplink.tell(Telemetry(captured=2, budget=2**32 - 1))
        await until(lambda: server.told)
        assert server.told == [Telemetry(captured=2, budget=2**32 - 1)]
        assert rate._bucket.spent > before
        rig.uplink.stop()
        await task


async def test_a_camera_tells_as_often_as_it_is_set(weights_folder: Path, tmp_path: Path) -> None:
    from PIL import Image

    from edge.coding.weights import load_weights

    photos = tmp_path / "photos"
    photos.mkdir()
    for n in range(3):
        Image.new("RGB", (64, 48), (40 * n, 90, 30)).save(photos / f"{n}.png")
    model = load_weights(weights_folder).manifest.model_id
    for every, tells in ((0.3, True), (0.0, False)):
        async with serving(Server(model)) as server:
            settings = read_settings(
                server=server.address, insecure=True, weights=weights_folder, fps=20, threads=1,
                loop=True, seconds=2, telemetry_s=every,
            )  # fmt: skip
            report = await run(settings, str(photos), Display(io.StringIO(), io.StringIO()))
            assert report.error is None
            assert bool(server.told) is tells
            assert all(t.captured <= report.summary["captured"] for t in server.told)
