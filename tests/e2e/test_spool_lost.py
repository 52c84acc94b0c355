"""A spool file that rots or vanishes under a camera without a link: counted; the rest arrives."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from pathlib import Path

import pytest

from edge.link import Link
from edge.spool.account import read_accounts
from edge.spool.sqlite import SqliteSpool
from edge.spool.steady import SteadySpool
from tests.edge.server import Server, serving, until
from tests.edge.test_uplink import MODEL, Rig, free_port


def rot(path: Path) -> None:
    """All but its first page; what is in the log comes into the file before."""
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))


def remove(path: Path) -> None:
    path.unlink()


def remove_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [(rot, "spool_set_aside"), (remove, "spool_removed"), (remove_folder, "spool_removed")],
)
async def test_what_is_lost_is_counted_and_the_rest_arrives(
    tmp_path: Path, harm: object, reason: str
) -> None:
    path = tmp_path / "spool" / "gate.sqlite"
    spool = SteadySpool(SqliteSpool(path, "gate", max_bytes=1 << 20))
    link = Link(f"127.0.0.1:{free_port()}", plaintext=True)
    rig = Rig(link, spool=spool)
    spool.keep_account(rig.boot, rig.ledger.rows)
    task = asyncio.create_task(rig.uplink.run())
    for seq in range(40):
        rig.code(seq)
    await until(lambda: spool.status().frames == 40)
    assert callable(harm)
    harm(path)
    rest = [rig.code(seq) for seq in range(40, 60)]
    await until(lambda: spool.status().frames == 20)
    rig.ledger.on_found(spool.take_found())
    assert rig.adds_up
    async with serving(Server(MODEL), address=link.server) as server:
        rig.uplink.end()
        await asyncio.wait_for(task, 60)
    assert list(server.stored) == rest
    assert rig.ledger.acked == 20
    assert rig.ledger.expired == {reason: 40}
    assert rig.adds_up
    rig.ledger.ended = True
    spool.close()
    [account] = read_accounts(path)
    assert account.adds_up
    assert (account.captured, account.acked, dict(account.expired)) == (60, 20, {reason: 40})
