"""The queue on disk between the encoder and the uplink: what is in it survives a power cut.

A layer is spooled before it is sent and leaves when the cloud has acked it, so a kill at any moment
loses no layer that `append` returned for. Layers come out in the order they went in; those of an
earlier boot (before a crash or a restart) therefore come first. The spool is bounded by the bytes
of its layers: when it is full the oldest expire, because new boxes are worth more than old ones.
What expires takes along the layers behind it that lean on it, up to the next intra layer.

One contract, two bodies: `MemorySpool` for tests and for cameras without a disk, `SqliteSpool`.
"""

from __future__ import annotations

import enum
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from itertools import count
from pathlib import Path
from typing import Protocol, TypeVar

from common.bitstream import is_inter
from common.errors import BadSettings, CorruptStream, StoreFull
from common.types import FrameId, Layer

T = TypeVar("T")


class ExpiryReason(enum.Enum):
    """Why a layer left the spool unacked."""

    SPOOL_FULL = "spool_full"
    LARGER_THAN_SPOOL = "larger_than_spool"


@dataclass(frozen=True, slots=True)
class Expired:
    """A layer that left the spool unacked: the ledger counts it under its reason."""

    frame: FrameId
    reason: ExpiryReason


@dataclass(frozen=True, slots=True)
class SpoolStatus:
    """What waits: layers, bytes of layers, and the oldest one's capture time (unix s) if any."""

    frames: int
    bytes: int
    oldest: float | None


class Spool(Protocol):
    """What every body of the spool does. Safe to call from any thread; calls block on the disk."""

    def append(self, layers: Sequence[Layer]) -> tuple[Expired, ...]:
        """Keep `layers`, all or none, and say which layers expired to make room for them.

        A layer that is already spooled is let pass. Raises StoreFull if the disk is full, and
        BadSettings for a layer of another camera; nothing changes then.
        """
        ...

    def peek(self, cursor: int, limit: int) -> tuple[tuple[Layer, ...], int]:
        """At most `limit` layers that follow `cursor`, oldest first, and the last one's cursor.

        Cursors are above 0 and rise in the order of appending, for good: 0 reads from the start,
        and a layer appended later follows every cursor given out before. `cursor` comes back as it
        is if nothing follows it.
        """
        ...

    def drop(self, frames: Collection[FrameId]) -> int:
        """Let go of these frames; how many of them were there."""
        ...

    def status(self) -> SpoolStatus:
        """How much waits now."""
        ...

    def close(self) -> None:
        """Let go of files. No other call may follow."""
        ...


class MemorySpool:
    """The contract in a dictionary: gone with the process."""

    def __init__(self, camera: str, *, max_bytes: int) -> None:
        self._camera = camera
        self._max_bytes = max_bytes
        self._layers: dict[FrameId, tuple[int, Layer]] = {}  # with its cursor
        self._cursors = count(1)
        self._bytes = 0
        self._lock = threading.Lock()

    def append(self, layers: Sequence[Layer]) -> tuple[Expired, ...]:
        _check_camera(layers, self._camera)
        kept, expired = _fitting(layers, self._max_bytes)
        with self._lock:
            for layer in kept:
                if layer.frame not in self._layers:
                    self._layers[layer.frame] = next(self._cursors), layer
                    self._bytes += len(layer.data)
            full = False
            while self._layers:
                frame, (_, head) = next(iter(self._layers.items()))
                if self._bytes <= self._max_bytes and not (full and _leans(head.data)):
                    break
                full = True
                self._remove(frame)
                expired.append(Expired(frame, ExpiryReason.SPOOL_FULL))
        return tuple(expired)

    def peek(self, cursor: int, limit: int) -> tuple[tuple[Layer, ...], int]:
        with self._lock:
            found = [item for item in self._layers.values() if item[0] > cursor][:limit]
        return tuple(layer for _, layer in found), found[-1][0] if found else cursor

    def drop(self, frames: Collection[FrameId]) -> int:
        with self._lock:
            gone = self._layers.keys() & set(frames)
            for frame in gone:
                self._remove(frame)
        return len(gone)

    def status(self) -> SpoolStatus:
        with self._lock:
            oldest = next((layer.captured_at for _, layer in self._layers.values()), None)
            return SpoolStatus(len(self._layers), self._bytes, oldest)

    def close(self) -> None:
        pass

    def _remove(self, frame: FrameId) -> None:
        _, layer = self._layers.pop(frame)
        self._bytes -= len(layer.data)


