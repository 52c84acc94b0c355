"""The account of frames on disk, beside the layers that it counts: for `glimpse-edge ledger`.

A row says how many frames of one boot stand under one heading. Two kinds of rows:

    spooled, settled, expired                   facts of the file: changed with the layers, in the
                                                same transaction, so they hold whatever is killed
    captured, skipped, thinned, bad, refused,   what the process says of itself: as it was at its
    lost, unspooled, ended                      last change to the file

    captured = skipped + thinned + bad + coded
    coded    = spooled + lost + unspooled (the disk took neither; the latter arrived all the same)
    spooled  = settled (acked or refused) + expired + what lies in the file

A boot that ended by itself says so, and then all three hold. One that runs, or was killed, may have
frames in hand that are in no file: captured, not yet spooled.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import BadSettings

DDL = """
CREATE TABLE account (
    boot     TEXT    NOT NULL,  -- '': all that are no longer told apart
    heading  TEXT    NOT NULL,
    reason   TEXT    NOT NULL,
    frames   INTEGER NOT NULL,  -- of the heading `began`: unix seconds
    PRIMARY KEY (boot, heading, reason)
) WITHOUT ROWID;
"""

Fact = tuple[str, str, str]
"""boot, heading, reason"""

Rows = dict[tuple[str, str], int]
"""What a process says of its frames: (heading, reason) -> how many."""

BOOTS = 200  # that are told apart; a camera that restarts for ever must not fill its disk


def add(db: sqlite3.Connection, facts: Mapping[Fact, int]) -> None:
    """Counts up facts of the file."""
    db.executemany(
        "INSERT INTO account VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
        " SET frames = frames + excluded.frames",
        [(*fact, frames) for fact, frames in facts.items() if frames],
    )


def put(db: sqlite3.Connection, boot: str, rows: Rows) -> None:
    """Puts down what a process says of itself; what it thought lost may have arrived since."""
    db.execute("DELETE FROM account WHERE boot = ? AND heading = 'lost'", (boot,))
    db.executemany(
        "INSERT OR REPLACE INTO account VALUES (?, ?, ?, ?)",
        [(boot, *heading, frames) for heading, frames in rows.items()],
    )


def fold(db: sqlite3.Connection) -> None:
    """Adds the oldest boots together if there are many; those with layers in the file stay."""
    old = db.execute(
        "SELECT boot FROM account a WHERE heading = 'began' AND boot != ''"
        " AND NOT EXISTS (SELECT 1 FROM layer WHERE layer.boot = a.boot)"
        " ORDER BY frames DESC LIMIT -1 OFFSET ?",
        (BOOTS,),
    ).fetchall()
    for (boot,) in old:
        facts = db.execute(
            "SELECT '', heading, reason, frames FROM account"
            " WHERE boot = ? AND heading NOT IN ('began', 'ended')",
            (boot,),
        )
        add(db, {(b, heading, reason): frames for b, heading, reason, frames in facts.fetchall()})
        db.execute("DELETE FROM account WHERE boot = ?", (boot,))


@dataclass(frozen=True)
class Account:
    """One boot's, or of several together. Counts of frames, by reason where there are reasons.

    began    unix seconds; 0: unknown
    waiting  in the file now
    ended    the process ended by itself, and has put down its last word
    """

    boot: str
    began: int = 0
    captured: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    thinned: Mapping[str, int] = field(default_factory=dict)
    bad: int = 0
    spooled: int = 0
    lost: Mapping[str, int] = field(default_factory=dict)
    unspooled: int = 0
    settled: int = 0
    refused: int = 0
    expired: Mapping[str, int] = field(default_factory=dict)
    waiting: int = 0
    ended: bool = False

    @property
    def coded(self) -> int:
        return self.spooled + _total(self.lost) + self.unspooled

    @property
    def acked(self) -> int:
        return self.settled + self.unspooled - self.refused

    @property
    def in_hand(self) -> int:
        """Captured, and under no heading yet: of a process that runs, or was killed."""
        return self.captured - _total(self.skipped) - _total(self.thinned) - self.bad - self.coded

    @property
    def adds_up(self) -> bool:
        """Whether each captured frame stands under exactly one heading."""
        in_file = self.spooled - self.settled - _total(self.expired)
        return (
            in_file == self.waiting
            and self.acked >= 0
            and (self.in_hand == 0 if self.ended else self.in_hand >= 0)
        )


def read_accounts(path: Path) -> list[Account]:
    """One for each boot, in their order, from a spool's file, which a camera may be using.

    Raises BadSettings for a file that is no spool, or one of an older version.
    """
    if not path.is_file():
        raise BadSettings(f"there is no spool {path}")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            db.execute("BEGIN")
            rows = db.execute("SELECT boot, heading, reason, frames FROM account").fetchall()
            held = db.execute("SELECT boot, count(*) FROM layer GROUP BY boot").fetchall()
    except sqlite3.DatabaseError as error:
        raise BadSettings(f"{path} has no account of frames: {error}") from error
    boots: dict[str, dict[str, Counter[str]]] = {boot: {} for boot, _ in held}
    for boot, heading, reason, frames in rows:
        boots.setdefault(boot, {}).setdefault(heading, Counter())[reason] += frames
    waiting = dict(held)
    accounts = [_account(boot, of, waiting.get(boot, 0)) for boot, of in boots.items()]
    return sorted(accounts, key=lambda account: account.began)


def total(accounts: Iterable[Account]) -> Account:
    """All of them together; ended if all are."""
    several = list(accounts)

    def together(name: str) -> Mapping[str, int]:
        return sum((Counter(getattr(one, name)) for one in several), Counter())

    def number(name: str) -> int:
        return sum(getattr(one, name) for one in several)

    return Account(
        "", min((one.began for one in several), default=0), number("captured"),
        together("skipped"), together("thinned"), number("bad"), number("spooled"),
        together("lost"), number("unspooled"), number("settled"), number("refused"),
        together("expired"), number("waiting"), all(one.ended for one in several),
    )  # fmt: skip


def _account(boot: str, of: Mapping[str, Counter[str]], waiting: int) -> Account:
    def number(heading: str) -> int:
        return of.get(heading, Counter())[""]

    def reasons(heading: str) -> Mapping[str, int]:
        return dict(of.get(heading, {}))

    return Account(
        boot, number("began"), number("captured"), reasons("skipped"), reasons("thinned"),
        number("bad"), number("spooled"), reasons("lost"), number("unspooled"),
        number("settled"), number("refused"), reasons("expired"), waiting, bool(number("ended")),
    )  # fmt: skip


def _total(reasons: Mapping[str, int]) -> int:
    return sum(reasons.values())
