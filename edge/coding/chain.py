"""Intra or inter: which layer the next frame becomes. A camera's layers lean on each other.

    the chain is whole, of this size, not too long ──> inter layer after the last one
    else, or where inter is no shorter             ──> intra layer: the chain begins anew

Encoding goes on in a thread of its own, while the uplink may hear that the chain is broken: that
the spool did not keep a layer, or that the server could not read one.
"""

from __future__ import annotations

import threading

from common.bitstream import MAX_CHAIN
from common.codec import Coded
from common.errors import BadSettings
from edge.coding.encoder import Analysis, Encoder
from edge.rate import Plan

_NEARLY = 0.7  # of the chain's intra layer: an inter layer above it has to prove itself


class Chain:
    """The layers of one camera, from one boot.

    key_every  layers from one intra layer to the next, 1 (no inter layers) to 50
    hold       0.5..1, see `quantise` in edge/coding/encoder.py; None: as is usual for the quality
    """

    def __init__(
        self, encoder: Encoder, *, key_every: int = MAX_CHAIN, hold: float | None = None
    ) -> None:
        if not 1 <= key_every <= MAX_CHAIN:
            raise BadSettings(f"key_every {key_every} is outside 1..{MAX_CHAIN}")
        self._encoder = encoder
        self._key_every = key_every if encoder.codes_inter else 1
        self._hold = hold
        self._last: Coded | None = None
        self._key_bytes = 0
        self._broken = threading.Event()

    def break_off(self) -> None:
        """The next layer leans on none. Called from any thread."""
        self._broken.set()

    def code(self, analysis: Analysis, plan: Plan, profile: int = 0) -> Coded:
        """The next layer, as planned."""
        last = self._fitting(analysis, profile)
        coded = self._encoder.coded(analysis, plan, profile, last=last, hold=self._hold)
        if last is not None and len(coded.data) > _NEARLY * self._key_bytes:
            alone = self._encoder.coded(analysis, plan, profile)
            if len(alone.data) <= len(coded.data):
                coded = alone
        if coded.place == 1:
            self._key_bytes = len(coded.data)
        self._last = coded
        return coded

    def _fitting(self, analysis: Analysis, profile: int) -> Coded | None:
        """The last layer, if the next one may lean on it."""
        last = self._last
        if self._broken.is_set():
            self._broken.clear()
            return None
        if last is None or last.place >= self._key_every:
            return None
        of = last.header
        same = (of.width, of.height, of.side, of.profile) == (
            analysis.width,
            analysis.height,
            analysis.side,
            profile,
        )
        return last if same else None
