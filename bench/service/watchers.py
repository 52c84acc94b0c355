"""Open viewer pages without browsers: logged in, each with its own stream, reading all of it.

    python -m bench.service.watchers HOST:PORT CA COUNT < token

Runs until SIGTERM or the server's end; then prints one JSON object: the pages, and the events and
bytes they got.
A process of its own, so that what reading costs is not the server's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlencode

Link = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Got:
    """By all pages together; `pages`: those whose stream began."""

    pages: int = 0
    events: int = 0
    bytes: int = 0


async def watch(address: str, authority: Path, token: str, count: int) -> Got:
    """`count` pages of one viewer, until SIGTERM or until the server has ended them all."""
    trust = ssl.create_default_context(cafile=str(authority))
    cookie = await _log_in(address, trust, token)
    got = Got()
    pages = asyncio.gather(
        *(_page(address, trust, cookie, got) for _ in range(count)), return_exceptions=True
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, pages.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await pages
    return got


async def _log_in(address: str, trust: ssl.SSLContext, token: str) -> str:
    body = urlencode({"token": token})
    headers = f"Sec-Fetch-Site: same-origin\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    async with _link(address, trust) as (reader, writer):
        writer.write(f"POST /login HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n{body}".encode())
        answer = (await reader.read()).decode()
    cookies = [line for line in answer.split("\r\n") if line.lower().startswith("set-cookie:")]
    if not cookies:
        raise SystemExit(f"the page does not let us in: {answer.splitlines()[0]}")
    return cookies[0].partition(":")[2].partition(";")[0].strip()


async def _page(address: str, trust: ssl.SSLContext, cookie: str, got: Got) -> None:
    async with _link(address, trust) as (reader, writer):
        headers = f"Host: {address}\r\nCookie: {cookie}\r\nConnection: close\r\n"
        writer.write(f"GET /api/live HTTP/1.1\r\n{headers}\r\n".encode())
        if b" 200 " not in await reader.readline():
            return
        got.pages += 1
        while chunk := await reader.read(1 << 16):
            got.bytes += len(chunk)
            got.events += chunk.count(b"event: ")


@contextlib.asynccontextmanager
async def _link(address: str, trust: ssl.SSLContext) -> AsyncIterator[Link]:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=trust)
    try:
        yield reader, writer
    finally:
        writer.close()


def main() -> None:
    address, authority, count = sys.argv[1:]
    token = sys.stdin.read().strip()
    got = asyncio.run(watch(address, Path(authority), token, int(count)))
    print(json.dumps(asdict(got)))


if __name__ == "__main__":
    main()
