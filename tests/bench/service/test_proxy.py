from __future__ import annotations

import asyncio
import time

from bench.service.proxy import Proxy


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


async def test_a_camera_is_told_that_the_server_is_away() -> None:
    free = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = free.sockets[0].getsockname()[1]
    free.close()
    await free.wait_closed()
    proxy = Proxy(f"127.0.0.1:{port}", lambda _: 1e6, 0.0)
    host, _, proxied = (await proxy.start()).rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(proxied))
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()
    await proxy.stop()


async def test_a_cut_ends_both_sides() -> None:
    through, ended = asyncio.Event(), asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(3) == b"abc"
        through.set()
        assert await reader.read() == b""
        ended.set()
        writer.close()

    server = await asyncio.start_server(wait, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    proxy = Proxy(f"127.0.0.1:{port}", lambda _: 1e6, 0.0)
    host, _, proxied = (await proxy.start()).rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(proxied))
    writer.write(b"abc")
    await asyncio.wait_for(through.wait(), 10)
    proxy.cut()
    assert await asyncio.wait_for(reader.read(), 10) == b""
    await asyncio.wait_for(ended.wait(), 10)
    writer.close()
    await proxy.stop()
    server.close()
