"""IngestService: one camera's stream. Performs what CloudSession decides, and decides nothing.

    reader ──Received──┐
    writer ──Stored────┼──> events ──> CloudSession.on ──> actions, performed in order
    detector ─Detected─┘

The reader takes the next message when the last one has been dealt with and the detector is not a
whole window behind. Else the camera's layers wait in its own socket: what one camera can make this
process hold is bounded, whatever that camera does.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import secrets
import time
from dataclasses import dataclass, replace

import grpc
import structlog
from google.protobuf.message import DecodeError

from cloud.access.identity import Identities
from cloud.intake import Intake
from cloud.metrics import Metrics
from cloud.pictures.stills import Stills
from cloud.status import errors_as_status
from cloud.telemetry import Told
from cloud.wire import from_request, to_response
from common.errors import AuxiliaryError, CameraOffline, LimitReached, RemoteProtocolError
from common.session import CloudPolicy, CloudSession
from common.session.allowance import Allowance
from common.session.events import (
    Admit,
    ArmTimer,
    Close,
    CloudAction,
    CloudEvent,
    Conclude,
    Connected,
    Disconnected,
    Draining,
    KeepStill,
    LookedUp,
    Lookup,
    Outcome,
    RateTarget,
    Received,
    Record,
    Results,
    Send,
    StillKept,
    Store,
    Superseded,
    TargetChosen,
    Tick,
    ToEdge,
    Wanted,
)
from common.session.shorthand import Shorthand
from common.types import FrameId
from glimpse.v1 import ingest_pb2, ingest_pb2_grpc

log = structlog.get_logger()

Context = grpc.aio.ServicerContext[ingest_pb2.StreamRequest, ingest_pb2.StreamResponse]

_STREAMS_OF_ONE = 8  # a new one, the one that it replaces, and some that were lost on the way
_YOUNGER = 0.2  # of the greatest age: streams that began together shall not end together


@dataclass(frozen=True, slots=True)
class Limits:
    """What cameras may do.

    cameras  connected at once
    fps      layers a second of each, over time; None: any
    """

    cameras: int = 1000
    fps: float | None = None


class IngestService(ingest_pb2_grpc.IngestServiceServicer):
    """The gRPC face of Intake; knows which stream speaks for which camera."""

    def __init__(
        self,
        intake: Intake,
        identities: Identities,
        metrics: Metrics,
        policy: CloudPolicy,
        limits: Limits,
        stills: Stills,
    ) -> None:
        self.intake, self.metrics, self.policy, self.limits = intake, metrics, policy, limits
        self.stills = stills
        self.told = Told(metrics)
        self.speaking: dict[str, _Stream] = {}
        self.streams: set[_Stream] = set()
        self.under_way: dict[str, set[asyncio.Task[None]]] = {}  # by camera, those ever here
        self.draining = False
        self.target = RateTarget(0)  # for every camera
        self._identities = identities
        self._allowances: dict[str, Allowance] = {}  # one a camera that was ever here

    async def Stream(  # type: ignore[override]  # noqa: N802 - reads and writes by itself
        self, _: object, context: Context
    ) -> None:
        async with errors_as_status(context, self.metrics):
            identity = self._identities.camera(context)
            self._check_room(identity.name)
            await _Stream(self, context, identity.name).run()

    def wish(self, target: RateTarget) -> None:
        """What every camera is to keep to, those that come later too."""
        self.target = target
        for stream in tuple(self.streams):
            stream.give(TargetChosen(target))

    def drain(self) -> None:
        """Tells every camera to come back later; streams end when what they sent is settled."""
        self.draining = True
        for stream in tuple(self.streams):
            stream.give(Draining())

    def allowance(self, camera: str) -> Allowance | None:
        """What this camera may send, whichever stream it uses."""
        if self.limits.fps is None:
            return None
        fresh = Allowance(self.limits.fps, self.policy.window)
        return self._allowances.setdefault(camera, fresh)

    def _check_room(self, camera: str) -> None:
        """Raises LimitReached."""
        own = sum(stream.identity == camera for stream in self.streams)
        if own >= _STREAMS_OF_ONE:
            raise LimitReached(f"{own} streams of {camera} are open")
        others = {stream.identity for stream in self.streams} - {camera}
        if len(others) >= self.limits.cameras:
            raise LimitReached(f"{len(others)} cameras are connected, and no more may be")


class _Stream:
    """One stream from Connected to Close."""

    def __init__(self, service: IngestService, context: Context, identity: str) -> None:
        self._service, self._context, self.identity = service, context, identity
        self._name = secrets.token_hex(4)
        self._events: asyncio.Queue[CloudEvent] = asyncio.Queue()
        # Stores and detections under way, of its earlier streams too: one that comes back again and
        # again, as the detector is behind, must not pile up more each time.
        self._tasks = service.under_way.setdefault(identity, set())
        self._asked: dict[int, asyncio.Future[bytes]] = {}
        self._tickets = itertools.count(1)
        self._is_over = False
        self._taken = asyncio.Event()  # the last message that was read has been dealt with
        self._ended = "the connection is gone"
        self._fault: RemoteProtocolError | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._session = CloudSession(
            self._name,
            service.intake.model_id,
            inspect=service.intake.inspect,
            labels=service.intake.labels,
            identity=identity,
            allowance=service.allowance(identity),
            policy=_jittered(service.policy),
        )

    def give(self, event: CloudEvent) -> None:
        self._events.put_nowait(event)

    async def ask(self, frame: FrameId, quality: int, patience_s: float) -> bytes:
        """The auxiliary layer of a frame, from the camera. Raises AuxiliaryError."""
        if self._is_over:
            raise CameraOffline("the camera's connection is gone")
        ticket = next(self._tickets)
        self._asked[ticket] = asyncio.get_running_loop().create_future()
        self.give(Wanted(ticket, frame, quality, patience_s))
        try:
            return await self._asked[ticket]
        finally:
            del self._asked[ticket]

    async def run(self) -> None:
        """Returns at the stream's end. Raises RemoteProtocolError for what is no message at all."""
        self._service.streams.add(self)
        self.give(Connected())
        if self._service.target != RateTarget(0):
            self.give(TargetChosen(self._service.target))
        if self._service.draining:
            self.give(Draining())
        self._reader = asyncio.create_task(self._read())
        try:
            with self._service.metrics.sessions.track_inprogress():
                while not await self._step(await self._events.get()):
                    pass
        finally:
            # The reader ends with the call. A read that is cancelled leaks (grpc issue 43360).
            self._is_over = True
            self._taken.set()
            if self._timer:
                self._timer.cancel()
            for ticket in self._asked:
                self._conclude(ticket, CameraOffline("the camera's connection is gone"))
            self._service.metrics.auxiliary_strays.inc(self._session.strays)
            self._service.streams.discard(self)
            if self._service.speaking.get(self._session.camera) is self:
                del self._service.speaking[self._session.camera]
            log.info("camera gone", camera=self.identity, session=self._name, reason=self._ended)
        if self._fault:
            raise self._fault

    async def _read(self) -> None:
        shorthand = Shorthand()
        try:
            while (
                isinstance(request := await self._context.read(), ingest_pb2.StreamRequest)
                and not self._is_over
            ):
                message = from_request(request, shorthand)
                if message is not None:
                    self._taken.clear()
                    self.give(Received(message))
                    await self._taken.wait()
                while len(self._tasks) >= self._service.policy.window:
                    await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        except DecodeError:
            self._fault = RemoteProtocolError("these bytes are no StreamRequest")
        except (grpc.aio.UsageError, grpc.aio.AbortError):  # a read on a call that has ended
            return
        self.give(Disconnected("the camera closed the stream"))

    async def _step(self, event: CloudEvent) -> bool:
        """Performs what the session says to an event; True when the stream is over."""
        over = isinstance(event, Disconnected)
        for action in self._session.on(event, time.monotonic()):
            await self._perform(action)
            over |= isinstance(action, Close)
        if isinstance(event, Received):
            self._taken.set()
        return over

    async def _perform(self, action: CloudAction) -> None:
        match action:
            case Send(message):
                self._count_refused(message)
                await self._context.write(to_response(message))
            case Store(layers):
                tasks = self._service.intake.take(layers, self.give)
                self._follow(*tasks)
            case KeepStill(frame, data):
                self._follow(asyncio.create_task(self._keep_still(frame, data)))
            case Lookup(frames):
                self.give(LookedUp(await self._service.intake.held(frames)))
            case Admit(camera, boot):
                self._admit(camera, boot)
            case Record(telemetry):
                self._service.told.record(self._session.camera, self._session.boot, telemetry)
            case Conclude(ticket, result):
                self._conclude(ticket, result)
            case ArmTimer(at):
                self._arm(at)
            case Close(code, reason):
                self._ended = f"{code.name.lower().replace('_', ' ')}: {reason}".rstrip(": ")

    def _follow(self, *tasks: asyncio.Task[None]) -> None:
        self._tasks.update(tasks)
        for task in tasks:
            task.add_done_callback(self._tasks.discard)

    async def _keep_still(self, frame: FrameId, data: bytes) -> None:
        self.give(StillKept(frame.seq, await self._service.stills.take(frame, data)))

    def _conclude(self, ticket: int, result: bytes | AuxiliaryError) -> None:
        waiting = self._asked.get(ticket)
        if waiting is None or waiting.done():  # who asked has left
            return
        if isinstance(result, AuxiliaryError):
            waiting.set_exception(result)
        else:
            waiting.set_result(result)

    def _admit(self, camera: str, boot: str) -> None:
        log.info("camera connected", camera=camera, boot=boot, session=self._name)
        before = self._service.speaking.get(camera)
        self._service.speaking[camera] = self
        if before is not None:
            before.give(Superseded())

    def _arm(self, at: float | None) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = None
        if at is not None:
            delay = max(0.0, at - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay, self.give, Tick())

    def _count_refused(self, message: ToEdge) -> None:
        for result in message.frames if isinstance(message, Results) else ():
            if result.outcome is Outcome.REFUSED:
                self._service.metrics.layers.labels(self._session.camera, "refused").inc()


def _jittered(policy: CloudPolicy) -> CloudPolicy:
    if policy.max_age is None:
        return policy
    return replace(policy, max_age=policy.max_age * (1 - _YOUNGER * random.random()))
