"""The account on disk adds up at any moment, whatever is killed, and does not grow for ever."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

import edge.spool.account
from common.errors import BadSettings
from common.types import FrameId, Layer
from edge.ledger import Ledger
from edge.main import app
from edge.spool.account import Account, read_accounts, total
from edge.spool.account_text import as_lines
from edge.spool.sqlite import DDL, SqliteSpool


class Boot:
    """A camera process as far as the account is concerned."""

    def __init__(self, path: Path, boot: str, began: float = 1e9, max_bytes: int = 1 << 20) -> None:
        self.boot = boot
        self.spool = SqliteSpool(path, "gate", max_bytes=max_bytes)
        self.ledger = Ledger(boot, self.spool.status().frames, began)
        self.spool.keep_account(boot, self.ledger.rows)

    def frames(self, count: int) -> None:
        for _ in range(count):
            seq = self.ledger.coded
            self.ledger.captured += 1
            self.ledger.on_coded(seq, 0.0, 100)
            layer = Layer(FrameId("gate", self.boot, seq), 1.0, bytes(100))
            self.ledger.on_expired(self.spool.append([layer]))

    def settle(self, seqs: Sequence[int], *, refused: bool = False) -> None:
        frames = [FrameId("gate", self.boot, seq) for seq in seqs]
        self.ledger.on_settled(self.boot, self.spool.drop(frames), refused=refused)

    def end(self) -> None:
        self.ledger.ended = True
        self.spool.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gate.sqlite"


def test_a_run_that_ended(path: Path) -> None:
    boot = Boot(path, "b1", max_bytes=1000)
    boot.frames(15)
    boot.settle([10, 11])
    boot.settle([12], refused=True)
    boot.ledger.captured += 4
    boot.ledger.skipped["late"] += 1
    boot.ledger.thinned["budget"] += 2
    boot.ledger.bad += 1
    boot.end()
    [account] = read_accounts(path)
    assert account == Account(
        "b1", 10**9, 19, {"late": 1}, {"budget": 2}, 1, 15, {}, 0, 3, 1, {"spool_full": 5}, 7, True
    )
    assert (account.acked, account.coded, account.in_hand, account.adds_up) == (2, 15, 0, True)


def test_a_run_that_was_killed_takes_along_what_it_had_in_hand(path: Path) -> None:
    boot = Boot(path, "b1")
    boot.frames(5)
    boot.ledger.captured += 2  # one waits for the encoder, one is being coded
    boot.settle([0, 1])
    [account] = read_accounts(path)
    assert (account.in_hand, account.adds_up, account.ended) == (2, True, False)
    boot.spool._db = None  # as kill -9 leaves it

    after = Boot(path, "b2", began=2e9)
    after.frames(3)
    after.spool.drop([FrameId("gate", "b1", seq) for seq in (2, 3)])
    after.end()
    killed, ended = read_accounts(path)
    assert (killed.boot, killed.acked, killed.waiting, killed.adds_up) == ("b1", 4, 1, True)
    assert (ended.boot, ended.waiting, ended.adds_up) == ("b2", 3, True)
    both = total([killed, ended])
    assert (both.captured, both.in_hand, both.waiting, both.adds_up) == (10, 2, 4, True)


def test_a_layer_that_vanished_is_noticed(path: Path) -> None:
    boot = Boot(path, "b1")
    boot.frames(5)
    boot.end()
    with closing(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM layer WHERE seq = 2")
        db.commit()
    [account] = read_accounts(path)
    assert not account.adds_up
    assert as_lines("gate", [account])[-1].strip() == "THIS DOES NOT ADD UP"
    result = CliRunner().invoke(app, ["ledger", "--spool", str(path.parent)])
    assert result.exit_code == 1


def test_many_boots_are_added_together_but_for_those_with_layers(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge.spool.account, "BOOTS", 4)
    for n in range(12):
        boot = Boot(path, f"b{n}", began=1000.0 + n)
        boot.frames(2)
        if n != 3:
            boot.settle([0, 1])
        if n == 5:  # killed with one in hand
            boot.ledger.captured += 1
            boot.spool.append(())
            boot.spool._db = None
            continue
        boot.end()
    accounts = read_accounts(path)
    assert 4 < len(accounts) <= 7
    assert accounts[0].boot == ""
    kept = next(account for account in accounts if account.boot == "b3")
    assert kept.waiting == 2
    everything = total(accounts)
    assert everything.captured == 2 * 12 + 1
    assert everything.in_hand == 1
    assert all(account.adds_up for account in accounts)


def test_a_spool_of_the_first_schema_gets_an_account(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript(DDL.split("CREATE TABLE account")[0] + "PRAGMA user_version = 1;")
        db.executemany(
            "INSERT INTO layer (camera, boot, seq, captured_at, data) VALUES (?, ?, ?, ?, ?)",
            [("gate", "b0", seq, 1.0, b"x") for seq in range(3)],
        )
        db.commit()
    boot = Boot(path, "b1")
    boot.spool.drop([FrameId("gate", "b0", 1)])
    boot.end()
    before = next(account for account in read_accounts(path) if account.boot == "b0")
    assert (before.spooled, before.settled, before.waiting) == (3, 1, 2)


def test_the_command(path: Path) -> None:
    boot = Boot(path, "b1")
    boot.frames(3)
    boot.settle([0])
    boot.end()
    result = CliRunner().invoke(app, ["ledger", "--spool", str(path.parent), "--json"])
    assert result.exit_code == 0
    said = json.loads(result.stdout)
    assert (said["camera"], said["adds_up"]) == ("gate", True)
    assert said["total"]["captured"] == 3
    result = CliRunner().invoke(app, ["ledger", "--spool", str(path.parent), "--camera", "gate"])
    assert "3 coded = 1 acked + 0 refused + 0 expired + 2 waiting" in result.stdout


def test_what_is_no_spool_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="there is no spool"):
        read_accounts(tmp_path / "gate.sqlite")
    (tmp_path / "yard.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(BadSettings, match="no account of frames"):
        read_accounts(tmp_path / "yard.sqlite")
