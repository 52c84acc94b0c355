"""`glimpse-edge run`: builds the parts of a camera process, joins them, ends them in order."""

from __future__ import annotations

import asyncio
import itertools
import random
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import structlog

from common.bitstream import DETECT, RECOGNISE
from common.codec import Coded
from common.errors import BadPicture, GlimpseError, Unreachable
from common.session import EdgeSession
from common.session.events import AuxiliaryOutcome
from common.types import FrameId
from edge.camera import Camera
from edge.capture.picture import Picture, Pixels
from edge.capture.sources import camera_frames
from edge.coding.chain import Chain
from edge.coding.encoder import Encoder, open_encoder
from edge.coding.profile import Policy
from edge.coding.task import Task
from edge.display import Display, status_line
from edge.ledger import Ledger
from edge.link.counter import WireBytes, WireCounter
from edge.link.renewed import Links
from edge.pictures.auxiliary import AuxiliaryEncoder
from edge.pictures.keeper import Answer, Keeper, no_auxiliary
from edge.pictures.ring import Ring
from edge.pictures.still import Lately, Schedule, Stills
from edge.rate import Plan, RateControl
from edge.settings import EdgeSettings
from edge.spool import MemorySpool, SpoolStatus
from edge.spool.sqlite import SqliteSpool, spool_file
from edge.spool.steady import SteadySpool
from edge.telemetry import telemetry
from edge.uplink import Uplink

log = structlog.get_logger()

_NO_ENCODER = "these weights have no auxiliary encoder"
_MEASURE_EVERY_S = 0.25
_STATUS_EVERY = 2  # measurements
_AGES_EVERY = 240  # measurements: once a minute


@dataclass(frozen=True, slots=True)
class Report:
    """How a run went: the ledger's summary, and why it ended if not by itself."""

    summary: dict[str, Any]
    error: GlimpseError | None
    refused: bool  # the error is the server's: it does not take this camera


async def run(settings: EdgeSettings, source: str, display: Display) -> Report:
    """Captures `source` and sends it until it ends, time is up, or a signal comes.

    Raises GlimpseError for settings or weights that cannot work; what goes wrong later is told in
    the report.
    """
    links = Links(settings.link)
    encoder = open_encoder(settings)
    keeper = _open_keeper(settings, encoder)
    spool = _open_spool(settings)
    try:
        with keeper or nullcontext():
            return await _Run(settings, source, display, links, encoder, spool, keeper).run()
    finally:
        spool.close()


