"""Both clients behind one face, so that one test says what both do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import glimpse
from cloud.folder import data_files
from tests.cloud.serving import Served

KINDS = ["sync", "async"]
QUICK = glimpse.Retry(first_s=0.02, most_s=0.2, patience_s=20.0)


class Either:
    """Client on a thread of its own, or AsyncClient."""

    def __init__(self, client: glimpse.Client | glimpse.AsyncClient) -> None:
        self.client: Any = client
        self.is_async = isinstance(client, glimpse.AsyncClient)

    async def detect(self, *arguments: Any, **options: Any) -> glimpse.Detection:
        return await self._call("detect", *arguments, **options)  # type: ignore[no-any-return]

    async def frame(self, *arguments: Any, **options: Any) -> glimpse.Frame:
        return await self._call("frame", *arguments, **options)  # type: ignore[no-any-return]

    async def reconstruct(self, *arguments: Any, **options: Any) -> glimpse.Picture:
        return await self._call("reconstruct", *arguments, **options)  # type: ignore[no-any-return]

    async def frames(self, **options: Any) -> list[glimpse.Frame]:
        if self.is_async:
            return [found async for found in self.client.frames(**options)]
        return await asyncio.to_thread(lambda: list(self.client.frames(**options)))

    async def watch(
        self, *arguments: Any, **options: Any
    ) -> AsyncGenerator[glimpse.Sighting, None]:
        """Each step is bounded in time."""
        seen = self.client.watch(*arguments, **options)
        try:
            while (item := await asyncio.wait_for(self._next(seen), 20)) is not None:
                yield item
        finally:
            await seen.aclose() if self.is_async else seen.close()

    async def close(self) -> None:
        if self.is_async:
            await self.client.close()
        else:
            await asyncio.to_thread(self.client.close)

    async def _call(self, name: str, *arguments: Any, **options: Any) -> Any:
        method = getattr(self.client, name)
        if self.is_async:
            return await method(*arguments, **options)
        return await asyncio.to_thread(method, *arguments, **options)

    async def _next(self, seen: Any) -> Any:
        if self.is_async:
            return await anext(seen, None)
        return await asyncio.to_thread(next, seen, None)


@asynccontextmanager
async def client(kind: str, served: Served, **options: Any) -> AsyncIterator[Either]:
    """A viewer's client of this server, unless `options` say otherwise."""
    chosen: dict[str, Any] = {
        "server": f"127.0.0.1:{served.running.port}",
        "ca": data_files(served.settings.data)[2].authority,
        "token": served.viewer_token,
        "retry": QUICK,
    }
    cls = glimpse.AsyncClient if kind == "async" else glimpse.Client
    either = Either(cls.connect(**(chosen | options)))
    try:
        yield either
    finally:
        await either.close()


def reasons(error: BaseException) -> Iterator[BaseException]:
    """The error and what it stands on."""
    yield error
    if error.__cause__ is not None:
        yield from reasons(error.__cause__)
