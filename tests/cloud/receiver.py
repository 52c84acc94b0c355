"""A real HTTP server that takes webhooks, or does whatever a test wants instead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

import glimpse
from glimpse.webhooks import KEY, SIGNATURE

SECRET = b"a secret of some length"


@dataclass
class Receiver:
    """taken: (key, message) of each that it answered with 2xx; tries: keys of all, in order."""

    url: str = ""
    taken: list[tuple[str, Any]] = field(default_factory=list)
    tries: list[str] = field(default_factory=list)
    secret: bytes = SECRET
    answer: Callable[[], web.Response] = web.Response
    pause_s: float = 0.0

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        key = request.headers[KEY]
        self.tries.append(key)
        await asyncio.sleep(self.pause_s)
        try:
            message = glimpse.verify_webhook(body, request.headers[SIGNATURE], self.secret)
        except glimpse.InvalidSignature:
            return web.Response(status=401)
        response = self.answer()
        if 200 <= response.status < 300:
            self.taken.append((key, message))
        return response


@asynccontextmanager
async def receiving(port: int = 0, **options: Any) -> AsyncIterator[Receiver]:
    receiver = Receiver(**options)
    app = web.Application()
    app.router.add_post("/hook", receiver.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    [address] = runner.addresses
    receiver.url = f"http://127.0.0.1:{address[1]}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()