class _Run:
    """The parts of one run and their life together."""

    def __init__(
        self,
        settings: EdgeSettings,
        source: str,
        display: Display,
        links: Links,
        encoder: Encoder,
        spool: SteadySpool,
        keeper: Keeper | None,
    ) -> None:
        boot = secrets.token_urlsafe(6)
        self._settings = settings
        self._display = display
        self._spool = spool
        self._counter = WireCounter(settings.server)
        self._wire: WireBytes | None = None
        self._told_at = time.monotonic()
        self._ledger = Ledger(boot, spool.status().frames, time.time())
        spool.keep_account(boot, self._ledger.rows)
        self._rate = RateControl(settings.limits(), time.monotonic())
        session = EdgeSession(
            settings.camera,
            boot,
            encoder.model_id,
            random=random.random,
            want_boxes=settings.boxes,
            gather=settings.gather_s,
            software=software(),
            paced=True,
        )
        chain = Chain(encoder, key_every=settings.key_every, hold=settings.hold)
        self._task = task = Task(
            encoder,
            settings.profile,
            quality=round(settings.recognise_quality * 255),
            score=settings.in_view_score,
            policy=Policy(linger=settings.quiet_after_s),
            boot=boot,
        )
        self._uplink = Uplink(
            session, links(), spool, self._ledger, renew=links, rate=self._rate,
            on_ending=self._count, break_off=chain.break_off, on_verdict=task.answered,
            auxiliary=_answers(settings, keeper),
        )  # fmt: skip

        self._stills = stills = _stills(settings, self._uplink, encoder)
        self._last: tuple[Pixels, Coded]  # that was coded; the next is, when it has been sent

        def encode(picture: Picture, plan: Plan) -> Coded:
            analysis = encoder.analyse(picture)
            profile, own = task.plan(analysis, plan)
            coded = chain.code(analysis, own, profile)
            self._last = picture.pixels, coded
            return coded

        def send(seq: int, captured_at: float, data: bytes) -> None:
            task.sent(seq)
            self._uplink.frame(seq, captured_at, data)
            if keeper is not None and self._last[1].header.profile == DETECT:
                keeper.offer(FrameId(settings.camera, boot, seq), *self._last)
            if stills is not None:
                stills.offer(seq, *self._last)

        stopping = threading.Event()
        self._frames = camera_frames(settings, source, stopping)
        self._camera = Camera(self._frames, encode, send, self._ledger, stopping, self._rate)
        self._started = time.monotonic()

    async def run(self) -> Report:
        uplink = asyncio.create_task(self._uplink.run())
        camera = asyncio.create_task(self._camera.run())
        watch = asyncio.create_task(self._watch())
        with _stopped_by_signals(self._stop):
            if self._settings.seconds is not None:
                asyncio.get_running_loop().call_later(self._settings.seconds, self._camera.stop)
            await asyncio.wait([uplink, camera], return_when=asyncio.FIRST_COMPLETED)
            self._camera.stop()
            await asyncio.wait([camera])
            self._frames.close()  # the process that reads a live source ends here
            await self._drain(uplink)
        watch.cancel()
        await asyncio.wait([watch])
        return self._report(_error_of(uplink), _error_of(camera))

    def _stop(self) -> None:
        """A signal: stop capturing; a second one: do not wait for acks either."""
        if self._camera.stopped:
            self._uplink.stop()
        self._camera.stop()

    async def _drain(self, uplink: asyncio.Task[None]) -> None:
        """Gets acks for what is spooled, within bounds."""
        if self._stills is not None:
            await self._stills.close()
        self._uplink.end()
        await asyncio.wait([uplink], timeout=self._settings.drain_s)
        self._uplink.stop()
        await asyncio.wait([uplink])
        await self._uplink.spool_rest()

    async def _watch(self) -> None:
        for turn in itertools.count(1):
            await asyncio.sleep(_MEASURE_EVERY_S)
            self._wire = wire = await asyncio.to_thread(self._counter.sample)
            spooled = await asyncio.to_thread(self._spool.status)
            self._take_late()
            total = None if wire is None else wire.sent + wire.received
            self._rate.measured(total, (spooled.frames, spooled.bytes), time.monotonic())
            self._tell(spooled)
            if turn % _AGES_EVERY == 0:
                self._uplink.expire()
            if turn % _STATUS_EVERY == 0:
                rate = self._rate.bytes_per_second
                line = status_line(self._ledger, self._seconds, wire, spooled.frames, rate)
                self._display.status(line, self._seconds)

    def _tell(self, spooled: SpoolStatus) -> None:
        """The server, if it is time, how this camera is."""
        every, now = self._settings.telemetry_s, time.monotonic()
        if not every or now < self._told_at + every:
            return
        self._told_at = now
        rate = self._rate.bytes_per_second
        self._uplink.tell(telemetry(self._ledger, spooled, self._wire, rate, time.time()))

    def _take_late(self) -> None:
        """Into the ledger: what the spool did by itself."""
        for boot, frames in self._spool.take_late().items():
            self._ledger.on_settled(boot, frames, refused=False)
        for reason, frames in self._spool.take_arrived().items():
            self._ledger.on_arrived(reason, frames)
        found = self._spool.take_found()
        self._ledger.on_found(found)
        if found.removed or found.set_aside:
            log.warning(
                "the spool's file is another one", removed=found.removed,
                set_aside=found.set_aside, earlier=found.earlier,
            )  # fmt: skip
            self._uplink.begin_chain()

    def _count(self) -> None:
        self._wire = self._counter.sample() or self._wire

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._started

    def _report(self, uplink: GlimpseError | None, camera: GlimpseError | None) -> Report:
        spooled = self._spool.status().frames
        self._take_late()
        self._ledger.ended = True
        names = {
            "camera": self._settings.camera,
            "server": self._settings.server,
            "quality": self._settings.quality,
            "budget": self._settings.budget,
            "profile": self._settings.profile,
            "recognise_layers": self._task.planned[RECOGNISE],
        }
        summary = names | self._ledger.summary(spooled, self._seconds, self._wire)
        error = uplink or camera or self._undelivered(spooled) or self._useless()
        return Report(summary, error, refused=uplink is not None)

    def _undelivered(self, spooled: int) -> GlimpseError | None:
        if not spooled and self._ledger.connections:
            return None
        folder = self._settings.spool
        fate = f"stay in {folder} for the next run" if folder else "are lost: there is no --spool"
        trouble = self._uplink.trouble or f"{self._settings.server} did not answer in time"
        return Unreachable(f"{trouble} ({spooled} layers {fate})" if spooled else str(trouble))

    def _useless(self) -> GlimpseError | None:
        if self._ledger.bad and not self._ledger.coded:
            return BadPicture("not one frame of the source could be coded")
        return None


