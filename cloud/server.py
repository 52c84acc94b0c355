"""The cloud process: constructs every part, runs them, and takes them down in order.

Shutdown: health says NOT_SERVING; cameras get a Goodbye and settle what they sent; viewers' calls
end; what the detector still holds is finished; the store closes. What is cut off by impatience was
stored before its ack, and is detected at the next start.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from grpc_health.v1.health import aio as health  # type: ignore[import-untyped]
from prometheus_client import CollectorRegistry, start_http_server

from cloud.archive import ArchiveService
from cloud.batching import BatchingDetector
from cloud.bus import Bus
from cloud.certificates import CertificateFiles, make_certificates
from cloud.detection import DetectionService
from cloud.detector import LayerDetector
from cloud.folder import data_files
from cloud.identity import Identities
from cloud.ingest import IngestService
from cloud.intake import Intake
from cloud.metrics import Metrics
from cloud.retention import Retention
from cloud.settings import CloudSettings
from cloud.sightings import Sighting
from cloud.store_sqlite import SqliteFrameStore
from cloud.weights import load_weights
from cloud.writer import StoreWriter
from common.errors import BadSettings
from common.session import CloudPolicy
from glimpse.v1 import archive_pb2_grpc, detection_pb2_grpc, ingest_pb2_grpc

log = structlog.get_logger()

SERVICES = (
    "",
    "glimpse.v1.IngestService",
    "glimpse.v1.DetectionService",
    "glimpse.v1.ArchiveService",
)
_OPTIONS = (
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.bdp_probe", 0),  # probes for bandwidth that no camera uses cost it bytes
    ("grpc.so_reuseport", 0),  # a second server on this port is a mistake, not a helper
)


@dataclass(frozen=True, slots=True)
class Running:
    """A server that serves. port: gRPC's; metrics_port: 0 if there is no such page."""

    port: int
    metrics_port: int
    metrics: Metrics
    ingest: IngestService
    bus: Bus[Sighting]


def prepare(settings: CloudSettings, hosts: tuple[str, ...] = ("localhost", "127.0.0.1")) -> None:
    """Makes what a first start lacks: certificates, and a viewer token in data/viewer.token."""
    _, tokens, certificates = data_files(settings.data)
    if not settings.insecure and not certificates.exist():
        make_certificates(certificates.authority.parent, hosts, datetime.datetime.now(datetime.UTC))
        log.info("made development certificates", authority=str(certificates.authority))
    viewer = settings.data / "viewer.token"
    if not viewer.exists():
        write_token(viewer, Identities(tokens).add("viewer", "local"))


def write_token(path: Path, token: str) -> None:
    """One line, readable by its owner only."""
    path.touch(mode=0o600)
    path.write_text(token + "\n")


async def serve(settings: CloudSettings) -> None:
    """Serves until SIGTERM or SIGINT. Raises BadSettings, ModelMismatch before it serves."""
    prepare(settings)
    stop = asyncio.Event()
    with _signals_to(stop.set) as default:
        async with running(settings) as server:
            log.info(
                "serving", port=server.port, data=str(settings.data), tls=not settings.insecure
            )
            await stop.wait()
            default()  # a second signal does not wait for anybody
            log.info("draining")


@contextlib.contextmanager
def _signals_to(act: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """SIGTERM and SIGINT call `act`, until the function given is called, or the body ends."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, act)

    def default() -> None:
        for number in signals:
            loop.remove_signal_handler(number)

    try:
        yield default
    finally:
        default()


@contextlib.asynccontextmanager
async def running(settings: CloudSettings) -> AsyncIterator[Running]:
    """A running server: what `serve` does between two signals, and tests do.

    Raises BadSettings, ModelMismatch before it serves. A part that fails later ends the body with
    an ExceptionGroup: a server that cannot store must not look alive.
    """
    store_path, tokens, certificates = data_files(settings.data)
    identities = Identities(tokens)
    metrics = Metrics(CollectorRegistry())
    layers = LayerDetector(
        load_weights(settings.weights, max_side=settings.max_side),
        threads=settings.threads,
        min_score=settings.min_score,
    )
    async with contextlib.AsyncExitStack() as stack:
        store = SqliteFrameStore(store_path, max_bytes=settings.max_store_bytes)
        stack.callback(store.close)
        writer = StoreWriter(store, metrics)
        detector = BatchingDetector(
            layers, metrics, window_s=settings.batch_window_ms / 1000, most=settings.batch
        )
        retention = Retention(
            store, metrics, keep_days=settings.keep_days, keep_bytes=settings.keep_bytes
        )
        bus: Bus[Sighting] = Bus()
        intake = Intake(
            store, writer, detector, bus, metrics,
            model_id=layers.model_id, model=layers.model, inspect=layers.inspect,
        )  # fmt: skip
        policy = CloudPolicy(window=settings.credits, max_layer_bytes=settings.max_layer_bytes)
        ingest = IngestService(intake, identities, metrics, policy)
        checks = health.HealthServicer()
        server = grpc.aio.server(options=_OPTIONS)
        ingest_pb2_grpc.add_IngestServiceServicer_to_server(ingest, server)
        detection_pb2_grpc.add_DetectionServiceServicer_to_server(
            DetectionService(detector, bus, identities, metrics), server
        )
        archive_pb2_grpc.add_ArchiveServiceServicer_to_server(
            ArchiveService(store, identities, metrics), server
        )
        health_pb2_grpc.add_HealthServicer_to_server(checks, server)
        port = _bind(server, settings, certificates)
        metrics_port = stack.enter_context(_metrics_page(settings.metrics_listen, metrics))
        await stack.enter_async_context(
            _working(writer.run(), detector.run(), intake.catch_up(), retention.run())
        )
        stack.push_async_callback(intake.finish, 0)
        stack.push_async_callback(server.stop, 0)
        await server.start()
        for service in SERVICES:
            await checks.set(service, health_pb2.HealthCheckResponse.SERVING)

        yield Running(port, metrics_port, metrics, ingest, bus)

        await checks.enter_graceful_shutdown()
        ingest.drain()
        bus.close()
        await server.stop(settings.drain_s)
        await intake.finish(settings.drain_s)


@contextlib.asynccontextmanager
async def _working(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs these beside the body, which is cancelled if one of them fails."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in works]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


def _bind(server: grpc.aio.Server, settings: CloudSettings, files: CertificateFiles) -> int:
    if not settings.listen.rpartition(":")[0]:
        raise BadSettings(f"listen: {settings.listen!r} is not HOST:PORT")
    try:
        if settings.insecure:
            return server.add_insecure_port(settings.listen)
        pair = (files.key.read_bytes(), files.certificate.read_bytes())
        return server.add_secure_port(settings.listen, grpc.ssl_server_credentials([pair]))
    except RuntimeError as error:
        raise BadSettings(f"cannot listen on {settings.listen}: in use, or not ours") from error
    except OSError as error:
        raise BadSettings(f"{error.filename}: {error.strerror}") from error


@contextlib.contextmanager
def _metrics_page(listen: str, metrics: Metrics) -> Iterator[int]:
    """Prometheus' own small HTTP server on a thread of its own; its port."""
    if not listen:
        yield 0
        return
    host, _, port = listen.rpartition(":")
    try:
        server, thread = start_http_server(int(port), host, registry=metrics.registry)
    except (OSError, ValueError, OverflowError) as error:
        raise BadSettings(f"cannot serve metrics on {listen}: {error}") from error
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
