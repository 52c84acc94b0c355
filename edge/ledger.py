"""What became of each frame. Every captured frame ends under exactly one heading.

    captured = skipped + thinned + bad + coded
    coded    = acked + refused + expired + waiting

`skipped` is what this machine had no time for, `thinned` what the rate had no room for.

`waiting` is not a difference but what the spool says that it holds, so that `adds_up` means
something. Layers of earlier boots that were still in the spool are counted beside it.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from common.session.events import Outcome, Verdict
from common.types import Box, FrameId
from edge.link.counter import WireBytes
from edge.spool import Expired, ExpiryReason, Found
from edge.spool.account import Rows

_PENDING = 4096  # frames whose moment of capture is remembered until their boxes come
_IN_FILE = {  # counted there
    ExpiryReason.SPOOL_FULL.value,
    ExpiryReason.TOO_OLD.value,
    ExpiryReason.SPOOL_SET_ASIDE.value,
    ExpiryReason.SPOOL_REMOVED.value,
}
_RECENT = 20_000  # times from which percentiles are taken: the latest of a long run


@dataclass(slots=True)
class Times:
    """Durations in seconds; percentiles of the latest 20,000."""

    recent: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))

    def add(self, seconds: float) -> None:
        self.recent.append(seconds)

    def percentile(self, percent: float) -> float | None:
        """Nearest rank: the shortest time that `percent` of all do not exceed."""
        if not self.recent:
            return None
        rank = max(math.ceil(percent / 100 * len(self.recent)), 1)
        return sorted(self.recent)[rank - 1]

    def summary_ms(self) -> dict[str, float | int | None]:
        times = {f"p{percent}": _ms(self.percentile(percent)) for percent in (50, 95, 99)}
        return {**times, "frames": len(self.recent)}


class Ledger:
    """Counts where the facts happen. Not thread-safe: lives in the event loop's thread.

    earlier  layers of earlier boots in the spool at the start
    began    unix seconds
    """

    def __init__(self, boot: str, earlier: int, began: float = 0.0) -> None:
        self.captured = 0
        self.skipped: Counter[str] = Counter()  # by reason: late, overtaken, stopped
        self.thinned: Counter[str] = Counter()  # by reason: budget, server, link, backlog
        self.bad = 0
        self.coded = 0
        self.coded_bytes = 0
        self.quality_sum = 0.0  # of all coded, each 0..1
        self.sent = 0  # layers, repetitions included
        self.acked = 0
        self.unspooled = 0  # of them: never in the spool
        self.refused = 0
        self.expired: Counter[str] = Counter()  # by reason
        self.earlier_acked = 0
        self.earlier_lost = 0  # refused or expired
        self.connections = 0
        self.latency = Times()  # capture -> boxes
        self.stages: dict[str, Times] = {}
        self.boxes: tuple[Box, ...] | None = None  # of the latest frame that has any word
        self.ended = False  # nothing is in hand any more
        self._boot = boot
        self._earlier = earlier
        self._began = began
        self._captured_at: OrderedDict[int, float] = OrderedDict()

    # -- facts

    def on_coded(self, seq: int, captured: float, size: int) -> None:
        """captured: seconds of the monotonic clock at capture; size in bytes."""
        self.coded += 1
        self.coded_bytes += size
        self._captured_at[seq] = captured
        if len(self._captured_at) > _PENDING:
            self._captured_at.popitem(last=False)

    def on_stage(self, stage: str, seconds: float) -> None:
        self.stages.setdefault(stage, Times()).add(seconds)

    def on_expired(self, expired: Iterable[Expired]) -> None:
        for item in expired:
            self.on_lost(item.frame, item.reason.value)

    def on_lost(self, frame: FrameId, reason: str) -> None:
        """The spool let go of the frame, or could not take it."""
        if frame.boot == self._boot:
            self.expired[reason] += 1
            self._captured_at.pop(frame.seq, None)
        else:
            self.earlier_lost += 1

    def on_found(self, found: Found) -> None:
        """What came and went with the spool's file."""
        self.expired[ExpiryReason.SPOOL_SET_ASIDE.value] += found.set_aside
        self.expired[ExpiryReason.SPOOL_REMOVED.value] += found.removed
        self.expired += Counter()  # those above 0 stay
        self._earlier += max(found.earlier, 0)
        self.earlier_lost += max(-found.earlier, 0)

    def on_arrived(self, reason: str, count: int) -> None:
        """Frames that the disk did not take were sent all the same, and settled."""
        self.expired[reason] -= count
        self.expired += Counter()  # those above 0 stay
        self.acked += count
        self.unspooled += count

    def on_settled(self, boot: str, count: int, *, refused: bool) -> None:
        """`count` layers of this boot left the spool because the server has dealt with them."""
        match boot == self._boot, refused:
            case True, False:
                self.acked += count
            case True, True:
                self.refused += count
            case False, False:
                self.earlier_acked += count
            case _:
                self.earlier_lost += count

    def on_verdict(self, verdict: Verdict, now: float) -> None:
        if verdict.frame.boot != self._boot:
            return
        captured = self._captured_at.pop(verdict.frame.seq, None)
        if verdict.outcome is Outcome.STORED and verdict.boxes is not None:
            self.boxes = verdict.boxes
            if captured is not None:
                self.latency.add(now - captured)

    # -- the account

    def waiting(self, spooled: int) -> int:
        """Layers of this boot among the `spooled` ones."""
        return spooled - (self._earlier - self.earlier_acked - self.earlier_lost)

    def adds_up(self, spooled: int) -> bool:
        """Whether each captured frame stands under exactly one heading. True between frames."""
        settled = self.acked + self.refused + self.expired.total()
        return (
            self.captured == self.skipped.total() + self.thinned.total() + self.bad + self.coded
            and self.coded == settled + self.waiting(spooled)
        )

    def rows(self) -> Rows:
        """What the account on disk says of this process; called from any thread.

        `captured` is read last: a frame that comes meanwhile is in hand rather than overdrawn.
        """
        counts = {
            "bad": self.bad,
            "refused": self.refused,
            "unspooled": self.unspooled,
            "ended": int(self.ended),
        }
        kept = {reason: n for reason, n in dict(self.expired).items() if reason not in _IN_FILE}
        rows: Rows = {(heading, ""): count for heading, count in counts.items()}
        rows |= {("lost", reason): count for reason, count in kept.items()}
        rows |= {("skipped", reason): count for reason, count in dict(self.skipped).items()}
        rows |= {("thinned", reason): count for reason, count in dict(self.thinned).items()}
        return rows | {("began", ""): int(self._began), ("captured", ""): self.captured}

    @property
    def mean_bytes(self) -> float | None:
        """Bytes of a layer."""
        return self.coded_bytes / self.coded if self.coded else None

    @property
    def mean_quality(self) -> float | None:
        """0..1."""
        return self.quality_sum / self.coded if self.coded else None

    def summary(self, spooled: int, seconds: float, wire: WireBytes | None) -> dict[str, Any]:
        """Everything above, ready for JSON."""
        return {
            "seconds": round(seconds, 3),
            "captured": self.captured,
            "skipped": dict(self.skipped),
            "thinned": dict(self.thinned),
            "bad": self.bad,
            "coded": self.coded,
            "sent": self.sent,
            "acked": self.acked,
            "refused": self.refused,
            "expired": dict(self.expired),
            "waiting": self.waiting(spooled),
            "adds_up": self.adds_up(spooled),
            "earlier": {"acked": self.earlier_acked, "lost": self.earlier_lost},
            "connections": self.connections,
            "mean_bytes": None if self.mean_bytes is None else round(self.mean_bytes, 1),
            "mean_quality": None if self.mean_quality is None else round(self.mean_quality, 3),
            "wire": None if wire is None else _rates(wire, seconds),
            "capture_to_boxes_ms": self.latency.summary_ms(),
            "stages_ms": {name: times.summary_ms() for name, times in self.stages.items()},
        }


def _rates(wire: WireBytes, seconds: float) -> dict[str, int]:
    return {
        "sent_bytes": wire.sent,
        "received_bytes": wire.received,
        "sent_bits_per_second": round(wire.sent * 8 / seconds) if seconds else 0,
        "received_bits_per_second": round(wire.received * 8 / seconds) if seconds else 0,
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
