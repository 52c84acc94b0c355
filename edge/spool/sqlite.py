"""The spool in one SQLite file: see edge/spool for the contract.

WAL with synchronous=FULL: when `append` returns, the layers are on disk. A camera must never need
someone to come by, so what is wrong with the disk or the file is no reason to end:

    corrupt               renamed to `NAME.corrupt-1`, ..., counted in `set_aside`; goes on empty
    removed, replaced     a new one is begun, or the other one taken; looked for before each call
    full, failing, gone   StoreFull from each call until it works; also at the start
"""

from __future__ import annotations

import errno
import math
import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from itertools import count
from pathlib import Path
from typing import TypeVar

from common.errors import BadSettings, DiskFailed, StoreFull
from common.types import FrameId, Layer
from edge.spool import (
    Expired,
    ExpiryReason,
    Found,
    SpoolStatus,
    check_camera,
    fitting,
    leans,
    reason,
)
from edge.spool.account import DDL as ACCOUNT
from edge.spool.account import Fact, Rows, add, fold, put
from edge.spool.age import Ages

T = TypeVar("T")

DDL = f"""
CREATE TABLE layer (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,  -- the cursor: rises for good, across boots
    camera       TEXT    NOT NULL,
    boot         TEXT    NOT NULL,
    seq          INTEGER NOT NULL,
    captured_at  REAL    NOT NULL,       -- unix seconds
    data         BLOB    NOT NULL,       -- a whole bitstream
    UNIQUE (boot, seq)
);
{ACCOUNT}
"""
SCHEMA = 2
UPGRADES = {  # from that schema to this one
    0: DDL,
    1: ACCOUNT + "INSERT INTO account SELECT boot, 'spooled', '', count(*) FROM layer GROUP BY 1;",
}

_BUSY_S = 5.0  # for another process that holds the file
_MOST_AGED = 256  # that expire by age in one commit: an append must not wait for a whole month
_FAILS = frozenset(
    {
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,  # the file system has become so
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_BUSY,
    }
)
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_PASSING = _NO_ROOM | {errno.EROFS, errno.EIO}  # why a file cannot be opened, and will be one day


def spool_file(folder: Path, camera: str) -> Path:
    """Where a camera's spool lies in the folder that the settings name."""
    return folder / f"{camera}.sqlite"


@dataclass(frozen=True, slots=True)
class _Held:
    """What the file holds, carried along so that no append has to sum the whole spool up."""

    frames: int
    bytes: int

    def plus(self, frames: int, size: int) -> _Held:
        return _Held(self.frames + frames, self.bytes + size)


