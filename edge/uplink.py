"""Performs what the session decides: spool, stream, timer. The session is in common/session/

One task takes one event at a time, gives it to the session and performs the actions in order; what
blocks on the disk runs in a thread and is waited for, so that Spool is done before Send begins.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from common.bitstream import is_inter, link, unpack_inter
from common.errors import (
    CorruptStream,
    GlimpseError,
    ModelMismatch,
    PermissionDenied,
    StoreFull,
    Unauthenticated,
    Unreachable,
)
from common.session import EdgeSession
from common.session.events import (
    ArmTimer,
    AuxiliaryFound,
    AuxiliaryReply,
    Close,
    Connect,
    Deliver,
    Disconnected,
    EdgeAction,
    EdgeEvent,
    Fetch,
    Fetched,
    FindAuxiliary,
    Finish,
    FrameCoded,
    GoodbyeCode,
    Layers,
    Measured,
    Outcome,
    RateTarget,
    Received,
    Released,
    ReplyReleased,
    Results,
    Send,
    SourceEnded,
    Spool,
    Started,
    StillMade,
    StillPiece,
    StillReleased,
    StillResult,
    Telemetry,
    Tick,
    Unspool,
    Verdict,
    Welcome,
)
from common.types import FrameId, Layer
from edge import spool as spools
from edge.ledger import Ledger
from edge.link import Link
from edge.link.stream import Stream, StreamEvent
from edge.pictures.keeper import Answer, no_auxiliary
from edge.rate import RateControl

log = structlog.get_logger()

_FINAL = (Unauthenticated, PermissionDenied, ModelMismatch)
_ERRORS: dict[GoodbyeCode, type[GlimpseError]] = {
    GoodbyeCode.MODEL_MISMATCH: ModelMismatch,
    GoodbyeCode.PERMISSION_DENIED: PermissionDenied,
}


@dataclass(frozen=True, slots=True)
class _Expire:
    """It is time to look for layers that are too old."""


_Event = EdgeEvent | StreamEvent | Fetch | _Expire

_READ_AGAIN_S = 1.0
_TELEMETRY_BYTES = 50  # of one, about


class Uplink:
    """Drives one EdgeSession until its source has ended and everything is settled.

    renew      makes the link anew for each connection, with certificates and token as they are
               by then; None: `link` stays as it is
    rate       says when layers go; the session is paced then; None: as soon as credit allows
    on_ending  called before a connection is closed by this side: a last chance to count its bytes
    break_off  called when the chain of layers is broken: the next one must lean on none
    on_verdict called with the server's word on a frame
    auxiliary  finds or makes the auxiliary layer of a frame; called in another thread
    """

    def __init__(
        self,
        session: EdgeSession,
        link: Link,
        spool: spools.Spool,
        ledger: Ledger,
        *,
        renew: Callable[[], Link] | None = None,
        rate: RateControl | None = None,
        on_ending: Callable[[], None] = lambda: None,
        break_off: Callable[[], None] = lambda: None,
        on_verdict: Callable[[Verdict], None] = lambda _: None,
        auxiliary: Callable[[FrameId, int], Answer] = no_auxiliary,
    ) -> None:
        self.trouble: GlimpseError | None = None  # why there is no connection now
        self._session = session
        self._link = link
        self._renew = renew or (lambda: link)
        self._spool = spool
        self._ledger = ledger
        self._rate = rate
        self._on_ending = on_ending
        self._events: asyncio.Queue[tuple[Stream | None, _Event | None]] = asyncio.Queue()
        self._stream: Stream | None = None
        self._closing: set[Stream] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._wake: asyncio.TimerHandle | None = None  # for rate control
        self._ending = False
        self._refused: set[FrameId] = set()  # delivered as refused, not yet out of the spool
        self._break_off = break_off
        self._on_verdict = on_verdict
        self._auxiliary = auxiliary
        self._searches: set[asyncio.Task[None]] = set()
        self._link_of_last: int | None = None  # of the last layer that was spooled
        self._last_seq = -1  # its number
        self._healed = -1  # layers up to this one may be of a chain that is broken
        self._finished = False

    def frame(self, seq: int, captured_at: float, data: bytes) -> None:
        """A layer of this boot, captured_at in unix seconds; seq rises from call to call."""
        self._events.put_nowait((None, FrameCoded(seq, captured_at, data)))

    def still(self, seq: int, data: bytes) -> None:
        """A frame of this boot that was given before, as a picture; goes behind all else."""
        self._events.put_nowait((None, StillMade(seq, data)))

    def tell(self, telemetry: Telemetry) -> None:
        """How this camera is; goes now, or never."""
        self._events.put_nowait((None, Measured(telemetry)))

    def expire(self) -> None:
        """Look for layers that are too old; each new frame does so too."""
        self._events.put_nowait((None, _Expire()))

    def begin_chain(self) -> None:
        """Spooled layers are gone: the next one must lean on none."""
        self._broken()

    def end(self) -> None:
        """No frame will follow: `run` returns when all are settled."""
        self._events.put_nowait((None, SourceEnded()))

    def stop(self) -> None:
        """`run` returns as soon as the frames given so far are spooled."""
        self._events.put_nowait((None, None))

    async def spool_rest(self) -> None:
        """Spools the frames that came when `run` had already ended."""
        while not self._events.empty():
            _, event = self._events.get_nowait()
            if isinstance(event, FrameCoded):
                frame = FrameId(self._session.camera, self._session.boot, event.seq)
                await self._put(Layer(frame, event.captured_at, event.data))

    async def run(self) -> None:
        """Returns when the session has finished, or after `stop`.

        Raises Unauthenticated, PermissionDenied or ModelMismatch when the server does not take this
        camera. Once it has been taken in, even these are troubles that may pass: like a server that
        is away they are reported once and tried again, while frames go on into the spool.
        """
        try:
            await self._handle(Started())
            while not self._finished:
                stream, event = await self._events.get()
                if stream is not None and stream is not self._stream:
                    continue  # an event of a connection that was closed or lost
                if event is None:
                    return
                if isinstance(event, Fetch):
                    await self._fetch(event)
                    continue
                if isinstance(event, _Expire):
                    with suppress(StoreFull):  # or with the next frame
                        await self._append(())
                    continue
                if isinstance(event, GlimpseError):
                    self._report(event)
                    event = Disconnected(str(event))
                if isinstance(event, Disconnected):
                    self._stream = None
                await self._handle(event)
                if isinstance(event, Received) and isinstance(event.message, Welcome):
                    self._welcomed()
                await self._release()
        finally:
            await self._let_go()

    async def _handle(self, event: EdgeEvent) -> None:
        if isinstance(event, SourceEnded):
            self._ending = True
        message = event.message if isinstance(event, Received) else None
        if self._rate is not None and isinstance(message, Results):
            self._rate.acked(message.acked, time.monotonic())
        for action in self._session.on(event, time.monotonic()):
            await self._perform(action)

    async def _release(self) -> None:
        """Lets go what rate control lets go, and asks again when it may let go of more."""
        if self._rate is None:
            return
        while count := self._rate.release(
            self._session.ready(), time.monotonic(), ending=self._ending
        ):
            await self._handle(Released(count))
        await self._release_replies(self._rate)
        await self._release_still(self._rate)
        if self._wake is not None:
            self._wake.cancel()
        self._wake = self._tick_at(self._rate.wake)

    async def _release_replies(self, rate: RateControl) -> None:
        while True:
            now = time.monotonic()
            left, urgent = self._session.reply(now) or (0, False)
            most = rate.reply(left, self._session.ready(), now, urgent=urgent)
            if not most:
                return
            await self._handle(ReplyReleased(most))

    async def _release_still(self, rate: RateControl) -> None:
        while most := rate.spare(self._session.still(), self._session.ready(), time.monotonic()):
            await self._handle(StillReleased(most))

    def _welcomed(self) -> None:
        if self._rate is not None:
            self._rate.connected(time.monotonic())
        self._ledger.connections += 1
        if self.trouble is not None or self._ledger.connections == 1:
            log.info("connected", server=self._link.server)
        self.trouble = None

    def _report(self, error: GlimpseError) -> None:
        """Says the first of several troubles in a row. Raises what is final."""
        if isinstance(error, _FINAL) and self._ledger.connections == 0:
            raise error
        if self.trouble is None:
            log.warning("no connection, trying again", reason=str(error))
        self.trouble = error

    # -- actions

    async def _perform(self, action: EdgeAction) -> None:
        match action:
            case Spool(layer):
                await self._put(layer)
            case Send(message):
                if isinstance(message, Layers):
                    self._ledger.sent += len(message.layers)
                    if self._rate is not None:
                        sizes = [len(entry.data) for entry in message.layers]
                        self._rate.sent(sizes, time.monotonic())
                if isinstance(message, AuxiliaryReply | StillPiece) and self._rate is not None:
                    self._rate.replied(len(message.data), time.monotonic())
                if isinstance(message, Telemetry) and self._rate is not None:
                    self._rate.told(_TELEMETRY_BYTES, time.monotonic())
                if self._stream is not None:
                    self._stream.send(message)
            case Unspool(frames):
                await self._drop(frames)
            case Fetch():
                await self._fetch(action)
            case FindAuxiliary():
                self._searches.add(search := asyncio.create_task(self._search(action)))
                search.add_done_callback(self._searches.discard)
            case Deliver(item):
                self._deliver(item)
            case ArmTimer(at):
                self._arm(at)
            case Connect(at):
                self._stream = Stream(self._renew, at, self._emit, self._on_ending)
            case Close():
                self._close(action)
            case Finish():
                self._finished = True

    async def _fetch(self, fetch: Fetch) -> None:
        """Answers it, later if the disk fails: the session waits for what is spooled."""
        try:
            found = await asyncio.to_thread(self._spool.peek, fetch.cursor, fetch.limit)
        except StoreFull:
            again = asyncio.get_running_loop().call_later
            again(_READ_AGAIN_S, self._events.put_nowait, (None, fetch))
            return
        self._events.put_nowait((None, Fetched(fetch, *found)))

    async def _search(self, find: FindAuxiliary) -> None:
        """Looks for an auxiliary layer, or makes it, while frames go on."""
        found = await asyncio.to_thread(self._auxiliary, find.frame, find.quality)
        self._events.put_nowait((None, AuxiliaryFound(find.number, *found)))

    async def _put(self, layer: Layer) -> None:
        if not self._follows(layer):
            self._lost(layer, "chain_broken", "it leans on a frame that was not spooled")
            return
        started = time.monotonic()
        self._link_of_last, self._last_seq = link(layer.data), layer.frame.seq
        try:
            await self._append([layer])
        except StoreFull as error:
            # Sent without a copy on disk it may still arrive, but nobody would know.
            self._lost(layer, "disk_full", str(error))
            return
        self._ledger.on_stage("spool", time.monotonic() - started)

    async def _append(self, layers: Sequence[Layer]) -> None:
        """Raises StoreFull."""
        expired = await asyncio.to_thread(self._spool.append, layers)
        self._ledger.on_expired(expired)
        last = FrameId(self._session.camera, self._session.boot, self._last_seq)
        if any(gone.frame == last for gone in expired):
            self._broken()

    def _follows(self, layer: Layer) -> bool:
        """Whether the layer leans on none, or on the one that was spooled last."""
        try:
            return not is_inter(layer.data) or unpack_inter(layer.data)[1] == self._link_of_last
        except CorruptStream:
            return True  # the server will say what it is

    def _lost(self, layer: Layer, reason: str, why: str) -> None:
        log.warning("a frame was not spooled", frame=str(layer.frame), reason=why)
        self._ledger.on_lost(layer.frame, reason)
        self._broken()

    def _broken(self) -> None:
        self._link_of_last = None
        self._break_off()

    async def _drop(self, frames: Iterable[FrameId]) -> None:
        """Counts what leaves by what was there: an expired frame may be acked all the same."""
        groups: dict[tuple[str, bool], list[FrameId]] = {}
        for frame in frames:
            groups.setdefault((frame.boot, frame in self._refused), []).append(frame)
        for (boot, refused), group in groups.items():
            count = await asyncio.to_thread(self._spool.drop, group)
            self._ledger.on_settled(boot, count, refused=refused)
        self._refused.difference_update(frames)

    def _deliver(self, item: Verdict | StillResult | RateTarget) -> None:
        if isinstance(item, StillResult):
            if item.outcome is Outcome.REFUSED:
                log.warning("a still was refused", seq=item.seq, reason=item.reason)
            return
        if isinstance(item, RateTarget):
            log.debug(
                "the server wishes for a rate",
                bytes_per_second=item.bytes_per_second, frames_per_second=item.frames_per_second,
            )  # fmt: skip
            if self._rate is not None:
                self._rate.wished(item.bytes_per_second, time.monotonic(), item.frames_per_second)
            return
        if item.outcome is Outcome.REFUSED:
            self._refused.add(item.frame)
            log.warning("a layer was refused", frame=str(item.frame), reason=item.reason)
        self._heal(item)
        self._ledger.on_verdict(item, time.monotonic())
        self._on_verdict(item)

    def _heal(self, verdict: Verdict) -> None:
        """Begins a new chain after a layer that the server cannot read.

        Those that lean on it are on their way already and will be told of too: once is enough.
        """
        is_unreadable = verdict.boxes is None and bool(verdict.reason)
        if not (is_unreadable or verdict.outcome is Outcome.REFUSED):
            return
        if verdict.frame.boot == self._session.boot and verdict.frame.seq > self._healed:
            self._healed = self._last_seq
            self._break_off()

    def _arm(self, at: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._tick_at(at)

    def _tick_at(self, at: float | None) -> asyncio.TimerHandle | None:
        if at is None:
            return None
        delay = max(at - time.monotonic(), 0.0)
        loop = asyncio.get_running_loop()
        return loop.call_later(delay, self._events.put_nowait, (None, Tick()))

    def _emit(self, stream: Stream, event: StreamEvent) -> None:
        self._events.put_nowait((stream, event))

    def _close(self, close: Close) -> None:
        if self._stream is not None:
            self._stream.close()
            self._closing.add(self._stream)
            self._stream = None
        if close.code not in (GoodbyeCode.DONE, GoodbyeCode.RENEW):
            reason = close.reason or close.code.name.lower().replace("_", " ")
            self._report(_ERRORS.get(close.code, Unreachable)(f"{self._link.server}: {reason}"))

    async def _let_go(self) -> None:
        self._arm(None)
        if self._wake is not None:
            self._wake.cancel()
        if self._stream is not None:
            self._stream.cancel()
            self._closing.add(self._stream)
        for stream in self._closing:
            await stream.closed()
        if self._searches:
            await asyncio.wait(self._searches)
