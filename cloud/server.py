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
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from prometheus_client import CollectorRegistry, start_http_server

from cloud.access.addresses import listens_here_only
from cloud.access.attempts import Attempts
from cloud.access.audit import Audit
from cloud.access.certificates import make_certificates
from cloud.access.expiry import Expiries
from cloud.access.identity import Identities
from cloud.access.logins import Logins
from cloud.alone import Alone
from cloud.archive import ArchiveService
from cloud.batching import BatchingDetector
from cloud.bus import Bus
from cloud.chains import Chains
from cloud.detection import DetectionService
from cloud.detector import LayerDetector
from cloud.events.config import read_events
from cloud.events.out import EventsOut
from cloud.folder import data_files
from cloud.health_service import HealthService
from cloud.ingest import IngestService, Limits
from cloud.intake import Intake
from cloud.listening import open_ports
from cloud.metrics import Metrics
from cloud.overload import Policy as OverloadPolicy
from cloud.pictures.auxiliary import AuxiliaryFetcher
from cloud.pictures.cache import PictureCache
from cloud.pictures.keeper import AuxiliaryKeeper
from cloud.pictures.load import load_human
from cloud.pictures.reconstruct import Policy, Reconstructor
from cloud.pictures.service import ReconstructionService
from cloud.pictures.stills import Stills
from cloud.pictures.values import Decoder
from cloud.pictures.worker import DecoderProcess
from cloud.restraint import Restraint
from cloud.settings import CloudSettings
from cloud.sightings import Sighting
from cloud.store import FrameStore
from cloud.store.retention import Retention
from cloud.store.sqlite import SqliteFrameStore
from cloud.store.writer import StoreWriter
from cloud.vitals import export_vitals
from cloud.web.app import About, make_app
from cloud.web.live import Live
from cloud.web.serving import WebServer
from cloud.web.sessions import Sessions
from cloud.weights import load_weights
from common.codec import MachineCodec
from common.errors import BadSettings
from common.session import CloudPolicy
from glimpse.v1 import (
    archive_pb2_grpc,
    detection_pb2_grpc,
    ingest_pb2_grpc,
    reconstruction_pb2_grpc,
)

log = structlog.get_logger()

SERVICES = (
    "",
    "glimpse.v1.IngestService",
    "glimpse.v1.DetectionService",
    "glimpse.v1.ArchiveService",
    "glimpse.v1.ReconstructionService",
)
_OPTIONS = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.bdp_probe", 0),  # probes for bandwidth that no camera uses cost it bytes
    ("grpc.so_reuseport", 0),  # a second server on this port is a mistake, not a helper
)


@dataclass(frozen=True, slots=True)
class Running:
    """A server that serves. port: gRPC's; the other ports: 0 where there is none."""

    port: int
    mtls_port: int
    metrics_port: int
    web_port: int
    metrics: Metrics
    ingest: IngestService
    bus: Bus[Sighting]
    pictures: Reconstructor


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
                "serving", port=server.port, mtls_port=server.mtls_port, web_port=server.web_port,
                data=str(settings.data), tls=not settings.insecure,
            )  # fmt: skip
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
async def running(
    settings: CloudSettings, load_decoder: Callable[[], Decoder] | None = None
) -> AsyncIterator[Running]:
    """A running server: what `serve` does between two signals, and tests do.

    load_decoder  makes the human decoder, in a process of its own; None: from the settings' folder

    Raises BadSettings, ModelMismatch before it serves. A part that fails later ends the body with
    an ExceptionGroup: a server that cannot store must not look alive.
    """
    store_path, tokens, certificates = data_files(settings.data)
    metrics = Metrics(CollectorRegistry())
    expiries = Expiries(metrics, warn_s=settings.certificate_warning_days * 86_400)
    attempts = Attempts(free=settings.failed_logins, most_s=settings.login_pause_s)
    logins = Logins(attempts, metrics)
    identities = Identities(tokens, logins=logins, saw=expiries.saw)
    audit = Audit(settings.audit or settings.data / "audit.jsonl")
    layers = LayerDetector(
        load_weights(settings.weights, max_side=settings.max_side),
        threads=settings.threads,
        min_score=settings.min_score,
    )
    async with contextlib.AsyncExitStack() as stack:
        store = SqliteFrameStore(store_path, max_bytes=settings.max_store_bytes)
        stack.callback(store.close)
        export_vitals(metrics, data=settings.data, model=layers.model, cameras=store.cameras())
        writer = StoreWriter(store, metrics)
        chains = Chains(
            layers.read, store.chain, metrics,
            max_bytes=settings.chain_bytes if layers.codec.entropy.codes_inter else 0,
        )  # fmt: skip
        detector = BatchingDetector(
            layers, chains, metrics, window_s=settings.batch_window_ms / 1000, most=settings.batch
        )
        alone = Alone(store, layers.codec)
        retention = Retention(
            store, metrics, keep_days=settings.keep_days, keep_bytes=settings.keep_bytes
        )
        bus: Bus[Sighting] = Bus()
        intake = Intake(
            store, writer, detector, bus, metrics,
            model_id=layers.model_id, model=layers.model, labels=layers.labels,
            inspect=layers.inspect,
        )  # fmt: skip
        policy = CloudPolicy(
            window=settings.credits,
            max_layer_bytes=settings.max_layer_bytes,
            max_still_bytes=settings.max_still_bytes if settings.stills else 0,
            max_age=settings.max_stream_age_s or None,
        )
        limits = Limits(settings.max_cameras, settings.max_fps or None)
        stills = Stills(
            store, alone, metrics, most=settings.stills, age_s=settings.reference_hours * 3600
        )
        ingest = IngestService(intake, identities, metrics, policy, limits, stills)
        checks = HealthService(layers.model_id)
        longest = ("grpc.max_receive_message_length", settings.max_message_bytes)
        server = grpc.aio.server(options=(*_OPTIONS, longest))
        ingest_pb2_grpc.add_IngestServiceServicer_to_server(ingest, server)
        detection_pb2_grpc.add_DetectionServiceServicer_to_server(
            DetectionService(detector, bus, identities, metrics), server
        )
        archive_pb2_grpc.add_ArchiveServiceServicer_to_server(
            ArchiveService(store, alone, identities, metrics, audit), server
        )
        fetcher = AuxiliaryFetcher(ingest.speaking)
        pictures = _pictures(settings, store, layers.codec, fetcher, metrics, stills, load_decoder)
        reconstruction_pb2_grpc.add_ReconstructionServiceServicer_to_server(
            ReconstructionService(
                pictures, identities, metrics, audit, quality=settings.auxiliary_quality
            ),
            server,
        )
        health_pb2_grpc.add_HealthServicer_to_server(checks, server)
        ports = open_ports(server, settings, certificates, expiries.saw)
        metrics_port = stack.enter_context(_metrics_page(settings.metrics_listen, metrics))
        live = Live(bus, store, identities, metrics, ingest.speaking)
        about = About(layers.model, layers.labels, layers.profiles, settings.keep_days)
        web = _web(
            settings, live, store, alone, identities, logins, audit, metrics, about, pictures
        )
        events = _events(settings, bus, store, layers.labels, ingest, metrics)
        works = [writer.run(), detector.run(), intake.run(), retention.run(), expiries.run()]
        if settings.overload_s:
            overload = OverloadPolicy(behind=settings.overload_s)
            works.append(Restraint(detector, intake.sent, ingest.wish, metrics, overload).run())
        works.append(pictures.run())
        if web:
            stack.enter_context(web)
            works += [live.run(), web.run()]
        if events:
            stack.callback(events.close)
            works.append(events.run())
        await stack.enter_async_context(_working(*works))
        stack.push_async_callback(intake.finish, 0)
        stack.push_async_callback(server.stop, 0)
        await server.start()
        for service in SERVICES:
            await checks.set(service, health_pb2.HealthCheckResponse.SERVING)

        yield Running(
            ports.main,
            ports.mtls,
            metrics_port,
            web.port if web else 0,
            metrics,
            ingest,
            bus,
            pictures,
        )

        await checks.enter_graceful_shutdown()
        ingest.drain()
        bus.close()
        pictures.drain()
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


