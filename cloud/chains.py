"""Chains: the last layers of each camera, which the next inter layers lean on.

    intra layer ──> decode
    inter layer ──> decode after the layer that it names: the last one
                    └─ not at hand (a restart, a layer that comes again): the store's layers from
                       the intra one on are decoded through, once

What cannot be read is remembered as well: what leans on it is told so, at no cost, up to the next
intra layer. All of it belongs to the thread that decodes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cloud.metrics import Metrics
from cloud.store import is_inter
from common.bitstream import MAX_CHAIN, link, unpack_inter
from common.codec import Coded
from common.errors import BrokenChain, CorruptStream, ModelMismatch
from common.types import FrameId, Layer

_ENDS = 2  # of one boot: live layers, and those of a catch-up or a resend, may take turns
_LEAST_BYTES = 1024  # that a boot takes, whatever is kept of it


@dataclass(frozen=True, slots=True)
class _End:
    """The last layer of a chain. coded None: it could not be read."""

    link: int
    coded: Coded | None

    @property
    def size(self) -> int:
        """Bytes in memory, about."""
        if self.coded is None:
            return 0
        y, before = self.coded.y, self.coded.before
        return len(self.coded.data) + y.nbytes + (0 if before is y else before.nbytes)


class Chains:
    """Reads each camera's layers, in the order in which they come.

    read       a layer, after the one before it or None: raises CorruptStream, ModelMismatch
    stored     FrameStore.chain
    max_bytes  of integers kept; the boot that was silent for longest goes first, and has its chain
               read from the store when it speaks again
    """

    def __init__(
        self,
        read: Callable[[bytes, Coded | None], Coded],
        stored: Callable[[FrameId], Sequence[bytes]],
        metrics: Metrics,
        *,
        max_bytes: int,
    ) -> None:
        self._read, self._stored, self._metrics = read, stored, metrics
        self._max_bytes = max_bytes
        self._bytes = 0
        self._boots: OrderedDict[tuple[str, str], tuple[_End, ...]] = OrderedDict()

    def read(self, layer: Layer) -> Coded:
        """What is in a layer.

        Raises CorruptStream, ModelMismatch, and BrokenChain where a layer that it leans on is
        missing or could not be read.
        """
        data = layer.data
        before = unpack_inter(data)[1] if is_inter(data) else None
        try:
            last = None if before is None else self._last(layer.frame, before)
            coded = self._read(data, last)
        except (CorruptStream, ModelMismatch):
            self._keep(layer.frame, before, _End(link(data), None))
            raise
        self._keep(layer.frame, before, _End(coded.link, coded))
        return coded

    def _last(self, frame: FrameId, before: int) -> Coded:
        """The layer of this link, which stands before the frame."""
        ends = self._boots.get((frame.camera, frame.boot), ())
        known = [end.coded for end in ends if end.link == before]
        last = known[-1] if known else self._load(frame, before)
        if last is None:
            raise BrokenChain("a layer that it leans on is missing or cannot be read")
        return last

    def _load(self, frame: FrameId, before: int) -> Coded | None:
        """The same from the store; None unless all that it leans on is there and can be read."""
        self._metrics.chain_loads.inc()
        chain = self._stored(frame)
        last = None
        try:
            # First by links alone: decoding is dear, and would be for naught if one is missing.
            named = [unpack_inter(data)[1] for data in chain[1:]]
            if [*named, before] == [link(data) for data in chain]:
                for data in chain:
                    last = self._read(data, last)
        except CorruptStream:
            return None
        return last

    def _keep(self, frame: FrameId, before: int | None, end: _End) -> None:
        """Put `end` in the place of the layer that it leans on."""
        key = (frame.camera, frame.boot)
        others = (e for e in self._forget(key) if e.link not in (before, end.link))
        is_full = end.coded is not None and end.coded.place == MAX_CHAIN
        ends = tuple(others) if is_full else (*others, end)
        self._boots[key] = ends[-_ENDS:]
        self._bytes += _size(self._boots[key])
        while self._bytes > self._max_bytes:
            self._forget(next(iter(self._boots)))

    def _forget(self, key: tuple[str, str]) -> tuple[_End, ...]:
        if key not in self._boots:
            return ()
        ends = self._boots.pop(key)
        self._bytes -= _size(ends)
        return ends


def _size(ends: Sequence[_End]) -> int:
    return _LEAST_BYTES + sum(end.size for end in ends)
