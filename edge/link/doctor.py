"""The doctor on the way to the server: each hop of it, up to the first one that does not hold."""

from __future__ import annotations

import asyncio
import socket
import ssl
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from common.errors import BadSettings, GlimpseError
from common.findings import Finding, clock_skew, days_left, fail, ok, warn
from common.session.events import Goodbye, GoodbyeCode
from edge.link import KEEPALIVE_MS, Link
from edge.link.peer import explained, own_expiry, server_expiry
from edge.link.wire import to_wire
from edge.settings import EdgeSettings
from glimpse.v1 import ingest_pb2_grpc

PATIENCE_S = 15.0
CERTIFICATE_DAYS = 21.0

_ROUNDS = 3
_SERVER = "is it running, and does --server name it? On it: glimpse-cloud doctor"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be found out.

    model_id    of this camera's layers; None: its weights are broken
    needs       bytes a second that its layers take, about; 0: not known
    upload      bytes to send for measuring
    idle_s      for how long the connection is to lie idle; 0: not at all
    """

    model_id: int | None
    needs: float = 0.0
    upload: int = 16_384
    idle_s: float = 0.0


async def hops(settings: EdgeSettings, wish: Wish) -> AsyncIterator[Finding]:
    """From this machine's files to a call that the server answers."""
    try:
        link = settings.link()
    except BadSettings as error:
        yield fail("files", str(error), "see docs/configuration.md")
        return
    host, _, port = settings.server.rpartition(":")
    for hop in (_name, _connection):
        finding = await hop(host.strip("[]"), int(port))
        yield finding
        if finding.level == "fail":
            return
    if settings.certificate is not None and settings.key is not None:
        yield _own(settings)
    if settings.insecure:
        yield warn("tls", "none: others can read token and layers", "leave --insecure away")
    else:
        yield (finding := await _tls(settings))
        if finding.level == "fail":
            return
    async with link.channel() as channel:
        async for finding in _calls(channel, link, wish):
            yield finding


async def _name(host: str, port: int) -> Finding:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        return fail("name", f"{host}: {error.strerror}", "ask the network's DNS, or use an address")
    addresses = ", ".join(sorted({str(info[4][0]) for info in found}))
    return ok("name", f"{host} is {addresses}")


async def _connection(host: str, port: int) -> Finding:
    started = time.monotonic()
    try:
        async with asyncio.timeout(PATIENCE_S):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return fail(
            "connection",
            f"no answer from {host}:{port} within {PATIENCE_S:g} s",
            "a firewall on the way, or the wrong address",
        )
    except OSError as error:
        return fail("connection", f"{host}:{port}: {error.strerror or error}", _SERVER)
    writer.close()
    return ok("connection", f"{host}:{port} in {1000 * (time.monotonic() - started):.0f} ms")


def _own(settings: EdgeSettings) -> Finding:
    renew = "on the server: glimpse-cloud certificates --camera " + settings.camera
    try:
        end = own_expiry(settings.certificate, settings.key)  # type: ignore[arg-type]
    except ssl.SSLError as error:
        reason = getattr(error, "verify_message", None) or error.reason
        return fail("own tls", f"this camera's certificate: {reason}", renew)
    return days_left("own tls", end - time.time(), CERTIFICATE_DAYS, renew)


async def _tls(settings: EdgeSettings) -> Finding:
    try:
        end = await server_expiry(settings, PATIENCE_S)
    except ssl.SSLError as error:
        return fail("tls", *explained(error))
    except (OSError, TimeoutError) as error:
        return fail("tls", f"the handshake broke off: {error or 'no answer'}", _SERVER)
    renew = "on the server: glimpse-cloud certificates HOST"
    return days_left("tls", end - time.time(), CERTIFICATE_DAYS, renew)


async def _calls(channel: grpc.aio.Channel, link: Link, wish: Wish) -> AsyncIterator[Finding]:
    try:
        trip, told, clock = await _round_trips(channel)
    except grpc.aio.AioRpcError as error:
        yield fail("server", str(link.explain(error)), _SERVER)
        return
    yield ok("round trip", f"{1000 * trip:.0f} ms to the server and back, in an open connection")
    yield _model(told.get("glimpse-model"), wish.model_id)
    if "glimpse-time" in told:
        yield clock_skew("clock", clock - float(told["glimpse-time"]), trip / 2)
    yield await _login(channel, link)
    yield await _upload(channel, link, wish, trip)
    yield await _idle(channel, wish.idle_s)


