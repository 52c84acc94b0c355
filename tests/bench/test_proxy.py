from __future__ import annotations

import asyncio
import time

from bench.proxy import Proxy


async def test_rate_delay_and_count() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(2000))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    proxy = Proxy(f"127.0.0.1:{port}", lambda _: 160_000.0, 0.05)
    host, _, proxied = (await proxy.start()).rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(proxied))
    started = time.monotonic()
    writer.write(bytes(2000))
    assert len(await reader.readexactly(2000)) == 2000
    assert time.monotonic() - started > 0.2 + 0.1  # 2000 bytes each way at 20 kB/s, two delays
    writer.close()
    await proxy.stop()
    server.close()
    _, up, down = proxy.history[-1]
    assert 2000 < up < 3500
    assert 2000 < down < 3500