def _leans(data: bytes) -> bool:
    try:
        return is_inter(data)
    except CorruptStream:  # the spool keeps whatever it was given
        return False


def _check_camera(layers: Sequence[Layer], camera: str) -> None:
    for layer in layers:
        if layer.frame.camera != camera:
            raise BadSettings(f"the spool of {camera} was given a layer of {layer.frame.camera}")


def _fitting(layers: Sequence[Layer], max_bytes: int) -> tuple[list[Layer], list[Expired]]:
    """`layers` without those that no amount of expiring could make room for."""
    kept = [layer for layer in layers if len(layer.data) <= max_bytes]
    too_large = [layer.frame for layer in layers if len(layer.data) > max_bytes]
    return kept, [Expired(frame, ExpiryReason.LARGER_THAN_SPOOL) for frame in too_large]


DDL = """
CREATE TABLE layer (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,  -- the cursor: rises for good, across boots
    camera       TEXT    NOT NULL,
    boot         TEXT    NOT NULL,
    seq          INTEGER NOT NULL,
    captured_at  REAL    NOT NULL,       -- unix seconds
    data         BLOB    NOT NULL,       -- a whole bitstream
    UNIQUE (boot, seq)
);
"""
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class _Held:
    """What the file holds, carried along so that no append has to sum the whole spool up."""

    frames: int
    bytes: int

    def plus(self, frames: int, size: int) -> _Held:
        return _Held(self.frames + frames, self.bytes + size)


