"""The frame store's contract, run over both bodies, and what only the one on disk can do."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud.store import (
    CameraSummary,
    Found,
    FrameStore,
    MemoryFrameStore,
    Outcome,
    Place,
    SqliteFrameStore,
    StoredFrame,
)
from common.errors import BadSettings, StoreFull
from common.types import Box, FrameId, Layer

STORED, DUPLICATE = Outcome.STORED, Outcome.DUPLICATE
PERSON = Box("person", 0.9, 1.0, 2.0, 3.5, 4.5)
CAR = Box("car", 0.95, 10.0, 20.0, 30.0, 40.0)


def layer(
    seq: int, *, camera: str = "gate", boot: str = "b1", at: float | None = None, size: int = 300
) -> Layer:
    moment = 1000.0 + seq if at is None else at
    return Layer(FrameId(camera, boot, seq), moment, bytes([seq % 256]) * size)


def seqs(store: FrameStore, **query: object) -> list[int]:
    return [stored.frame.seq for stored in store.frames(**query)]  # type: ignore[arg-type]


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FrameStore]:
    body: FrameStore
    if request.param == "memory":
        body = MemoryFrameStore(max_bytes=1_000_000)
    else:
        body = SqliteFrameStore(tmp_path / "frames.db", max_bytes=1_000_000)
    yield body
    body.close()


class TestContract:
    def test_what_was_put_comes_back_as_it_was(self, store: FrameStore) -> None:
        sent = layer(7, at=1_700_000_000.123456)
        assert store.put([sent]) == (STORED,)
        stored = store.get(sent.frame)
        assert stored is not None
        assert (stored.frame, stored.captured_at, stored.data) == (
            sent.frame,
            sent.captured_at,
            sent.data,
        )
        assert (stored.boxes, stored.model) == (None, "")

    def test_nothing_is_a_batch_too(self, store: FrameStore) -> None:
        assert store.put([]) == ()
        assert store.frames() == ()
        assert store.cameras() == ()

    def test_a_frame_is_stored_exactly_once(self, store: FrameStore) -> None:
        assert store.put([layer(1), layer(2), layer(1)]) == (STORED, STORED, DUPLICATE)
        assert store.put([layer(2), layer(3)]) == (DUPLICATE, STORED)
        assert seqs(store) == [3, 2, 1]

    def test_the_first_bytes_of_a_frame_stay(self, store: FrameStore) -> None:
        store.put([layer(1, size=10), layer(1, size=20)])
        store.put([layer(1, size=30)])
        stored = store.get(layer(1).frame)
        assert stored is not None
        assert len(stored.data) == 10

    def test_camera_boot_and_seq_each_tell_frames_apart(self, store: FrameStore) -> None:
        batch = [layer(1), layer(2), layer(1, boot="b2"), layer(1, camera="yard")]
        assert store.put(batch) == (STORED,) * 4

    def test_which_frames_in_doubt_are_stored(self, store: FrameStore) -> None:
        store.put([layer(1), layer(3), layer(1, boot="b2")])
        doubt = [layer(n).frame for n in (1, 2, 3)] + [layer(3, boot="b2").frame]
        assert store.held(doubt) == {layer(1).frame, layer(3).frame}
        assert store.held([]) == frozenset()

    def test_a_camera_resumes_after_its_highest_seq_of_this_boot(self, store: FrameStore) -> None:
        assert store.last_seq("gate", "b1") == -1
        store.put([layer(0)])
        assert store.last_seq("gate", "b1") == 0
        store.put([layer(9), layer(4), layer(50, boot="b2"), layer(70, camera="yard")])
        assert store.last_seq("gate", "b1") == 9
        assert store.last_seq("gate", "b3") == -1

    def test_boxes_come_back_highest_score_first(self, store: FrameStore) -> None:
        store.put([layer(1)])
        store.put_boxes(layer(1).frame, [PERSON, CAR], "m1")
        stored = store.get(layer(1).frame)
        assert stored is not None
        assert (stored.boxes, stored.model) == ((CAR, PERSON), "m1")
        assert store.frames() == (stored,)

    def test_layers_and_boxes_of_one_commit_and_boxes_may_be_of_its_own_layers(
        self, store: FrameStore
    ) -> None:
        store.put([layer(1)])
        found = [Found(layer(n).frame, (PERSON,), "m1") for n in (1, 2, 9)]
        assert store.write([layer(2), layer(1), layer(3)], found) == (STORED, DUPLICATE, STORED)
        assert seqs(store, label="person") == [2, 1]
        assert store.undetected(9) == (layer(3),)

    def test_boxes_of_an_unknown_frame_are_let_pass(self, store: FrameStore) -> None:
        store.put_boxes(layer(1).frame, [PERSON], "m1")
        assert store.get(layer(1).frame) is None

    def test_a_second_detection_replaces_the_first(self, store: FrameStore) -> None:
        store.put([layer(1)])
        store.put_boxes(layer(1).frame, [PERSON, PERSON], "m1")
        store.put_boxes(layer(1).frame, [CAR], "m2")
        assert seqs(store, label="person") == []
        assert seqs(store, label="car") == [1]

    def test_undetected_is_what_has_no_boxes_yet_in_order_of_arrival(
        self, store: FrameStore
    ) -> None:
        store.put([layer(3), layer(1), layer(2)])
        assert store.undetected(10) == (layer(3), layer(1), layer(2))
        assert store.undetected(2) == (layer(3), layer(1))
        store.put_boxes(layer(3).frame, [], "m1")
        assert store.undetected(10) == (layer(1), layer(2))

    def test_detected_and_empty_is_not_undetected(self, store: FrameStore) -> None:
        store.put([layer(1)])
        store.put_boxes(layer(1).frame, [], "m1")
        stored = store.get(layer(1).frame)
        assert stored is not None
        assert stored.boxes == ()

    def test_frames_are_found_by_camera_label_and_time(self, store: FrameStore) -> None:
        store.put([layer(n) for n in range(6)] + [layer(2, camera="yard")])
        for n in (1, 2, 4):
            store.put_boxes(layer(n).frame, [PERSON], "m1")
        store.put_boxes(layer(2, camera="yard").frame, [PERSON], "m1")
        store.put_boxes(layer(3).frame, [CAR], "m1")
        assert seqs(store, camera="gate") == [5, 4, 3, 2, 1, 0]
        assert seqs(store, camera="gate", label="person") == [4, 2, 1]
        assert seqs(store, camera="gate", label="person", since=1002.0, until=1004.0) == [2]
        assert seqs(store, label="person") == [4, 2, 2, 1]
        assert seqs(store, since=1004.0) == [5, 4]
        assert seqs(store, until=1001.0) == [0]
        assert seqs(store, camera="roof") == []

    def test_newest_means_captured_last_then_arrived_last(self, store: FrameStore) -> None:
        store.put([layer(1, at=50.0), layer(2, at=70.0), layer(3, at=60.0), layer(4, at=60.0)])
        assert seqs(store) == [2, 4, 3, 1]

    @pytest.mark.parametrize("label", [None, "person"])
    def test_pages_join_up_even_where_moments_are_equal(
        self, store: FrameStore, label: str | None
    ) -> None:
        store.put([layer(n, at=float(n // 4)) for n in range(11)])
        for n in range(11):
            store.put_boxes(layer(n).frame, [PERSON], "m1")
        whole = store.frames(label=label)
        paged: list[StoredFrame] = []
        before = None
        while page := store.frames(label=label, limit=3, before=before):
            paged += page
            before = page[-1].place
        assert tuple(paged) == whole
        assert len(whole) == 11

    def test_a_page_of_nothing(self, store: FrameStore) -> None:
        store.put([layer(1)])
        assert seqs(store, before=Place(1001.0, 0)) == []
        assert seqs(store, limit=0) == []

    def test_cameras_are_summed_up_by_name(self, store: FrameStore) -> None:
        store.put([layer(1, camera="yard", size=10), layer(5, size=20), layer(2, size=30)])
        store.put([layer(5, size=20), layer(2, boot="b2", at=7.0, size=1)])
        assert store.cameras() == (
            CameraSummary("gate", 3, 51, 1005.0),
            CameraSummary("yard", 1, 10, 1001.0),
        )

    def test_a_full_store_says_so_and_stores_none_of_the_batch(self, store: FrameStore) -> None:
        store.put([layer(1)])
        batch = [layer(2), *(layer(n, size=10_000) for n in range(3, 120))]
        with pytest.raises(StoreFull):
            store.write(batch, [Found(layer(1).frame, (), "m1")])
        assert seqs(store) == [1]
        assert store.undetected(9) == (layer(1),)
        assert store.put([layer(2), layer(1)]) == (STORED, DUPLICATE)
        assert store.cameras()[0].frames == 2


def test_what_was_put_is_there_for_the_next_process(tmp_path: Path) -> None:
    first = SqliteFrameStore(tmp_path / "deep" / "frames.db")
    first.put([layer(1), layer(2)])
    first.put_boxes(layer(1).frame, [PERSON], "m1")
    first.close()
    second = SqliteFrameStore(tmp_path / "deep" / "frames.db")
    assert seqs(second, label="person") == [1]
    assert second.undetected(10) == (layer(2),)
    assert second.put([layer(2)]) == (DUPLICATE,)
    second.close()


def test_a_reader_beside_the_writer_sees_what_is_committed(tmp_path: Path) -> None:
    writer, reader = (SqliteFrameStore(tmp_path / "frames.db") for _ in range(2))
    writer.put([layer(1)])
    assert seqs(reader) == [1]
    writer.close()
    reader.close()


def test_a_file_that_is_no_database_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "frames.db"
    path.write_bytes(b"not a database at all" * 400)
    store = SqliteFrameStore(path)
    assert store.set_aside == 1
    assert store.put([layer(1)]) == (STORED,)
    assert (tmp_path / "frames.db.corrupt-1").read_bytes().startswith(b"not a database")
    store.close()


def test_a_database_that_rots_is_set_aside_at_opening_or_in_use(tmp_path: Path) -> None:
    path = tmp_path / "frames.db"
    store = SqliteFrameStore(path)
    store.put([layer(n) for n in range(200)])
    store.close()
    for expected in (1, 2):
        rotten = bytearray(path.read_bytes())
        rotten[4096:] = b"\xff" * (len(rotten) - 4096)
        path.write_bytes(rotten)
        store = SqliteFrameStore(path)
        assert store.put([layer(1)]) == (STORED,)
        assert seqs(store) == [1]
        assert store.set_aside == 1
        assert (tmp_path / f"frames.db.corrupt-{expected}").exists()
        store.close()


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE theirs (x)")
    db.commit()
    db.close()
    before = path.read_bytes()
    with pytest.raises(BadSettings, match="another program"):
        SqliteFrameStore(path)
    assert path.read_bytes() == before


def test_a_path_that_cannot_be_a_file_is_a_bad_setting(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="cannot open"):
        SqliteFrameStore(tmp_path)


def test_a_person_of_one_camera_is_found_among_many_in_milliseconds(tmp_path: Path) -> None:
    store = SqliteFrameStore(tmp_path / "frames.db")
    layers = [layer(n, camera=f"cam{n % 20}", size=100) for n in range(20_000)]
    store.put(layers)
    for n in range(5, 20_000, 2000):
        store.put_boxes(layers[n].frame, [PERSON], "m1")
    started = time.perf_counter()
    found = store.frames(camera="cam5", label="person", since=1000.0, until=15_000.0)
    took = time.perf_counter() - started
    store.close()
    assert [stored.frame.seq for stored in found] == list(range(12_005, 0, -2000))
    assert took < 0.05  # measured: well under 1 ms; a scan of the camera's frames is slower


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"camera": "gate"},
        {"camera": "gate", "since": 1.0, "until": 9.0},
        {"label": "person"},
        {"label": "person", "camera": "gate", "since": 1.0, "until": 9.0},
        {"label": "person", "camera": "gate", "before": Place(5.0, 7)},
    ],
    ids=lambda query: "-".join(query) or "all",
)
def test_every_search_walks_an_index_and_sorts_nothing(
    tmp_path: Path, query: dict[str, object]
) -> None:
    path = tmp_path / "frames.db"
    store = SqliteFrameStore(path)
    statements: list[str] = []
    store._database._db.set_trace_callback(statements.append)
    seqs(store, **query)
    store.close()
    [search] = [sql for sql in statements if sql.startswith("SELECT")]
    db = sqlite3.connect(path)
    plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {search}")]
    db.close()
    assert all("INDEX" in step or "KEY" in step or "SUBQUERY" in step for step in plan), plan
    assert not any("B-TREE" in step for step in plan), plan
