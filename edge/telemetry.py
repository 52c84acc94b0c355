"""How this camera is, in numbers: the ledger's, the spool's, rate control's and the kernel's."""

from __future__ import annotations

import math

from common.session.events import Telemetry
from edge.ledger import Ledger
from edge.link.counter import WireBytes
from edge.spool import SpoolStatus

_MOST = 2**32 - 1  # of a field of 32 bits


def telemetry(
    ledger: Ledger, spooled: SpoolStatus, wire: WireBytes | None, budget: float, now: float
) -> Telemetry:
    """budget in bytes per second, infinite if there is none; now in unix seconds."""
    age = 0.0 if spooled.oldest is None else max(now - spooled.oldest, 0.0)
    return Telemetry(
        captured=ledger.captured,
        skipped=ledger.skipped.total() + ledger.bad,
        thinned=ledger.thinned.total(),
        acked=ledger.acked,
        refused=ledger.refused,
        expired=ledger.expired.total(),
        spool_frames=spooled.frames,
        spool_oldest_s=min(int(age), _MOST),
        quality=round((ledger.mean_quality or 0.0) * 255),
        wire_bytes=0 if wire is None else wire.sent + wire.received,
        reconnects=max(ledger.connections - 1, 0),
        budget=0 if math.isinf(budget) else min(max(round(budget), 1), _MOST),
        spool_bytes=spooled.bytes,
        spool_max_bytes=spooled.max_bytes,
    )
