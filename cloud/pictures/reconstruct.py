"""Pictures for those who ask: from the cache, or made by the decoder, once for all who wait.

    a frame ──store──> machine layer ──────────────┐
              store ──> the last still before it ──┤
              store or camera ──> auxiliary layer ─┴──> key ──> cache ──────────────> Done
                                                         └────> line ──> decoder ──> Step, Done

`make` tells of the progress. Its caller leaves by closing it; when the last one who asks for a
picture has left, the decoder stops at its next step. Where an auxiliary layer cannot be had, or not
in time, the picture is made of the machine layer alone and says so; one that comes later makes a
second, better picture in the same call.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import structlog

from cloud.alone import Alone
from cloud.metrics import Metrics
from cloud.models.prior_files import PRIOR
from cloud.pictures.cache import PictureCache
from cloud.pictures.keeper import AuxiliaryKeeper
from cloud.pictures.line import Entry, Line
from cloud.pictures.process import Made
from cloud.pictures.provenance import provenance, with_provenance
from cloud.pictures.stills import Stills
from cloud.pictures.values import (
    MOST_STEPS,
    Auxiliaries,
    Done,
    Loading,
    Picture,
    Progress,
    Queued,
    Step,
    Subject,
    WaitingForAuxiliary,
    Wish,
    Work,
)
from cloud.pictures.worker import DecoderProcess, Stopped
from cloud.store import FrameStore, is_inter
from common.bitstream import DETECT
from common.codec import Coded, MachineCodec
from common.errors import (
    BrokenChain,
    CorruptStream,
    DecoderUnavailable,
    GlimpseError,
    ModelMismatch,
    NotStored,
)
from common.types import FrameId

T = TypeVar("T")

log = structlog.get_logger()

_MADE_BY = 1  # to be raised when the same weights come to make other pictures
_DAY_S = 86_400.0
_SWEEP_S = 600.0
_READERS = 2  # threads; the others of the pool are for those who write
_NOT_YET = "the camera has not sent the auxiliary layer yet"


@dataclass(frozen=True, slots=True)
class Policy:
    """most, most_each: see Line; idle_s: without work before the decoder leaves memory;
    patience_s: how long a picture waits for its auxiliary layer; keep_days: of stored frames."""

    most: int = 32
    most_each: int = 4
    idle_s: float = 300.0
    patience_s: float = 3.0
    keep_days: float | None = None


@dataclass
class _Making:
    """What the line holds. state: the last word of the decoder; before it, that nobody is ahead."""

    work: Work
    made: asyncio.Future[Picture]
    keep_until: float | None
    asked: float = field(default_factory=time.perf_counter)
    state: Queued | Loading | Step = field(default_factory=lambda: Queued(0))


class Reconstructor:
    """Belongs to one event loop; `run` must be running.

    human   the decoder's weights folder
    stills  reference pictures; None: there are none
    """

    def __init__(
        self,
        store: FrameStore,
        codec: MachineCodec,
        keeper: AuxiliaryKeeper,
        process: DecoderProcess,
        cache: PictureCache,
        metrics: Metrics,
        *,
        human: Path,
        stills: Stills | None = None,
        policy: Policy = Policy(),
    ) -> None:
        self._store, self._codec, self._keeper = store, codec, keeper
        self._alone = Alone(store, codec)
        self._process, self._cache, self._metrics = process, cache, metrics
        self._human, self._stills, self._policy = human, stills, policy
        self._line: Line[_Making] = Line(most=policy.most, most_each=policy.most_each)
        self._tick: asyncio.Event = asyncio.Event()
        self._readers = asyncio.Semaphore(_READERS)
        self._closed = False
        metrics.decode_queue.set_function(lambda: len(self._line))

    @property
    def ready(self) -> bool:
        """Whether there are weights to make pictures with."""
        return (self._human / "manifest.json").exists()

    @property
    def most_steps(self) -> int:
        """How many may be asked for: 0 without a prior beside these weights."""
        return MOST_STEPS if self.ready and (self._human / PRIOR).is_dir() else 0

    async def of_frame(self, frame: FrameId) -> Subject:
        """A stored frame. Raises NotStored."""
        stored = await self._read(lambda: self._store.get(frame))
        if stored is None:
            raise NotStored(f"{frame} is not stored")
        base = await self._read(lambda: self._alone.coded(stored))
        days = self._policy.keep_days
        still = None
        if (stills := self._stills) is not None:
            still = await self._read(lambda: stills.before(stored, base))
        stored_at = [] if stored.pinned else [stored.stored_at]
        if still is not None:
            stored_at.append(still.stored_at)  # what shows in the picture ends with its own frame
        until = min(stored_at) + days * _DAY_S if days is not None and stored_at else None
        return Subject(base, frame, stored.captured_at, until, still)

    async def at_hand(self, layer: bytes) -> Subject:
        """A machine layer. Raises CorruptStream, ModelMismatch."""
        if is_inter(layer):
            raise BrokenChain("an inter layer says nothing without the layers before it")
        return Subject(await self._read(lambda: self._codec.decode(layer)))

    async def make(
        self, subject: Subject, wish: Wish, who: str, auxiliary: bytes | None = None
    ) -> AsyncGenerator[Progress]:
        """Progress, and at last a Done that no other follows; see Done.upgrade_expected.

        auxiliary  at hand, in place of any other; one that does not fit is an error then

        Raises ModelMismatch if there is no decoder for it, or no prior for its steps; LimitReached,
        DecoderUnavailable, and CorruptStream for an auxiliary layer at hand.
        """
        self._decoder_key()
        if wish.steps > self.most_steps:
            raise ModelMismatch("this server has no diffusion prior: ask for 0 steps")
        if auxiliary is not None:
            async with contextlib.aclosing(self._made(subject, auxiliary, wish, who)) as news:
                async for progress in news:
                    yield progress
            return
        notes: tuple[str, ...] = ()
        fetch = None
        frame = subject.frame
        if frame is not None and wish.auxiliaries is not Auxiliaries.NEVER:
            kept = await self._read(lambda: self._store.auxiliary(frame))
            auxiliary = kept.data if kept else None
            is_good = kept is not None and kept.quality >= wish.quality
            if wish.auxiliaries is Auxiliaries.FETCH and not is_good:
                fetch = self._keeper.fetch(frame, subject, wish.quality)
                yield WaitingForAuxiliary(self._policy.patience_s)
                await asyncio.wait([fetch], timeout=self._policy.patience_s)
        if fetch is not None and not fetch.done():
            first = self._made_somehow(subject, auxiliary, wish, who, (_NOT_YET,))
            async with contextlib.aclosing(first) as news:
                async for progress in news:
                    if isinstance(progress, Done):
                        progress = replace(progress, upgrade_expected=True)
                    yield progress
            yield WaitingForAuxiliary(0.0)
            await asyncio.wait([fetch])
        if fetch is not None:
            fetched = fetch.result()
            auxiliary = fetched.data or auxiliary
            notes = (fetched.why,) if fetched.why else ()
        last = self._made_somehow(subject, auxiliary, wish, who, notes)
        async with contextlib.aclosing(last) as news:
            async for progress in news:
                yield progress

    async def run(self) -> None:
        """Works until cancelled; then those who wait are told."""
        sweeping = asyncio.create_task(self._sweep())
        try:
            while True:
                if (entry := self._line.take()) is not None:
                    self._changed()
                    await self._work(entry)
                else:
                    await self._rest()
        finally:
            sweeping.cancel()
            self.drain()
            await self._keeper.close()
            self._process.close()

    def drain(self) -> None:
        """Takes nothing more, and tells those who wait; the picture at work may be finished."""
        self._closed = True
        for entry in self._line.entries():
            if self._line.waits(entry):
                _fail(entry.work.made, DecoderUnavailable("the server shuts down"))
        self._changed()

    async def _made_somehow(
        self,
        subject: Subject,
        auxiliary: bytes | None,
        wish: Wish,
        who: str,
        notes: tuple[str, ...],
    ) -> AsyncGenerator[Progress]:
        """Without the auxiliary layer, if that one is of no use."""
        try:
            async with contextlib.aclosing(
                self._made(subject, auxiliary, wish, who, notes)
            ) as news:
                async for progress in news:
                    yield progress
            return
        except (CorruptStream, ModelMismatch) as error:
            if auxiliary is None:
                raise
            notes = (*notes, f"the auxiliary layer cannot be used: {error}")
        async with contextlib.aclosing(self._made(subject, None, wish, who, notes)) as news:
            async for progress in news:
                yield progress

    async def _made(
        self,
        subject: Subject,
        auxiliary: bytes | None,
        wish: Wish,
        who: str,
        notes: tuple[str, ...] = (),
    ) -> AsyncGenerator[Progress]:
        if auxiliary is None and subject.base.header.profile != DETECT:
            hint = f"; {notes[-1]}" if notes else ""
            raise ModelMismatch(f"this layer says what is in view, and holds no picture{hint}")
        plain = wish.plain
        work = Work(subject.base, auxiliary, plain.steps, plain.fidelity, plain.seed, subject.still)
        key = self._key(work)
        picture = await self._read(lambda: self._cache.get(key))
        cached = picture is not None
        self._metrics.decode_cache.labels(str(cached).lower()).inc()
        if picture is None:
            if self._closed:
                raise DecoderUnavailable("the server shuts down")
            making = _Making(work, asyncio.get_running_loop().create_future(), subject.keep_until)
            entry, ticket = self._line.join(key, making, who, wish.priority)
            self._changed()
            try:
                async with contextlib.aclosing(self._follow(entry)) as news:
                    async for progress in news:
                        yield progress
                picture = await entry.work.made
            finally:
                if self._line.leave(entry, ticket):
                    self._process.cancel()
                self._changed()
        notes = (*notes, *picture.notes)
        said = provenance(subject, work, picture, notes)
        still = None if picture.seen is None else work.still
        self._metrics.references.labels(str(still is not None).lower()).inc()
        yield Done(
            file=with_provenance(picture.png, said),
            picture=picture,
            provenance=json.dumps(said, separators=(",", ":"), allow_nan=False),
            machine_bytes=len(subject.base.data),
            auxiliary_bytes=len(auxiliary or b""),
            steps=work.steps,
            fidelity=work.fidelity,
            seed=work.seed,
            notes=notes,
            cached=cached,
            still=still,
        )

    async def _follow(self, entry: Entry[_Making]) -> AsyncGenerator[Queued | Loading | Step]:
        """Each new state, until it is made; one who reads slowly misses some."""
        told: Queued | Loading | Step | None = None
        while not entry.work.made.done():
            tick = self._tick
            place = self._line.place(entry)
            state = Queued(place) if self._line.waits(entry) else entry.work.state
            if state != told:
                told = state
                yield state
            await tick.wait()

    async def _work(self, entry: Entry[_Making]) -> None:
        making = entry.work

        def tell(news: Loading | Step) -> None:
            making.state = news
            self._changed()

        self._metrics.decode_seconds.labels("wait").observe(time.perf_counter() - making.asked)
        try:
            made = await self._process.make(making.work, tell)
            await asyncio.to_thread(self._keep, entry.key, making, made)
        except Stopped:
            log.info("a picture was not wanted any more")
        except asyncio.CancelledError:
            _fail(making.made, DecoderUnavailable("the server shuts down"))
            raise
        except GlimpseError as error:
            self._metrics.decode_failures.inc()
            _fail(making.made, error)
        except Exception:  # those who ask are told, and the next picture may be luckier
            self._metrics.decode_failures.inc()
            log.exception("a picture could not be made")
            _fail(making.made, DecoderUnavailable("the decoder failed; its log says why"))
        else:
            for phase, seconds in made.seconds.items():
                self._metrics.decode_seconds.labels(phase).observe(seconds)
            making.made.set_result(made.picture)
        finally:
            self._line.finish()
            self._changed()

    def _keep(self, key: str, making: _Making, made: Made) -> None:
        self._cache.put(key, made.picture, making.keep_until)
        if made.faithful is not None:
            plain = replace(making.work, steps=0, fidelity=1.0, seed=0)
            self._cache.put(self._key(plain), made.faithful, making.keep_until)

    async def _read(self, work: Callable[[], T]) -> T:
        async with self._readers:
            return await asyncio.to_thread(work)

    async def _rest(self) -> None:
        """Until there may be work; the decoder leaves memory when that takes long."""
        tick = self._tick
        try:
            async with asyncio.timeout(self._policy.idle_s if self._process.loaded else None):
                await tick.wait()
        except TimeoutError:
            log.info("the decoder leaves memory")
            await self._process.unload()

    async def _sweep(self) -> None:
        while True:
            await asyncio.to_thread(self._cache.sweep)
            await asyncio.sleep(_SWEEP_S)

    def _changed(self) -> None:
        """Wakes everyone who looks at the line."""
        self._tick.set()
        self._tick = asyncio.Event()

    def _decoder_key(self) -> str:
        """Names the decoder's weights. Raises ModelMismatch if there are none."""
        try:
            return hashlib.sha256((self._human / "manifest.json").read_bytes()).hexdigest()
        except OSError as error:
            why = f"{self._human}: {error.strerror or error}"
            raise ModelMismatch(f"this server has no human decoder: {why}") from error

    def _key(self, work: Work) -> str:
        """The same for the same picture: 64 hexadecimal digits."""
        parts = [
            _MADE_BY, self._decoder_key(), work.steps, repr(work.fidelity), work.seed,
            _digest(work.base), hashlib.sha256(work.auxiliary or b"").hexdigest(),
        ]  # fmt: skip
        if (still := work.still) is not None:
            parts += [_digest(still.base), hashlib.sha256(still.data).hexdigest()]
        return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()


def _digest(base: Coded) -> str:
    """Of what a machine layer says, however its bytes lean on others."""
    header = base.header
    says = (
        header.model, header.profile, header.quality, header.ivn,
        header.width, header.height, header.side,
    )  # fmt: skip
    return hashlib.sha256(repr(says).encode() + base.y.astype("<i2").tobytes()).hexdigest()


def _fail(made: asyncio.Future[Picture], error: GlimpseError) -> None:
    if not made.done():
        made.set_exception(error)
        made.exception()  # all who wait may have left
