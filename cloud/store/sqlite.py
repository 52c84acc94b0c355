"""The frame store in one SQLite file: see cloud/store/__init__.py for the contract."""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import astuple, fields
from itertools import takewhile
from pathlib import Path
from typing import Any

from cloud.store import (
    Auxiliary,
    CameraSummary,
    Found,
    FrameStore,
    Outcome,
    Place,
    StoredFrame,
    by_score,
    is_inter,
    labels,
)
from cloud.store.database import Database
from common.bitstream import MAX_CHAIN
from common.types import Box, FrameId, Layer, Presence

# A layer is some hundred bytes, so it lives in its row; SQLite gives a large one overflow pages.
# `sighting` is one row per frame and label in view: 'frames of this camera with a person, between
# then and then' comes from its key alone. `camera` is kept in step by `put`, so that a summary
# never counts millions of rows.
DDL = """
CREATE TABLE frame (
    id           INTEGER PRIMARY KEY,    -- order of arrival
    camera       TEXT    NOT NULL,
    boot         TEXT    NOT NULL,
    seq          INTEGER NOT NULL,
    captured_at  REAL    NOT NULL,       -- unix seconds
    data         BLOB    NOT NULL,       -- a whole bitstream
    boxes        TEXT,                   -- JSON [[label, score, x1, y1, x2, y2]], of a presence
                                         -- [label, score]; NULL: not yet
    model        TEXT    NOT NULL DEFAULT '',
    stored_at    REAL    NOT NULL DEFAULT 0,  -- unix seconds
    pinned       INTEGER NOT NULL DEFAULT 0,  -- 1: pinned; 2: kept for one that leans on it
    inter        INTEGER NOT NULL DEFAULT 0,  -- 1: leans on the layer before it
    header       BLOB,                   -- of an inter layer that was read, as an intra one has it
    auxiliary_bytes INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX frame_key ON frame (camera, boot, seq);
CREATE INDEX frame_of_camera ON frame (camera, captured_at);
CREATE INDEX frame_in_time ON frame (captured_at);
CREATE INDEX frame_undetected ON frame (id) WHERE boxes IS NULL;
CREATE INDEX frame_by_age ON frame (stored_at) WHERE pinned = 0;

CREATE TABLE sighting (
    label        TEXT    NOT NULL,
    camera       TEXT    NOT NULL,
    captured_at  REAL    NOT NULL,
    id           INTEGER NOT NULL,       -- of the frame
    PRIMARY KEY (label, camera, captured_at, id)
) WITHOUT ROWID;
CREATE INDEX sighting_in_time ON sighting (label, captured_at, id);

CREATE TABLE auxiliary (
    id           INTEGER PRIMARY KEY,    -- of the frame
    quality      INTEGER NOT NULL,       -- 0..255, as it was asked for
    data         BLOB    NOT NULL        -- a whole bitstream
);

CREATE TABLE still (
    id           INTEGER PRIMARY KEY,    -- of the frame
    camera       TEXT    NOT NULL,
    captured_at  REAL    NOT NULL,       -- unix seconds
    data         BLOB    NOT NULL        -- an AVIF file
);
CREATE INDEX still_of_camera ON still (camera, captured_at);

CREATE TABLE camera (
    name         TEXT    PRIMARY KEY,
    frames       INTEGER NOT NULL,
    bytes        INTEGER NOT NULL,       -- of layers, auxiliary ones too, and stills
    last_seen    REAL    NOT NULL        -- unix seconds, newest capture
) WITHOUT ROWID;
"""
SCHEMA = 5
UPGRADES = {  # from that schema to the next one
    # Nobody knows when those frames were stored: they are kept as if it had been now.
    1: """
ALTER TABLE frame ADD COLUMN stored_at REAL NOT NULL DEFAULT 0;
ALTER TABLE frame ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0;
UPDATE frame SET stored_at = unixepoch();
CREATE INDEX frame_by_age ON frame (stored_at) WHERE pinned = 0;
""",
    2: """
ALTER TABLE frame ADD COLUMN inter INTEGER NOT NULL DEFAULT 0;
ALTER TABLE frame ADD COLUMN header BLOB;
""",
    3: """
ALTER TABLE frame ADD COLUMN auxiliary_bytes INTEGER NOT NULL DEFAULT 0;
CREATE TABLE auxiliary (id INTEGER PRIMARY KEY, quality INTEGER NOT NULL, data BLOB NOT NULL);
""",
    4: """
CREATE TABLE still (
    id INTEGER PRIMARY KEY, camera TEXT NOT NULL, captured_at REAL NOT NULL, data BLOB NOT NULL
);
CREATE INDEX still_of_camera ON still (camera, captured_at);
""",
}


