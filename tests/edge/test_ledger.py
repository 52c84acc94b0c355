from __future__ import annotations

from common.session.events import Outcome, Verdict
from common.types import FrameId
from edge.ledger import Ledger, Times
from edge.link.counter import WireBytes
from edge.spool import Expired, ExpiryReason


def test_percentiles_by_nearest_rank() -> None:
    times = Times()
    assert times.percentile(50) is None
    for ms in range(100, 0, -1):
        times.add(ms / 1000)
    assert times.summary_ms() == {"p50": 50.0, "p95": 95.0, "p99": 99.0, "frames": 100}


def test_only_the_latest_times_are_kept() -> None:
    times = Times()
    for i in range(30_000):
        times.add(float(i))
    assert times.percentile(0) == 10_000


def test_every_frame_under_one_heading() -> None:
    ledger = Ledger("b", earlier=3)
    ledger.captured = 14
    ledger.skipped["late"] = 2
    ledger.thinned["budget"] = 3
    ledger.thinned["backlog"] = 1
    ledger.bad = 1
    for seq in range(7):
        ledger.on_coded(seq, 100.0 + seq, 300)
    ledger.on_settled("b", 3, refused=False)
    ledger.on_settled("b", 1, refused=True)
    ledger.on_expired([Expired(FrameId("c", "b", 4), ExpiryReason.SPOOL_FULL)])
    ledger.on_expired([Expired(FrameId("c", "a", 4), ExpiryReason.SPOOL_FULL)])  # of earlier
    ledger.on_settled("a", 1, refused=False)
    spooled = 2 + 1  # two of ours, one of the earlier boot
    assert ledger.waiting(spooled) == 2
    assert ledger.adds_up(spooled)
    assert not ledger.adds_up(spooled + 1)
    summary = ledger.summary(spooled, 10.0, WireBytes(5000, 1000))
    assert summary["adds_up"]
    assert summary["thinned"] == {"budget": 3, "backlog": 1}
    assert summary["mean_bytes"] == 300.0
    assert summary["earlier"] == {"acked": 1, "lost": 1}
    assert summary["wire"]["sent_bits_per_second"] == 4000
    assert summary["expired"] == {"spool_full": 1}


def test_latency_is_from_capture_to_boxes() -> None:
    ledger = Ledger("b", 0)
    for seq in range(3):
        ledger.on_coded(seq, 100.0, 300)
    ledger.on_verdict(Verdict(FrameId("c", "b", 0), Outcome.STORED, boxes=()), 100.5)
    ledger.on_verdict(Verdict(FrameId("c", "b", 1), Outcome.STORED, "no detector"), 100.6)
    ledger.on_verdict(Verdict(FrameId("c", "a", 2), Outcome.STORED, boxes=()), 100.7)
    ledger.on_verdict(Verdict(FrameId("c", "b", 0), Outcome.STORED, boxes=()), 109.0)  # again
    assert list(ledger.latency.recent) == [0.5]


def test_frames_without_an_answer_are_forgotten_in_time() -> None:
    ledger = Ledger("b", 0)
    for seq in range(10_000):
        ledger.on_coded(seq, 0.0, 1)
    ledger.on_verdict(Verdict(FrameId("c", "b", 1), Outcome.STORED, boxes=()), 1.0)
    assert ledger.latency.percentile(50) is None