class SqliteSpool:
    """The contract in one SQLite file: WAL with synchronous=FULL, so `append` waits for the disk.

    path       the database, one for each camera; its folder is made if missing
    camera     whose layers these are; a file that holds another camera's is refused (BadSettings)
    max_bytes  bound of the layers' bytes; the file adds about 80 bytes a layer and its log

    A file that SQLite calls corrupt is renamed to `NAME.corrupt-1`, ..., counted in `set_aside`,
    and the spool goes on empty: a camera must never need someone to come by.
    """

    def __init__(self, path: Path, camera: str, *, max_bytes: int) -> None:
        self.set_aside = 0
        self._top = 0  # the highest cursor ever given to a layer
        self._path = path
        self._camera = camera
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        try:
            self._db = self._open()
        except sqlite3.DatabaseError as error:
            if not _is_corrupt(error):
                raise BadSettings(f"cannot open {path} as a spool: {error}") from error
            self._move_away()
            self._db = self._open()

    def append(self, layers: Sequence[Layer]) -> tuple[Expired, ...]:
        _check_camera(layers, self._camera)
        kept, expired = _fitting(layers, self._max_bytes)
        held, evicted = self._run(lambda: self._insert(kept))
        self._held = held
        return (*expired, *(Expired(frame, ExpiryReason.SPOOL_FULL) for frame in evicted))

    def peek(self, cursor: int, limit: int) -> tuple[tuple[Layer, ...], int]:
        sql = (
            "SELECT camera, boot, seq, captured_at, data, id FROM layer"
            " WHERE id > ? ORDER BY id LIMIT ?"
        )
        rows = self._run(lambda: self._db.execute(sql, (cursor, limit)).fetchall())
        layers = tuple(Layer(FrameId(*row[:3]), row[3], row[4]) for row in rows)
        return layers, rows[-1][5] if rows else cursor

    def drop(self, frames: Collection[FrameId]) -> int:
        before = self._held
        self._held = self._run(lambda: self._delete(frames))
        return before.frames - self._held.frames

    def status(self) -> SpoolStatus:
        sql = "SELECT captured_at FROM layer ORDER BY id LIMIT 1"
        oldest = self._run(lambda: self._db.execute(sql).fetchone())
        return SpoolStatus(self._held.frames, self._held.bytes, oldest[0] if oldest else None)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _insert(self, layers: Sequence[Layer]) -> tuple[_Held, list[FrameId]]:
        """Insert, then expire the oldest until the rest fits."""
        held = self._held
        for layer in layers:
            inserted = self._db.execute(
                "INSERT INTO layer (camera, boot, seq, captured_at, data) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (boot, seq) DO NOTHING",
                (*astuple(layer.frame), layer.captured_at, layer.data),
            )
            held = held.plus(inserted.rowcount, inserted.rowcount * len(layer.data))
            self._top = max(self._top, inserted.lastrowid or 0)
        evicted: list[FrameId] = []
        sql = "SELECT id, boot, seq, data FROM layer ORDER BY id LIMIT 1"
        while held.frames:
            id_, boot, seq, data = self._db.execute(sql).fetchone()
            if held.bytes <= self._max_bytes and not (evicted and _leans(data)):
                break
            size = len(data)
            self._db.execute("DELETE FROM layer WHERE id = ?", (id_,))
            held = held.plus(-1, -size)
            evicted.append(FrameId(self._camera, boot, seq))
        return held, evicted

    def _delete(self, frames: Collection[FrameId]) -> _Held:
        held = self._held
        for frame in frames:
            found = self._db.execute(
                "SELECT id, length(data) FROM layer WHERE camera = ? AND boot = ? AND seq = ?",
                astuple(frame),
            ).fetchone()
            if found is not None:
                self._db.execute("DELETE FROM layer WHERE id = ?", found[:1])
                held = held.plus(-1, -found[1])
        return held

    def _run(self, work: Callable[[], T]) -> T:
        """Run `work` in a transaction; once more, on an empty spool, if the file is corrupt."""
        with self._lock:
            try:
                with self._transaction():
                    return work()
            except sqlite3.DatabaseError as error:
                if not _is_corrupt(error):
                    raise
            self._db.close()
            self._move_away()
            self._db = self._open()
            with self._transaction():
                # The fresh file counts on, or readers would wait beyond its first layers.
                self._db.execute("INSERT INTO sqlite_sequence VALUES ('layer', ?)", (self._top,))
                return work()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN")
            yield
            self._db.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            if _code(error) == sqlite3.SQLITE_FULL:
                raise StoreFull(f"no room left for {self._path}") from error
            raise
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
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
        if version == 0:
            db.executescript(f"BEGIN; {DDL} PRAGMA user_version = {SCHEMA}; COMMIT")
        elif version != SCHEMA:
            raise BadSettings(f"{self._path} has schema {version}, this is {SCHEMA}")
        sql = "SELECT camera FROM layer WHERE camera != ? LIMIT 1"
        if stranger := db.execute(sql, (self._camera,)).fetchone():
            raise BadSettings(f"{self._path} holds layers of camera {stranger[0]}")
        self._held = _Held(*db.execute(f"SELECT {_HELD} FROM layer").fetchone())
        [top] = db.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence").fetchone()
        self._top = max(self._top, top)

    def _move_away(self) -> None:
        """Rename the file and its write-ahead log, which belongs to it, to the first free name."""
        names = (self._path.with_name(f"{self._path.name}.corrupt-{n}") for n in count(1))
        target = next(name for name in names if not name.exists())
        self._path.rename(target)
        for suffix in ("-wal", "-shm"):
            beside = self._path.with_name(self._path.name + suffix)
            if beside.exists():
                beside.rename(target.with_name(target.name + suffix))
        self.set_aside += 1


_HELD = "count(*), coalesce(sum(length(data)), 0)"


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 for an error of the Python module's own."""
    extended: int = getattr(error, "sqlite_errorcode", 0)
    return extended & 0xFF


def _is_corrupt(error: sqlite3.Error) -> bool:
    return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
