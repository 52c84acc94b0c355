"""A SQLite file: a failing disk says so as a full one does; a reader changes nothing."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from cloud.store.database import Database
from cloud.store.sqlite import SqliteFrameStore
from common.errors import BadSettings, StoreFull
from common.types import FrameId, Layer

DDL = "CREATE TABLE thing (data BLOB NOT NULL);"
UPGRADES = {1: "ALTER TABLE thing ADD COLUMN more TEXT;"}


def put(database: Database, size: int) -> None:
    database.run(
        lambda db: db.execute("INSERT INTO thing VALUES (zeroblob(?))", (size,)), write=True
    )


def count(database: Database) -> int:
    [things] = database.run(lambda db: db.execute("SELECT count(*) FROM thing").fetchone())
    return int(things)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A write beyond that fails, for this whole process; SQLite calls it an I/O error."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fails_is_said_to_be_full_and_what_was_there_stays(tmp_path: Path) -> None:
    with closing(Database(tmp_path / "a.db", ddl=DDL, version=1)) as database:
        put(database, 10)
        with files_of_at_most(200_000), pytest.raises(StoreFull, match=r"a\.db: disk I/O error"):
            put(database, 400_000)
        assert count(database) == 1
        put(database, 400_000)
        assert count(database) == 2


def test_so_is_a_file_that_another_process_keeps(tmp_path: Path) -> None:
    with closing(Database(tmp_path / "a.db", ddl=DDL, version=1)) as database:
        database.run(lambda db: db.execute("PRAGMA busy_timeout = 1").fetchone())
        with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreFull, match="locked"):
                put(database, 1)
        put(database, 1)


class TestReadOnly:
    @staticmethod
    def reader(path: Path, version: int = 1) -> Database:
        return Database(path, ddl=DDL, version=version, upgrades=UPGRADES, read_only=True)

    def test_it_sees_what_is_committed_and_changes_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "what? #1 100%.db"
        with closing(Database(path, ddl=DDL, version=1)) as writer:
            put(writer, 10)
            with closing(self.reader(path)) as reader:
                assert count(reader) == 1
                put(writer, 10)
                assert count(reader) == 2
                with pytest.raises(StoreFull, match="readonly"):
                    put(reader, 10)
            assert count(writer) == 2
        with closing(self.reader(path)) as reader:  # nobody else has it open
            assert count(reader) == 2

    def test_it_makes_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(BadSettings, match="cannot open"):
            self.reader(tmp_path / "new" / "a.db")
        assert not (tmp_path / "new").exists()

    def test_it_upgrades_nothing(self, tmp_path: Path) -> None:
        Database(tmp_path / "a.db", ddl=DDL, version=1).close()
        with pytest.raises(BadSettings, match="schema 1, not 2"):
            self.reader(tmp_path / "a.db", version=2)
        self.reader(tmp_path / "a.db").close()

    def test_it_renames_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "a.db"
        path.write_bytes(b"not a database at all" * 400)
        with pytest.raises(BadSettings, match="cannot be read"):
            self.reader(path)
        path.unlink()
        with closing(Database(path, ddl=DDL, version=1)) as database:
            put(database, 100_000)
        rotten = bytearray(path.read_bytes())
        rotten[4096:] = b"\xff" * (len(rotten) - 4096)
        path.write_bytes(rotten)
        with (
            closing(self.reader(path)) as reader,
            pytest.raises(BadSettings, match="cannot be read"),
        ):
            count(reader)
        assert [file.name for file in tmp_path.glob("*corrupt*")] == []

    def test_a_store_is_read_beside_its_server(self, tmp_path: Path) -> None:
        path = tmp_path / "frames.db"
        with closing(SqliteFrameStore(path)) as store:
            store.put([Layer(FrameId("gate", "b1", 1), 1.0, b"123")])
            with closing(SqliteFrameStore(path, read_only=True)) as reader:
                assert [stored.frame.seq for stored in reader.frames()] == [1]
                with pytest.raises(StoreFull):
                    reader.pin(FrameId("gate", "b1", 1))
