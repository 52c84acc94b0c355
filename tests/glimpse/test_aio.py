"""What only asyncio's client must do: cancel well."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.cloud.serving import serving, until
from tests.glimpse.clients import client


async def test_a_task_that_is_cancelled_in_a_watch_is_cancelled(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, client("async", served) as cloud:
        for timed_out in (False, True):

            async def follow(limit: float | None) -> None:
                async with asyncio.timeout(limit):
                    async for _ in cloud.client.watch():
                        pass

            task = asyncio.create_task(follow(0.3 if timed_out else None))
            await until(lambda: served.running.bus.subscribers == 1)
            if not timed_out:
                task.cancel()
            with pytest.raises(TimeoutError if timed_out else asyncio.CancelledError):
                await task
            await until(lambda: served.running.bus.subscribers == 0)
        assert await cloud.frames() == []


async def test_a_loop_that_breaks_ends_its_call(tmp_path: Path) -> None:
    from tests.glimpse.test_client import publish, sighting

    async with serving(tmp_path) as served, client("async", served) as cloud:
        asking = asyncio.create_task(publish(served, sighting(1)))
        async for _ in cloud.client.watch():
            break
        await asking
        await until(lambda: served.running.bus.subscribers == 0)