def software() -> str:
    """Name and version, for the server's logs."""
    try:
        return f"glimpse-edge/{metadata.version('glimpse')}"
    except metadata.PackageNotFoundError:
        return "glimpse-edge"


def _open_spool(settings: EdgeSettings) -> SteadySpool:
    most, age = settings.max_spool_bytes, settings.max_spool_age_s
    if settings.spool is None:
        return SteadySpool(MemorySpool(settings.camera, max_bytes=most, max_age=age))
    path = spool_file(settings.spool, settings.camera)
    return SteadySpool(SqliteSpool(path, settings.camera, max_bytes=most, max_age=age))


def _open_keeper(settings: EdgeSettings, encoder: Encoder) -> Keeper | None:
    """None: nothing is kept."""
    if settings.auxiliary == "off" or settings.spool is None:
        return None
    auxiliary = AuxiliaryEncoder.load(settings.weights, side=settings.side)
    if auxiliary is None:
        log.warning("nothing is kept for pictures", reason=_NO_ENCODER)
        return None
    folder = settings.spool / f"{settings.camera}.ring"
    ring = Ring(folder, max_bytes=settings.ring_bytes, max_age=settings.ring_age_s)
    quality = round(settings.auxiliary_quality * 255)
    return Keeper(settings.auxiliary, ring, auxiliary, encoder.codec, quality=quality)


def _stills(settings: EdgeSettings, uplink: Uplink, encoder: Encoder) -> Stills | None:
    """None: no reference pictures."""
    if not settings.reference_s:
        return None

    def layer(picture: Picture, quality: int) -> bytes:
        return encoder.layer(encoder.analyse(picture), quality / 255)

    return Stills(
        Schedule(settings.reference_s), Lately(settings.reference_window_s), layer=layer,
        side=settings.side, quality=settings.reference_quality, give=uplink.still,
    )  # fmt: skip


def _answers(settings: EdgeSettings, keeper: Keeper | None) -> Callable[[FrameId, int], Answer]:
    """To requests for auxiliary layers."""
    if keeper is not None:
        return keeper.find
    if settings.auxiliary == "off":
        return no_auxiliary
    return lambda *_: Answer(AuxiliaryOutcome.UNSUPPORTED, _NO_ENCODER)


@contextmanager
def _stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


def _error_of(task: asyncio.Task[None]) -> GlimpseError | None:
    """What ended the task; raises what is no GlimpseError."""
    try:
        task.result()
    except GlimpseError as error:
        return error
    return None