def _pictures(
    settings: CloudSettings,
    store: FrameStore,
    codec: MachineCodec,
    fetcher: AuxiliaryFetcher,
    metrics: Metrics,
    stills: Stills,
    load: Callable[[], Decoder] | None,
) -> Reconstructor:
    """Nothing of the decoder is in memory until somebody asks for a picture."""
    human = settings.human or settings.weights / "human"
    load = load or partial(load_human, human, settings.decode_device, settings.decode_threads)
    cache = PictureCache(
        settings.data / "pictures",
        max_bytes=settings.picture_cache_bytes,
        keep_s=settings.picture_cache_hours * 3600,
    )
    policy = Policy(
        most=settings.decode_queue,
        most_each=settings.decode_queue_each,
        idle_s=settings.decode_idle_s,
        patience_s=settings.auxiliary_patience_s,
        keep_days=settings.keep_days,
    )
    return Reconstructor(
        store,
        codec,
        AuxiliaryKeeper(
            store,
            fetcher,
            metrics,
            deadline_s=settings.auxiliary_deadline_s,
            most=settings.decode_queue,
        ),
        DecoderProcess(load, timeout_s=settings.decode_timeout_s),
        cache,
        metrics,
        human=human,
        stills=stills,
        policy=policy,
    )


def _events(
    settings: CloudSettings,
    bus: Bus[Sighting],
    store: FrameStore,
    labels: Sequence[str],
    ingest: IngestService,
    metrics: Metrics,
) -> EventsOut | None:
    if settings.events is None:
        return None
    return EventsOut(
        read_events(settings.events), bus, settings.data / "outbox.sqlite3", metrics,
        labels=labels, cameras=lambda: ingest.speaking,
        known=[camera.camera for camera in store.cameras()],
    )  # fmt: skip


def _web(
    settings: CloudSettings,
    live: Live,
    store: FrameStore,
    alone: Alone,
    identities: Identities,
    logins: Logins,
    audit: Audit,
    metrics: Metrics,
    about: About,
    pictures: Reconstructor,
) -> WebServer | None:
    """The viewer page, with the certificate that gRPC has."""
    if not settings.web_listen:
        return None
    sessions = Sessions(settings.data / "sessions", identities)
    app = make_app(
        live, store, alone, sessions, logins, audit, metrics, about, pictures,
        quality=settings.auxiliary_quality,
    )  # fmt: skip
    if settings.insecure and not listens_here_only(settings.web_listen):
        log.warning("plaintext: others can read tokens", web_listen=settings.web_listen)
    certificates = None if settings.insecure else data_files(settings.data)[2]
    return WebServer(app, settings.web_listen, certificates)


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