class SqliteFrameStore(FrameStore):
    """The contract in one SQLite file; a batch is one commit, and the commit waits for the disk.

    path       the database; WAL and shared memory files lie beside it
    max_bytes  bound of that file; None: as far as the disk goes
    read_only  for a look beside the server that has it: nothing is written, repaired or renamed

    A corrupt file is renamed aside and the store goes on with an empty one: see database.py.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int | None = None,
        read_only: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._database = Database(
            path, ddl=DDL, version=SCHEMA, upgrades=UPGRADES, max_bytes=max_bytes,
            read_only=read_only,
        )  # fmt: skip

    @property
    def set_aside(self) -> int:
        """How many corrupt files this process has renamed aside."""
        return self._database.set_aside

    def write(self, layers: Sequence[Layer], found: Sequence[Found]) -> tuple[Outcome, ...]:
        def work(db: sqlite3.Connection) -> tuple[Outcome, ...]:
            now = self._clock()
            outcomes = tuple(_insert(db, layer, now) for layer in layers)
            for new_boxes in found:
                _set_boxes(db, new_boxes)
            return outcomes

        return self._database.run(work, write=True)

    def held(self, frames: Collection[FrameId]) -> frozenset[FrameId]:
        sql = f"SELECT 1 FROM frame WHERE {_KEY}"
        return self._database.run(
            lambda db: frozenset(f for f in frames if db.execute(sql, astuple(f)).fetchone())
        )

    def get(self, frame: FrameId) -> StoredFrame | None:
        rows = self._all(f"SELECT {_COLUMNS} FROM frame f WHERE {_KEY}", astuple(frame))
        return _stored(rows[0]) if rows else None

    def frames(
        self,
        *,
        camera: str | None = None,
        label: str | None = None,
        since: float | None = None,
        until: float | None = None,
        limit: int = 100,
        before: Place | None = None,
    ) -> tuple[StoredFrame, ...]:
        # `s` is what is searched, `f` what is shown: the same table unless a label is asked for.
        source = "frame" if label is None else "sighting"
        terms: list[tuple[str, Sequence[object]]] = []
        if label is not None:
            terms.append(("s.label = ?", (label,)))
        if camera is not None:
            terms.append(("s.camera = ?", (camera,)))
        if since is not None:
            terms.append(("s.captured_at >= ?", (since,)))
        if until is not None:
            terms.append(("s.captured_at < ?", (until,)))
        if before is not None:
            terms.append(("(s.captured_at, s.id) < (?, ?)", before))
        where = " AND ".join(term for term, _ in terms) or "TRUE"
        values = [value for _, some in terms for value in some]
        sql = (
            f"SELECT {_COLUMNS} FROM {source} s JOIN frame f ON f.id = s.id WHERE {where}"
            " ORDER BY s.captured_at DESC, s.id DESC LIMIT ?"
        )
        return tuple(map(_stored, self._all(sql, (*values, max(limit, 0)))))

    def chain(self, frame: FrameId) -> tuple[bytes, ...]:
        before = self._database.run(lambda db: _before(db, frame, "data"))
        return tuple(data for (data,) in before)

    def undetected(self, limit: int) -> tuple[Layer, ...]:
        sql = f"SELECT {_COLUMNS} FROM frame f WHERE boxes IS NULL ORDER BY id LIMIT ?"
        waiting = map(_stored, self._all(sql, (max(limit, 0),)))
        return tuple(Layer(f.frame, f.captured_at, f.data) for f in waiting)

    def put_auxiliary(self, frame: FrameId, auxiliary: Auxiliary) -> bool:
        return self._database.run(lambda db: _put_auxiliary(db, frame, auxiliary), write=True)

    def auxiliary(self, frame: FrameId) -> Auxiliary | None:
        sql = f"SELECT a.data, a.quality FROM frame JOIN auxiliary a USING (id) WHERE {_KEY}"
        rows = self._all(sql, astuple(frame))
        return Auxiliary(*rows[0]) if rows else None

    def put_still(self, frame: FrameId, still: bytes, *, most: int) -> bool:
        return self._database.run(lambda db: _put_still(db, frame, still, most), write=True)

    def last_still(
        self, camera: str, until: float, *, since: float = -math.inf
    ) -> tuple[StoredFrame, bytes] | None:
        sql = (
            f"SELECT s.data, {_COLUMNS} FROM still s JOIN frame f ON f.id = s.id"
            " WHERE s.camera = ? AND s.captured_at >= ? AND s.captured_at <= ?"
            " ORDER BY s.captured_at DESC, s.id DESC LIMIT 1"
        )
        rows = self._all(sql, (camera, since, until))
        return (_stored(rows[0][1:]), rows[0][0]) if rows else None

    def cameras(self) -> tuple[CameraSummary, ...]:
        rows = self._all("SELECT name, frames, bytes, last_seen FROM camera ORDER BY name", ())
        return tuple(CameraSummary(*row) for row in rows)

    def pin(self, frame: FrameId, pinned: bool = True) -> bool:
        return self._database.run(lambda db: _pin(db, frame, pinned), write=True)

    def used_bytes(self) -> int:
        return self._database.used_bytes()

    def expire(self, limit: int, *, stored_before: float | None = None) -> Mapping[str, int]:
        def work(db: sqlite3.Connection) -> Mapping[str, int]:
            return _delete(db, _expiring(db, limit, stored_before))

        return self._database.run(work, write=True)

    def close(self) -> None:
        self._database.close()

    def _all(self, sql: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        return self._database.run(lambda db: db.execute(sql, values).fetchall())


_COLUMNS = (
    "f.camera, f.boot, f.seq, f.captured_at, f.data, f.boxes, f.model, f.id, f.stored_at,"
    " f.pinned, f.header, f.auxiliary_bytes"
)
_BOOT = "camera = ? AND boot = ?"
_KEY = f"{_BOOT} AND seq = ?"
_PINNED, _KEPT = 1, 2  # what frame.pinned may be, beside 0
_BOX_FIELDS = len(fields(Box))
_STILL_BYTES = "coalesce((SELECT length(data) FROM still WHERE still.id = frame.id), 0)"
_TO_DELETE = f"id, camera, captured_at, length(data) + auxiliary_bytes + {_STILL_BYTES}, boxes"


def _insert(db: sqlite3.Connection, layer: Layer, now: float) -> Outcome:
    frame, size = layer.frame, len(layer.data)
    inserted = db.execute(
        "INSERT INTO frame (camera, boot, seq, captured_at, data, stored_at, inter)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (camera, boot, seq) DO NOTHING",
        (*astuple(frame), layer.captured_at, layer.data, now, is_inter(layer.data)),
    )
    if inserted.rowcount == 0:
        return Outcome.DUPLICATE
    db.execute(
        "INSERT INTO camera VALUES (?, 1, ?, ?) ON CONFLICT (name) DO UPDATE"
        " SET frames = frames + 1, bytes = bytes + excluded.bytes,"
        " last_seen = max(last_seen, excluded.last_seen)",
        (frame.camera, size, layer.captured_at),
    )
    return Outcome.STORED


def _set_boxes(db: sqlite3.Connection, found: Found) -> None:
    sql = f"SELECT id, captured_at, boxes FROM frame WHERE {_KEY}"
    row = db.execute(sql, astuple(found.frame)).fetchone()
    if row is None:
        return
    id_, captured_at, before = row
    place = (found.frame.camera, captured_at, id_)
    _delete_sightings(db, before, place)
    db.executemany(
        "INSERT INTO sighting (label, camera, captured_at, id) VALUES (?, ?, ?, ?)",
        [(label, *place) for label in labels(found.boxes, found.presences)],
    )
    seen: list[Box | Presence] = [*by_score(found.boxes), *by_score(found.presences)]
    boxes = json.dumps([astuple(one) for one in seen], separators=(",", ":"))
    db.execute(
        "UPDATE frame SET boxes = ?, model = ?, header = CASE inter WHEN 1 THEN ? END WHERE id = ?",
        (boxes, found.model, found.header_bytes, id_),
    )


def _put_auxiliary(db: sqlite3.Connection, frame: FrameId, auxiliary: Auxiliary) -> bool:
    sql = f"SELECT id, auxiliary_bytes FROM frame WHERE {_KEY}"
    row = db.execute(sql, astuple(frame)).fetchone()
    if row is None:
        return False
    id_, before = row
    size = len(auxiliary.data)
    db.execute(
        "INSERT OR REPLACE INTO auxiliary VALUES (?, ?, ?)",
        (id_, auxiliary.quality, auxiliary.data),
    )
    db.execute("UPDATE frame SET auxiliary_bytes = ? WHERE id = ?", (size, id_))
    db.execute("UPDATE camera SET bytes = bytes + ? WHERE name = ?", (size - before, frame.camera))
    return True


def _put_still(db: sqlite3.Connection, frame: FrameId, still: bytes, most: int) -> bool:
    sql = f"SELECT id, captured_at, {_STILL_BYTES} FROM frame WHERE {_KEY}"
    row = db.execute(sql, astuple(frame)).fetchone()
    if row is None:
        return False
    id_, captured_at, before = row
    db.execute(
        "INSERT OR REPLACE INTO still VALUES (?, ?, ?, ?)", (id_, frame.camera, captured_at, still)
    )
    old = db.execute(
        "SELECT id, length(data) FROM still WHERE camera = ?"
        " ORDER BY captured_at DESC, id DESC LIMIT -1 OFFSET ?",
        (frame.camera, most),
    ).fetchall()
    db.executemany("DELETE FROM still WHERE id = ?", [(id_,) for id_, _ in old])
    grown = len(still) - before - sum(size for _, size in old)
    db.execute("UPDATE camera SET bytes = bytes + ? WHERE name = ?", (grown, frame.camera))
    return True


def _delete_sightings(
    db: sqlite3.Connection, boxes: str | None, place: tuple[str, float, int]
) -> None:
    db.executemany(
        "DELETE FROM sighting WHERE label = ? AND camera = ? AND captured_at = ? AND id = ?",
        [(label, *place) for label in {row[0] for row in json.loads(boxes or "[]")}],
    )


def _before(db: sqlite3.Connection, frame: FrameId, columns: str) -> list[list[Any]]:
    """Rows of what this frame leans on, as FrameStore.chain has it."""
    sql = (
        f"SELECT inter, seq, {columns} FROM frame WHERE {_BOOT} AND seq <= ?"
        " ORDER BY seq DESC LIMIT ?"
    )
    rows: list[list[Any]] = []
    for inter, seq, *row in db.execute(sql, (*astuple(frame), MAX_CHAIN)):
        if seq < frame.seq:
            rows.append(row)
        if not inter:
            return rows[::-1] if len(rows) < MAX_CHAIN else []
    return []


def _after(db: sqlite3.Connection, frame: Sequence[Any], columns: str) -> list[list[Any]]:
    """Rows of the frames that lean on this one; frame: (camera, boot, seq)."""
    sql = f"SELECT inter, {columns} FROM frame WHERE {_BOOT} AND seq > ? ORDER BY seq LIMIT ?"
    rows = db.execute(sql, (*frame, MAX_CHAIN - 1))
    return [row for _, *row in takewhile(lambda row: row[0], rows)]


def _pin(db: sqlite3.Connection, frame: FrameId, pinned: bool) -> bool:
    """Pin or unpin, and keep what the last pinned frame of the chain leans on, no more."""
    own = db.execute(f"SELECT id FROM frame WHERE {_KEY}", astuple(frame)).fetchone()
    if own is None:
        return False
    before, after = _before(db, frame, "id, pinned"), _after(db, astuple(frame), "id, pinned")
    chain = [*before, [*own, _PINNED if pinned else 0], *after]
    needed = max((i for i, (_, was) in enumerate(chain) if was == _PINNED), default=0)
    for i, (id_, was) in enumerate(chain):
        state = _PINNED if was == _PINNED else _KEPT if i < needed else 0
        db.execute("UPDATE frame SET pinned = ? WHERE id = ?", (state, id_))
    return True


def _expiring(
    db: sqlite3.Connection, limit: int, stored_before: float | None
) -> Iterable[Sequence[Any]]:
    """Rows of what is to go: the oldest, each with what leans on it."""
    bound = "" if stored_before is None else "AND stored_at < ?"
    values = [max(limit, 0)] if stored_before is None else [stored_before, max(limit, 0)]
    sql = (
        f"SELECT camera, boot, seq, {_TO_DELETE} FROM frame"
        f" WHERE pinned = 0 {bound} ORDER BY stored_at, id LIMIT ?"
    )
    gone: dict[int, Sequence[Any]] = {}
    for camera, boot, seq, *row in db.execute(sql, values).fetchall():
        if len(gone) >= limit:
            break
        if row[0] in gone:
            continue
        gone[row[0]] = row
        for pinned, *later in _after(db, (camera, boot, seq), f"pinned, {_TO_DELETE}"):
            if not pinned:
                gone[later[0]] = later
    return gone.values()


def _delete(db: sqlite3.Connection, rows: Iterable[Sequence[Any]]) -> Mapping[str, int]:
    """Rows of _TO_DELETE; returns how many of each camera."""
    frames: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for id_, camera, captured_at, size, boxes in rows:
        _delete_sightings(db, boxes, (camera, captured_at, id_))
        db.execute("DELETE FROM frame WHERE id = ?", (id_,))
        db.execute("DELETE FROM auxiliary WHERE id = ?", (id_,))
        db.execute("DELETE FROM still WHERE id = ?", (id_,))
        frames[camera] += 1
        sizes[camera] += size
    db.executemany(
        "UPDATE camera SET frames = frames - ?, bytes = bytes - ? WHERE name = ?",
        [(frames[camera], sizes[camera], camera) for camera in frames],
    )
    return frames


def _stored(row: tuple[Any, ...]) -> StoredFrame:
    camera, boot, seq, captured_at, data, boxes, model, arrival, stored_at, *rest = row
    pinned, header, auxiliary_bytes = rest
    seen = json.loads(boxes or "[]")
    found = tuple(Box(*row) for row in seen if len(row) == _BOX_FIELDS)
    presences = tuple(Presence(*row) for row in seen if len(row) != _BOX_FIELDS)
    return StoredFrame(
        FrameId(camera, boot, seq), captured_at, data, None if boxes is None else found, model,
        arrival, stored_at, pinned == _PINNED, header or b"", presences, auxiliary_bytes,
    )  # fmt: skip
