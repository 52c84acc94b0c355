"""One SQLite file that is durable on commit and outlives its own corruption.

WAL with synchronous=FULL: when `run` returns, the work is on disk. A file that SQLite calls corrupt
is renamed to `NAME.corrupt-1`, `-2`, ..., counted in `set_aside`, and the work runs again on a
fresh file: a server that takes new layers is worth more than one that stands still.
edge/spool/sqlite.py has a smaller twin: the two processes share no room where files may be opened.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TypeVar

from common.errors import BadSettings, StoreFull

T = TypeVar("T")

_PAGE_BYTES = 4096
_APPLICATION_ID = 0x676C696D  # 'glim': tells our file from another program's

_DISK_FAILS = frozenset(
    {
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,  # the file system has become so
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_BUSY,  # another process holds it for longer than anybody here waits
    }
)


class Database:
    """A SQLite file with one schema.

    path       created with its folder if missing
    ddl        statements that make the schema; they must pass over one that is already there
    version    of the schema; a file of another version is refused, unless
    upgrades   has statements that lead from that version to the next one, and so on
    max_bytes  bound of the file without its write-ahead log; None: as far as the disk goes
    read_only  change nothing: not what is in it, not its schema, not its name if it is corrupt

    Raises BadSettings if `path` cannot be a file of ours. Safe to use from any thread.
    """

    def __init__(
        self,
        path: Path,
        *,
        ddl: str,
        version: int,
        upgrades: Mapping[int, str] | None = None,
        max_bytes: int | None = None,
        read_only: bool = False,
    ) -> None:
        self.set_aside = 0
        self._path = path
        self._ddl = ddl
        self._version = version
        self._upgrades = upgrades or {}
        self._max_bytes = max_bytes
        self._read_only = read_only
        self._lock = threading.Lock()
        self._db = self._open_or_set_aside()

    def run(self, work: Callable[[sqlite3.Connection], T], *, write: bool = False) -> T:
        """Run `work` in one transaction; what it wrote is on disk when this returns.

        `work` runs a second time, on an empty database, if the file turns out to be corrupt.
        Raises StoreFull when the disk or `max_bytes` is exhausted, or the disk fails; nothing of
        `work` stays then. Raises BadSettings for a corrupt file that is open for reading only.
        """
        with self._lock:
            try:
                with self._transaction(write):
                    return work(self._db)
            except sqlite3.DatabaseError as error:
                if not _is_corrupt(error):
                    raise
                self._check_writable(error)
            self._move_away()
            self._db = self._open()
            with self._transaction(write):
                return work(self._db)

    def used_bytes(self) -> int:
        """Bytes of the file that hold something; those of deleted rows are free for new ones."""
        sql = "SELECT page_count - freelist_count FROM pragma_page_count, pragma_freelist_count"
        [pages] = self.run(lambda db: db.execute(sql).fetchone())
        return int(pages) * _PAGE_BYTES

    def close(self) -> None:
        """Close the file. No other call may follow."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _transaction(self, write: bool) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            yield
            self._db.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            if _code(error) == sqlite3.SQLITE_FULL:
                raise StoreFull(f"no room left in {self._path}") from error
            if _code(error) in _DISK_FAILS:
                raise StoreFull(f"{self._path}: {error}") from error
            raise
        finally:
            if self._db.in_transaction:  # SQLite ends some failed transactions by itself
                self._db.execute("ROLLBACK")

    def _open_or_set_aside(self) -> sqlite3.Connection:
        try:
            return self._open()
        except sqlite3.DatabaseError as error:
            if not _is_corrupt(error):
                raise BadSettings(f"cannot open {self._path} as a database: {error}") from error
            self._check_writable(error)
        self._move_away()
        return self._open()

    def _check_writable(self, error: sqlite3.Error) -> None:
        if self._read_only:
            raise BadSettings(f"{self._path} cannot be read: {error}") from error

    def _open(self) -> sqlite3.Connection:
        if not self._read_only:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        mode = "ro" if self._read_only else "rwc"
        name = f"{self._path.absolute().as_uri()}?mode={mode}"
        db = sqlite3.connect(name, uri=True, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(db)
        except BaseException:  # a KeyboardInterrupt too must leave no file open
            db.close()
            raise
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        [application] = db.execute("PRAGMA application_id").fetchone()
        [version] = db.execute("PRAGMA user_version").fetchone()
        [objects] = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if objects and application != _APPLICATION_ID:
            raise BadSettings(f"{self._path} is another program's database")
        steps = range(version, self._version)
        if objects and (version > self._version or not self._upgrades.keys() >= set(steps)):
            raise BadSettings(f"{self._path} has schema {version}, this is {self._version}")
        if self._read_only:
            if version != self._version:
                hint = "the server brings it up when it starts"
                raise BadSettings(f"{self._path} has schema {version}, not {self._version}: {hint}")
            return
        db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        if self._max_bytes is not None:
            db.execute(f"PRAGMA max_page_count = {max(self._max_bytes // _PAGE_BYTES, 1)}")
        if not objects or version != self._version:
            ddl = " ".join(self._upgrades[step] for step in steps) if objects else self._ddl
            stamp = (
                f"PRAGMA application_id = {_APPLICATION_ID}; PRAGMA user_version = {self._version}"
            )
            db.executescript(f"BEGIN; {ddl} {stamp}; COMMIT")

    def _move_away(self) -> None:
        """Rename the file and its write-ahead log, which belongs to it, to the first free name."""
        if hasattr(self, "_db"):
            self._db.close()
        names = (self._path.with_name(f"{self._path.name}.corrupt-{n}") for n in count(1))
        target = next(name for name in names if not name.exists())
        self._path.rename(target)
        for suffix in ("-wal", "-shm"):
            beside = self._path.with_name(self._path.name + suffix)
            if beside.exists():
                beside.rename(target.with_name(target.name + suffix))
        self.set_aside += 1


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 for an error of the Python module's own."""
    extended: int = getattr(error, "sqlite_errorcode", 0)
    return extended & 0xFF


def _is_corrupt(error: sqlite3.Error) -> bool:
    return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
