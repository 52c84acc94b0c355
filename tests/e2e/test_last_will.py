"""kill -9 of a server process: the MQTT broker says by itself that it is gone."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from tests.cloud.broker import broker, needs_mosquitto

ROOT = Path(__file__).parents[2]


@needs_mosquitto
async def test_the_last_will_of_a_server_that_was_killed(tmp_path: Path) -> None:
    async with broker(tmp_path) as server, server.follow("glimpse/#") as seen:
        events = tmp_path / "events.yaml"
        events.write_text(
            json.dumps({"mqtt": {"host": "127.0.0.1", "port": server.port, "tls": False}})
        )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cloud.main", "serve", "--listen", "127.0.0.1:0"),
            *("--metrics-listen", "", "--web-listen", "", "--data", str(tmp_path / "data")),
            cwd=ROOT,
            env={"GLIMPSE_CLOUD_EVENTS": str(events), "PATH": "/usr/bin:/bin"},
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await seen.until(lambda s: s.newest.get("glimpse/status") == "online")
        finally:
            process.kill()
            await process.wait()
        await seen.until(lambda s: s.newest["glimpse/status"] == "offline")
