"""A week without a link: the spool keeps to its bound, what it kept arrives, the rest is counted.

The clock is simulated: a frame's time of capture is all that a week means to the spool. The disk,
the connection and the server are real.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from common.bitstream import Header, Kind, pack
from common.session import EdgeSession
from common.types import FrameId, Layer
from edge.ledger import Ledger
from edge.link import Link
from edge.spool.account import read_accounts
from edge.spool.sqlite import SqliteSpool
from edge.spool.steady import SteadySpool
from edge.uplink import Uplink
from tests.edge.server import Server, serving

MODEL = 0x1234
HEADER = Header(Kind.MACHINE_INTRA, MODEL, 0, 100, 0, 640, 480, 640)
START, WEEK_S, EVERY_S = 1.7e9, 7 * 86_400, 300
FRAMES = WEEK_S // EVERY_S
BODY_BYTES = 400
BOUND = 300_000  # bytes: less than the half of what comes
OVERHEAD = 1.4 * BOUND + (5 << 20)  # rows and pages, and the log that SQLite keeps beside


async def test_a_week_offline(tmp_path: Path) -> None:
    path = tmp_path / "gate.sqlite"
    spool = SteadySpool(SqliteSpool(path, "gate", max_bytes=BOUND))
    ledger = Ledger("week", 0, START)
    spool.keep_account("week", ledger.rows)
    kept = 0
    for begin in range(0, FRAMES, 48):  # four hours at a time
        layers = [frame(seq) for seq in range(begin, min(begin + 48, FRAMES))]
        for layer in layers:
            ledger.captured += 1
            ledger.on_coded(layer.frame.seq, 0.0, len(layer.data))
        ledger.on_expired(spool.append(layers))
        status = spool.status()
        assert status.bytes <= BOUND
        assert size(tmp_path) < OVERHEAD
        assert ledger.adds_up(status.frames)
        kept = status.frames
    oldest = spool.status().oldest
    assert oldest == START + (FRAMES - kept) * EVERY_S  # the newest are kept
    assert ledger.expired == {"spool_full": FRAMES - kept}
    assert kept > 600

    async with serving(Server(MODEL)) as server:
        session = EdgeSession("gate", "week", MODEL, random=random.random, want_boxes=True)
        uplink = Uplink(session, Link(server.address, plaintext=True), spool, ledger)
        uplink.end()
        await asyncio.wait_for(uplink.run(), 60)
    assert list(server.stored) == [frame(seq).frame for seq in range(FRAMES - kept, FRAMES)]
    assert all(server.stored[layer.frame] == layer for layer in map(frame, range(-kept, 0)))
    assert (ledger.acked, spool.status().frames) == (kept, 0)
    assert ledger.adds_up(0)
    ledger.ended = True
    spool.close()
    [account] = read_accounts(path)
    assert account.adds_up
    assert (account.captured, account.acked) == (FRAMES, kept)
    assert account.expired == {"spool_full": FRAMES - kept}


def size(folder: Path) -> int:
    """Bytes of its files."""
    return sum(file.stat().st_size for file in folder.iterdir())


def frame(seq: int) -> Layer:
    """Of so many intervals after the start; below 0: counted from the end."""
    seq %= FRAMES
    body = random.Random(seq).randbytes(BODY_BYTES)
    return Layer(FrameId("gate", "week", seq), START + seq * EVERY_S, pack(HEADER, body))
