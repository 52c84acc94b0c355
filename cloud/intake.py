"""What all cameras' streams share: layers into the store, through the detector, and out again.

A layer goes to the store and to the detector at once. Its boxes are published and kept after it is
stored, so that nobody sees boxes of a frame that the store does not have.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import structlog

from cloud.batching import BatchingDetector
from cloud.bus import Bus
from cloud.detector import Detection
from cloud.metrics import Metrics
from cloud.sightings import UNREADABLE, Sighting
from cloud.store import Found, FrameStore, Outcome, is_inter
from cloud.store.writer import StoreWriter
from common.errors import CorruptStream, GlimpseError, ModelMismatch, StoreFull
from common.session.events import CloudEvent, Detected, Stored, StoreFailed
from common.types import FrameId, Layer

log = structlog.get_logger()

Storing = asyncio.Task[tuple[Outcome, ...]]

_CATCH_UP = 16  # layers that are looked at together after a restart; live ones stand between
_AGAIN_S = 5.0  # until layers that could not be looked at, or not kept, are tried again
_AGAIN_MOST_S = 600.0  # doubles so far
_CATCH_UP_FAILURES = 64  # then it is the detector or the store, not the layers
_REMEMBERED = 4096  # layers that failed


@dataclass(frozen=True, slots=True)
class Look:
    """What the detector said to a layer: a detection, or why there is none.

    is_final  False: it failed, and another try may succeed
    """

    detection: Detection | None
    reason: str = ""
    is_final: bool = True


class Intake:
    """Layers on their way.

    model_id, model  the detector's, as a number and as a name
    labels           of its boxes
    inspect          raises CorruptStream or ModelMismatch for a layer that cannot be taken
    """

    def __init__(
        self,
        store: FrameStore,
        writer: StoreWriter,
        detector: BatchingDetector,
        bus: Bus[Sighting],
        metrics: Metrics,
        *,
        model_id: int,
        model: str,
        labels: tuple[str, ...],
        inspect: Callable[[bytes], None],
    ) -> None:
        self.model_id = model_id
        self.labels = labels
        self.inspect = inspect
        self.sent: Counter[str] = Counter()  # layers, by camera
        self._store, self._writer, self._detector = store, writer, detector
        self._bus, self._metrics, self._model = bus, metrics, model
        self._work: set[asyncio.Task[None]] = set()
        self._in_hand: set[FrameId] = set()
        self._failed: set[FrameId] = set()  # when they were looked at again
        self._behind = asyncio.Event()  # stored layers have no boxes, and nobody is at them

    async def held(self, frames: Collection[FrameId]) -> frozenset[FrameId]:
        """Which of these frames are stored."""
        return await asyncio.to_thread(self._store.held, frames)

    def take(
        self, layers: Sequence[Layer], tell: Callable[[CloudEvent], None]
    ) -> Sequence[asyncio.Task[None]]:
        """Begins to store these layers and to look at them; returns what has begun.

        `tell` gets Stored or StoreFailed once, and after Stored a Detected for each layer. The
        tasks go on to their end by themselves, whoever waits for them.
        """
        self.sent.update(layer.frame.camera for layer in layers)
        stored = asyncio.create_task(self._writer.put(layers))
        works = [self._report(layers, stored, tell)]
        works += [self._follow(layer, i, stored, tell) for i, layer in enumerate(layers)]
        tasks = [asyncio.create_task(work) for work in works]
        for task in tasks:
            self._work.add(task)
            task.add_done_callback(self._work.discard)
        return tasks

    async def run(self) -> None:
        """Catches up at the start, and whenever something was not kept; works until cancelled."""
        pause = _AGAIN_S
        while True:
            self._behind.clear()
            try:
                await self.catch_up()
            except StoreFull as error:  # of reading: the disk fails
                log.warning("cannot look for layers without boxes", reason=str(error))
                self._behind.set()
            pause = min(2 * pause, _AGAIN_MOST_S) if self._behind.is_set() else _AGAIN_S
            await self._behind.wait()
            await asyncio.sleep(pause)

    async def catch_up(self) -> None:
        """Detects what is stored and has not been looked at, each layer once.

        Those that failed before come last and in any order, or a few hopeless ones would stand
        before all others for ever.
        """
        before = frozenset(self._failed)
        await self._catch_up(lambda frame: frame not in before)
        await self._catch_up(lambda frame: frame in before)
        if len(self._failed) > _REMEMBERED:
            self._failed.clear()

    async def _catch_up(self, wanted: Callable[[FrameId], bool]) -> None:
        failed: set[FrameId] = set()
        while len(failed) < _CATCH_UP_FAILURES:
            most = _CATCH_UP + len(self._failed) + len(self._in_hand)
            oldest = await asyncio.to_thread(self._store.undetected, most)
            passed_over = failed | self._in_hand
            waiting = [
                layer for layer in oldest if wanted(layer.frame) and layer.frame not in passed_over
            ]
            if not waiting:
                return
            if waiting[0].frame in self._failed:
                random.shuffle(waiting)
            chosen = waiting[:_CATCH_UP]
            kept = await asyncio.gather(*map(self._look_again, chosen))
            missed = {layer.frame for layer, ok in zip(chosen, kept, strict=True) if not ok}
            failed |= missed
            self._failed = self._failed - {layer.frame for layer in chosen} | missed
        log.warning("layers stay without boxes for now", failed=len(failed))

    async def finish(self, patience_s: float) -> None:
        """Waits for what `take` has begun, then cancels the rest."""
        if self._work:
            _, late = await asyncio.wait(self._work, timeout=patience_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _report(
        self, layers: Sequence[Layer], stored: Storing, tell: Callable[[CloudEvent], None]
    ) -> None:
        try:
            outcomes = await stored
        except StoreFull as error:
            tell(StoreFailed(str(error)))
            return
        tell(Stored(tuple(layer.frame for layer in layers)))
        for layer, outcome in zip(layers, outcomes, strict=True):
            self._metrics.unreadable_layers.labels(layer.frame.camera)  # 0 is a figure too
            self._metrics.layers.labels(layer.frame.camera, outcome.value).inc()
            if outcome is Outcome.STORED:
                kind = "inter" if is_inter(layer.data) else "intra"
                self._metrics.layer_bytes.labels(layer.frame.camera, kind).inc(len(layer.data))
                self._metrics.last_layer.labels(layer.frame.camera).set_to_current_time()

    async def _follow(
        self, layer: Layer, index: int, stored: Storing, tell: Callable[[CloudEvent], None]
    ) -> None:
        """One layer through the detector, and its boxes to everyone who wants them."""
        self._in_hand.add(layer.frame)
        try:
            look = await self._look(layer)
            try:
                outcome = (await stored)[index]
            except StoreFull:
                return
            tell(_detected(layer, look))
            if outcome is Outcome.DUPLICATE:
                # If it has no boxes yet, a catch-up may just have passed it over, as in hand.
                self._behind.set()
                return
            if look.detection is not None:
                delay = max(0.0, time.time() - layer.captured_at)
                self._metrics.capture_to_boxes.observe(delay)
                self._metrics.camera_delay.labels(layer.frame.camera).observe(delay)
                self._bus.publish(_sighting(layer, look.detection))
            await self._keep(layer, look)
        except BaseException:  # whatever it was: this layer must not be forgotten
            self._behind.set()
            raise
        finally:
            self._in_hand.discard(layer.frame)

    async def _look_again(self, layer: Layer) -> bool:
        return await self._keep(layer, await self._look(layer))

    async def _look(self, layer: Layer) -> Look:
        try:
            return Look(await self._detector.submit(layer))
        except (CorruptStream, ModelMismatch) as error:  # its body is wrong, or its chain broken
            return Look(None, str(error))
        except GlimpseError as error:
            return Look(None, str(error), is_final=False)

    async def _keep(self, layer: Layer, look: Look) -> bool:
        """What was seen into the store; False if it is not there, and to be found again."""
        if not look.is_final:
            self._behind.set()
            return False
        if look.detection is not None:
            seen = look.detection
            found = Found(layer.frame, seen.boxes, self._model, seen.header, seen.presences)
        else:
            found = Found(layer.frame, (), UNREADABLE + look.reason)
            self._metrics.unreadable_layers.labels(layer.frame.camera).inc()
        try:
            await self._writer.put_boxes(found)
        except StoreFull as error:
            log.warning("boxes not kept", frame=str(layer.frame), reason=str(error))
            self._behind.set()
            return False
        return True


def _detected(layer: Layer, look: Look) -> Detected:
    if look.detection is None:
        return Detected(layer.frame, None, look.reason if look.is_final else "")
    return Detected(layer.frame, look.detection.boxes, "", look.detection.presences)


def _sighting(layer: Layer, detection: Detection) -> Sighting:
    header = detection.header
    return Sighting(
        layer.frame,
        layer.captured_at,
        len(layer.data),
        header.width,
        header.height,
        detection.boxes,
        detection.presences,
    )
