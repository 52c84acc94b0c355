"""Messages that are to leave this server, on disk until their receiver has taken them.

One queue for each receiver, in order. What is in it survives a kill and a power cut; it is bounded,
and when it is full the oldest go, and are counted: a receiver that was away for a week wants what
happens now.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from cloud.store.database import Database

DDL = """
CREATE TABLE message (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    receiver  TEXT    NOT NULL,
    key       TEXT    NOT NULL,       -- the same for the same message, however often it is put
    body      BLOB    NOT NULL,
    put_at    REAL    NOT NULL,       -- unix seconds
    UNIQUE (receiver, key)
);
CREATE INDEX message_of ON message (receiver, id);
"""
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Message:
    """put_at: unix seconds."""

    id: int
    key: str
    body: bytes
    put_at: float


class Outbox:
    """Queues in one SQLite file. Safe to call from any thread; calls block on the disk.

    Every call raises StoreFull if there is no room; nothing changes then.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._database = Database(path, ddl=DDL, version=SCHEMA)

    def put(self, receiver: str, key: str, body: bytes, *, most: int) -> int:
        """At the end of the queue, unless this key is in it.

        Of more than `most` that wait, the oldest go; returns how many those are.
        """

        def work(db: sqlite3.Connection) -> int:
            db.execute(
                "INSERT INTO message (receiver, key, body, put_at) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (receiver, key) DO NOTHING",
                (receiver, key, body, self._clock()),
            )
            return db.execute(
                "DELETE FROM message WHERE id IN (SELECT id FROM message WHERE receiver = ?"
                " ORDER BY id DESC LIMIT -1 OFFSET ?)",
                (receiver, most),
            ).rowcount

        return self._database.run(work, write=True)

    def first(self, receiver: str) -> Message | None:
        """The oldest that waits for this receiver."""
        sql = "SELECT id, key, body, put_at FROM message WHERE receiver = ? ORDER BY id LIMIT 1"
        row = self._database.run(lambda db: db.execute(sql, (receiver,)).fetchone())
        return None if row is None else Message(*row)

    def done(self, message: Message) -> None:
        """It need not be kept any longer; one that has gone already is no error."""
        sql = "DELETE FROM message WHERE id = ?"
        self._database.run(lambda db: db.execute(sql, (message.id,)), write=True)

    def waiting(self, receiver: str) -> int:
        sql = "SELECT count(*) FROM message WHERE receiver = ?"
        [count] = self._database.run(lambda db: db.execute(sql, (receiver,)).fetchone())
        return int(count)

    def keep_only(self, receivers: Collection[str]) -> int:
        """Forget the queues of all others; how many messages that were."""
        marks = ", ".join("?" * len(receivers))
        sql = f"DELETE FROM message WHERE receiver NOT IN ({marks})"
        values = tuple(receivers)
        return self._database.run(lambda db: db.execute(sql, values).rowcount, write=True)

    def close(self) -> None:
        """Let go of the file. No other call may follow."""
        self._database.close()