async def _round_trips(channel: grpc.aio.Channel) -> tuple[float, dict[str, str], float]:
    """Median seconds, what the last answer told beside, and the time here in its middle."""
    took = []
    for _ in range(_ROUNDS + 1):  # the first one opens the connection
        began, started = time.time(), time.monotonic()
        stub = health_pb2_grpc.HealthStub(channel)
        call = stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S)
        told = {key: str(value) for key, value in await call.initial_metadata() or ()}
        await call
        took.append(time.monotonic() - started)
    return statistics.median(took[1:]), told, began + took[-1] / 2


def _model(theirs: str | None, ours: int | None) -> Finding:
    if theirs is None:
        return warn("model", "this server does not tell its model", "a newer server does")
    if ours is None:
        return warn("model", f"the server reads {theirs}; here no weights can be read", "see above")
    if int(theirs, 16) != ours:
        return fail(
            "model",
            f"this camera writes {ours:04x}, the server reads {theirs}",
            "install the same weights on both sides",
        )
    return ok("model", f"{theirs} on both sides")


async def _login(channel: grpc.aio.Channel, link: Link) -> Finding:
    """A stream that leaves before it has said which camera it is: nobody's place is taken."""
    call = ingest_pb2_grpc.IngestServiceStub(channel).Stream(
        metadata=link.metadata, timeout=PATIENCE_S
    )
    try:
        await call.write(to_wire(Goodbye(GoodbyeCode.DONE)))
        await call.done_writing()
        while await call.read() is not grpc.aio.EOF:
            pass
        return ok("login", "the server takes this camera in")
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        code, details = await call.code(), await call.details()
    error: GlimpseError = link.explain(
        grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)
    )
    return fail("login", str(error), "on the server: glimpse-cloud token camera NAME, then copy it")


async def _upload(channel: grpc.aio.Channel, link: Link, wish: Wish, trip: float) -> Finding:
    """By a question after a service whose name is that long: the health service needs no token."""
    if not wish.upload:
        return ok("upload", "not measured")
    request = health_pb2.HealthCheckRequest(service="." * wish.upload)
    started = time.monotonic()
    try:
        await health_pb2_grpc.HealthStub(channel).Check(request, timeout=4 * PATIENCE_S)
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            return fail("upload", str(link.explain(error)), "a link that breaks under load?")
    took = max(time.monotonic() - started - trip, 1e-4)
    rate = wish.upload / took
    says = f"{wish.upload} bytes in {took:.2f} s: {8 * rate / 1000:.0f} kbit/s, or more"
    if rate < wish.needs:
        need = f"; frames take some {8 * wish.needs / 1000:.0f} kbit/s"
        return warn("upload", says + need, "lower --quality or --fps, or set --budget")
    return ok("upload", says)


async def _idle(channel: grpc.aio.Channel, idle_s: float) -> Finding:
    every = f"asked for every {KEEPALIVE_MS / 1000:g} s"
    if not idle_s:
        return ok("keepalive", f"{every}; --idle 90 looks whether a silent connection lives")
    lost: Any = grpc.ChannelConnectivity.READY
    deadline = time.monotonic() + idle_s
    while lost is grpc.ChannelConnectivity.READY and (rest := deadline - time.monotonic()) > 0:
        try:
            await asyncio.wait_for(channel.wait_for_state_change(lost), rest)
        except TimeoutError:
            break
        lost = channel.get_state()
    if lost is not grpc.ChannelConnectivity.READY:
        lived = idle_s - max(deadline - time.monotonic(), 0.0)
        return fail(
            "keepalive",
            f"a silent connection was dropped after {lived:.0f} s",
            "a router or proxy on the way: raise its idle timeout",
        )
    return ok("keepalive", f"a silent connection lived for {idle_s:g} s, {every}")