class SqliteSpool:
    """The contract on disk. Beside the layers lies the account of every boot (account.py).

    path       the database, one for each camera; its folder is made if missing
    camera     whose layers these are; a file that holds another camera's is refused (BadSettings)
    max_bytes  bound of the layers' bytes; the file adds about 80 bytes a layer and its log
    max_age    seconds for which a layer may wait, by `clock`
    clock      seconds, monotonic
    wall       unix seconds: how old is what earlier processes left
    """

    def __init__(
        self,
        path: Path,
        camera: str,
        *,
        max_bytes: int,
        max_age: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.set_aside = 0
        self._top = 0  # the highest cursor ever given to a layer
        self._held = _Held(0, 0)
        self._oldest: float | None = None
        self._found = Found()
        self._facts: Counter[Fact] = Counter()  # all that this process did to the file
        self._new: Counter[Fact] = Counter()  # of them in this transaction
        self._boot = ""  # of this process, once its account is kept
        self._rows: Callable[[], Rows] = dict
        self._path = path
        self._camera = camera
        self._max_bytes = max_bytes
        self._ages = Ages(max_age, clock, wall)
        self._is_set_aside = False  # the file that is opened next takes the place of a corrupt one
        self._file: tuple[int, int] | None = None  # device and inode of the open one
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        try:
            self._run(lambda _: None)
        except StoreFull as error:
            if _why_not(path) not in _PASSING | {0}:
                raise BadSettings(f"cannot open {path} as a spool: {error}") from error
        except sqlite3.DatabaseError as error:
            raise BadSettings(f"cannot open {path} as a spool: {error}") from error
        self._found = Found()

    def append(self, layers: Sequence[Layer]) -> tuple[Expired, ...]:
        check_camera(layers, self._camera)
        kept, expired = fitting(layers, self._max_bytes)
        return (*expired, *self._change(lambda db: self._insert(db, kept)))

    def peek(self, cursor: int, limit: int) -> tuple[tuple[Layer, ...], int]:
        sql = (
            "SELECT camera, boot, seq, captured_at, data, id FROM layer"
            " WHERE id > ? ORDER BY id LIMIT ?"
        )
        rows = self._run(lambda db: db.execute(sql, (cursor, limit)).fetchall())
        layers = tuple(Layer(FrameId(*row[:3]), row[3], row[4]) for row in rows)
        return layers, rows[-1][5] if rows else cursor

    def drop(self, frames: Collection[FrameId]) -> int:
        return self._change(lambda db: self._delete(db, frames))

    def status(self) -> SpoolStatus:
        sql = "SELECT captured_at FROM layer ORDER BY id LIMIT 1"
        with suppress(StoreFull):  # as it was when it could last be read
            oldest = self._run(lambda db: db.execute(sql).fetchone())
            self._oldest = oldest[0] if oldest else None
        held = self._held
        oldest_now = self._oldest if held.frames else None
        return SpoolStatus(held.frames, held.bytes, oldest_now, self._max_bytes)

    def take_found(self) -> Found:
        with self._lock:
            found, self._found = self._found, Found()
            return found

    def keep_account(self, boot: str, rows: Callable[[], Rows]) -> None:
        self._boot, self._rows = boot, rows

        def begin(db: sqlite3.Connection) -> tuple[None, _Held]:
            fold(db)
            return None, self._held

        with suppress(StoreFull):  # or with the first layer
            self._change(begin)

    def close(self) -> None:
        """The last word of the account is put down if the disk takes it."""
        with suppress(StoreFull):
            self._change(lambda _: (None, self._held))
        with self._lock:
            if self._db is not None:
                self._db.close()

    # -- changes, each with what it means for the account

    def _change(self, work: Callable[[sqlite3.Connection], tuple[T, _Held]]) -> T:
        def whole(db: sqlite3.Connection) -> tuple[T, _Held]:
            self._new = Counter()
            result = work(db)
            add(db, self._new)
            put(db, self._boot, self._rows())
            return result

        with self._lock:
            result, self._held = self._guarded(whole)
            self._facts.update(self._new)
            return result

    def _insert(
        self, db: sqlite3.Connection, layers: Sequence[Layer]
    ) -> tuple[list[Expired], _Held]:
        """Insert, then expire the oldest until the rest fits and is young enough."""
        held = self._held
        for layer in layers:
            inserted = db.execute(
                "INSERT INTO layer (camera, boot, seq, captured_at, data) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (boot, seq) DO NOTHING",
                (*astuple(layer.frame), layer.captured_at, layer.data),
            )
            held = held.plus(inserted.rowcount, inserted.rowcount * len(layer.data))
            self._new[layer.frame.boot, "spooled", ""] += inserted.rowcount
            self._top = max(self._top, inserted.lastrowid or 0)
        self._ages.added(self._top)
        expired: list[Expired] = []
        why = None
        sql = "SELECT id, boot, seq, captured_at, data FROM layer ORDER BY id LIMIT 1"
        while held.frames:
            id_, boot, seq, captured_at, data = db.execute(sql).fetchone()
            over = held.bytes - self._max_bytes
            why = reason(why, over, self._ages, (id_, captured_at), data)
            is_enough = len(expired) >= _MOST_AGED and over <= 0 and not leans(data)
            if why is None or is_enough:
                break
            db.execute("DELETE FROM layer WHERE id = ?", (id_,))
            held = held.plus(-1, -len(data))
            self._new[boot, "expired", why.value] += 1
            expired.append(Expired(FrameId(self._camera, boot, seq), why))
        return expired, held

    def _delete(self, db: sqlite3.Connection, frames: Collection[FrameId]) -> tuple[int, _Held]:
        held = self._held
        for frame in frames:
            found = db.execute(
                "SELECT id, length(data) FROM layer WHERE camera = ? AND boot = ? AND seq = ?",
                astuple(frame),
            ).fetchone()
            if found is not None:
                db.execute("DELETE FROM layer WHERE id = ?", found[:1])
                held = held.plus(-1, -found[1])
                self._new[frame.boot, "settled", ""] += 1
        return self._held.frames - held.frames, held

    # -- the file

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            return self._guarded(work)

    def _guarded(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in a transaction; once more, on an empty spool, if the file is corrupt."""
        try:
            try:
                return self._once(work)
            except sqlite3.DatabaseError as error:
                if not _is_corrupt(error):
                    raise
            self._move_away()
            return self._once(work)
        except sqlite3.DatabaseError as error:
            if _code(error) == sqlite3.SQLITE_FULL:
                raise StoreFull(f"no room left for {self._path}") from error
            if _code(error) not in _FAILS:
                raise
            if _code(error) != sqlite3.SQLITE_BUSY:
                self._renew()
            if _code(error) == sqlite3.SQLITE_CANTOPEN and _why_not(self._path) in _NO_ROOM:
                raise StoreFull(f"no room left for {self._path}") from error
            raise DiskFailed(f"{self._path}: {error}") from error
        except OSError as error:
            kind = StoreFull if error.errno in _NO_ROOM else DiskFailed
            raise kind(f"{self._path}: {error.strerror}") from error

    def _once(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._db is not None and _identity(self._path) != self._file:
            self._db.close()  # before there is another: it must not take that one's log along
            self._db = None
        if self._db is None:
            self._db = self._open()
        try:
            self._db.execute("BEGIN")
            result = work(self._db)
            self._db.execute("COMMIT")
            return result
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def _renew(self) -> None:
        """Open the file anew beside the one that failed, which may be of a disk that has gone."""
        with suppress(sqlite3.DatabaseError, OSError, BadSettings):
            fresh = self._open()
            if self._db is not None:
                self._db.close()
            self._db = fresh

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(
            self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare(db)
        except BaseException:  # a KeyboardInterrupt too must leave no file open
            db.close()
            raise
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        [version] = db.execute("PRAGMA user_version").fetchone()
        if version in UPGRADES:
            steps = UPGRADES[version]
            db.executescript(f"BEGIN; {steps} PRAGMA user_version = {SCHEMA}; COMMIT")
        elif version != SCHEMA:
            raise BadSettings(f"{self._path} has schema {version}, this is {SCHEMA}")
        sql = "SELECT camera FROM layer WHERE camera != ? LIMIT 1"
        if stranger := db.execute(sql, (self._camera,)).fetchone():
            raise BadSettings(f"{self._path} holds layers of camera {stranger[0]}")
        held = _Held(*db.execute(f"SELECT {_HELD} FROM layer").fetchone())
        self._go_on(db, held)

    def _go_on(self, db: sqlite3.Connection, held: _Held) -> None:
        """The file may be another one than before: cursors count on, and so does the account.

        Where nothing is to be changed nothing is: a full disk can still be read from.
        """
        [top] = db.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence").fetchone()
        lost = self._lost(db)
        aside, removed = (lost, 0) if self._is_set_aside else (0, lost)
        facts = self._facts.copy()
        facts[self._boot, "expired", ExpiryReason.SPOOL_SET_ASIDE.value] += aside
        facts[self._boot, "expired", ExpiryReason.SPOOL_REMOVED.value] += removed
        db.execute("BEGIN")
        if top < self._top:  # or readers would wait beyond its first layers
            db.execute("DELETE FROM sqlite_sequence WHERE name = 'layer'")
            db.execute("INSERT INTO sqlite_sequence VALUES ('layer', ?)", (self._top,))
        if top < self._top or lost:
            put(db, self._boot, _own(facts, self._boot))
        db.execute("COMMIT")
        self._top = max(self._top, top)
        self._ages.found(top)
        self._facts, self._is_set_aside, self._file = facts, False, _identity(self._path)
        earlier = held.frames - self._held.frames + lost
        was = self._found
        self._found = Found(was.set_aside + aside, was.removed + removed, was.earlier + earlier)
        self._held = held

    def _lost(self, db: sqlite3.Connection) -> int:
        """Layers of this boot that were in the file, and are not in this one."""
        facts = _own(self._facts, self._boot)
        spooled = facts.pop(("spooled", ""), 0)
        sql = "SELECT count(*) FROM layer WHERE boot = ?"
        [still] = db.execute(sql, (self._boot,)).fetchone()
        return int(spooled - sum(facts.values()) - still)

    def _move_away(self) -> None:
        """Rename the file and its write-ahead log, which belongs to it, to the first free name."""
        if self._db is not None:
            self._db.close()
            self._db = None
        names = (self._path.with_name(f"{self._path.name}.corrupt-{n}") for n in count(1))
        target = next(name for name in names if not name.exists())
        self._path.rename(target)
        self._is_set_aside = True
        for suffix in ("-wal", "-shm"):
            beside = self._path.with_name(self._path.name + suffix)
            if beside.exists():
                beside.rename(target.with_name(target.name + suffix))
        self.set_aside += 1


_HELD = "count(*), coalesce(sum(length(data)), 0)"


def _own(facts: Mapping[Fact, int], boot: str) -> Rows:
    return {fact[1:]: frames for fact, frames in facts.items() if fact[0] == boot and frames}


def _identity(path: Path) -> tuple[int, int] | None:
    """Of the file at this path, if there is one."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _why_not(path: Path) -> int:
    """The errno of opening the file for writing; 0: it can be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC))
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 for an error of the Python module's own."""
    extended: int = getattr(error, "sqlite_errorcode", 0)
    return extended & 0xFF


def _is_corrupt(error: sqlite3.Error) -> bool:
    return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
