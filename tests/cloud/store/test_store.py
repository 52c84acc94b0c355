"""The frame store's contract, run over both bodies, and what only the one on disk can do."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud.store import (
    Auxiliary,
    CameraSummary,
    Found,
    FrameStore,
    Outcome,
    Place,
    StoredFrame,
)
from cloud.store.memory import MemoryFrameStore
from cloud.store.sqlite import SqliteFrameStore
from common.bitstream import MAX_CHAIN, Header, Kind, pack, pack_inter
from common.errors import BadSettings, StoreFull
from common.types import Box, FrameId, Layer, Presence

STORED, DUPLICATE = Outcome.STORED, Outcome.DUPLICATE
PERSON = Box("person", 0.9, 1.0, 2.0, 3.5, 4.5)
CAR = Box("car", 0.95, 10.0, 20.0, 30.0, 40.0)


def layer(
    seq: int, *, camera: str = "gate", boot: str = "b1", at: float | None = None, size: int = 300
) -> Layer:
    moment = 1000.0 + seq if at is None else at
    return Layer(FrameId(camera, boot, seq), moment, bytes([seq % 256]) * size)


INTRA = Header(Kind.MACHINE_INTRA, 0x1A2B, 0, 102, 0, 160, 120, 160)
INTER = replace(INTRA, kind=Kind.MACHINE_INTER, quality=77)


def chained(kinds: str, *, camera: str = "gate", boot: str = "b1", first: int = 0) -> list[Layer]:
    """A layer for each letter: 'K' an intra one, 'p' an inter one; seqs from `first` on."""
    return [
        Layer(
            FrameId(camera, boot, seq),
            1000.0 + seq,
            pack(INTRA, b"%d" % seq) if kind == "K" else pack_inter(INTER.kind, 77, 0, b"%d" % seq),
        )
        for seq, kind in enumerate(kinds, first)
    ]


def before(store: FrameStore, seq: int, boot: str = "b1") -> list[int]:
    """The seqs of what a frame leans on."""
    by_data = {stored.data: stored.frame.seq for stored in store.frames(limit=1000)}
    return [by_data[data] for data in store.chain(FrameId("gate", boot, seq))]


def seqs(store: FrameStore, **query: object) -> list[int]:
    return [stored.frame.seq for stored in store.frames(**query)]  # type: ignore[arg-type]


class Clock:
    """Says what it is told to."""

    def __init__(self) -> None:
        self.now = 5000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[FrameStore]:
    body: FrameStore
    if request.param == "memory":
        body = MemoryFrameStore(max_bytes=1_000_000, clock=clock)
    else:
        body = SqliteFrameStore(tmp_path / "frames.db", max_bytes=1_000_000, clock=clock)
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

    def test_presences_come_back_beside_boxes_and_are_found_by_label(
        self, store: FrameStore
    ) -> None:
        store.put([layer(1), layer(2), layer(3)])
        bus, person = Presence("bus", 0.3), Presence("person", 0.9)
        seen = Found(layer(1).frame, (), "m1", presences=(bus, person))
        store.write((), (seen, Found(layer(2).frame, (PERSON,), "m1")))
        first, second = store.get(layer(1).frame), store.get(layer(2).frame)
        assert first is not None
        assert second is not None
        assert (first.boxes, first.presences) == ((), (person, bus))
        assert (second.boxes, second.presences) == ((PERSON,), ())
        assert [f.frame.seq for f in store.frames(label="person")] == [2, 1]
        assert [f.frame.seq for f in store.frames(label="bus")] == [1]
        assert [waiting.frame.seq for waiting in store.undetected(9)] == [3]
        store.write((), (Found(layer(1).frame, (CAR,), "m2"),))
        assert store.frames(label="bus") == ()
        assert [f.frame.seq for f in store.frames(label="car")] == [1]
        store.expire(9)
        assert store.frames(label="car") == ()

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

    def test_a_page_goes_on_where_the_last_ended_even_if_that_frame_has_gone(
        self, store: FrameStore
    ) -> None:
        store.put([layer(n) for n in range(4)])
        place = store.frames(limit=1)[0].place
        for n in (0, 1, 2):
            store.pin(layer(n).frame)
        assert store.expire(9) == {"gate": 1}
        assert seqs(store, before=place) == [2, 1, 0]

    def test_what_was_stored_first_expires_first_whatever_the_cameras_clock_says(
        self, store: FrameStore, clock: Clock
    ) -> None:
        store.put([layer(1, at=9e9), layer(2, at=0.0)])
        clock.now = 6000.0
        store.put([layer(3, at=1.0), layer(1, camera="yard")])
        assert store.expire(1) == {"gate": 1}
        assert seqs(store) == [1, 3, 2]
        assert store.expire(2) == {"gate": 2}
        assert store.expire(0) == {}
        assert store.expire(5) == {"yard": 1}
        assert store.expire(5) == {}

    def test_only_what_was_stored_before_a_moment_expires(
        self, store: FrameStore, clock: Clock
    ) -> None:
        for n in range(4):
            clock.now = 100.0 * n
            store.put([layer(n)])
        assert store.expire(9, stored_before=200.0) == {"gate": 2}
        assert seqs(store) == [3, 2]
        clock.now = 50.0  # the machine's clock was wrong before
        store.put([layer(4)])
        assert store.expire(9, stored_before=60.0) == {"gate": 1}

    def test_an_expired_frame_leaves_nothing_behind(self, store: FrameStore) -> None:
        store.put([layer(1, size=10), layer(2, size=20), layer(1, camera="yard")])
        store.put_boxes(layer(1).frame, [PERSON, CAR, CAR], "m1")
        store.put_boxes(layer(2).frame, [PERSON], "m1")
        assert store.expire(1) == {"gate": 1}
        assert store.get(layer(1).frame) is None
        assert store.held([layer(1).frame, layer(2).frame]) == {layer(2).frame}
        assert seqs(store, label="person") == [2]
        assert seqs(store, label="car") == []
        assert store.undetected(9) == (layer(1, camera="yard"),)
        store.put_boxes(layer(1).frame, [CAR], "m1")  # a detector that was late
        assert seqs(store, label="car") == []
        store.expire(9)
        assert store.cameras() == (
            CameraSummary("gate", 0, 0, 1002.0),
            CameraSummary("yard", 0, 0, 1001.0),
        )
        assert store.put([layer(1)]) == (STORED,)

    def test_a_pinned_frame_stays_until_it_is_unpinned(self, store: FrameStore) -> None:
        store.put([layer(n) for n in range(4)])
        assert store.pin(layer(0).frame)
        assert store.pin(layer(2).frame)
        assert not store.pin(layer(9).frame)
        assert [f.frame.seq for f in store.frames() if f.pinned] == [2, 0]
        assert store.expire(9) == {"gate": 2}
        assert seqs(store) == [2, 0]
        assert store.pin(layer(0).frame, False)
        assert store.expire(9, stored_before=9e9) == {"gate": 1}
        assert seqs(store) == [2]

    def test_what_stands_before_a_frame(self, store: FrameStore) -> None:
        store.put([*chained("KppKpp"), *chained("p", camera="yard"), *chained("Kp", boot="b2")])
        assert before(store, 2) == [0, 1]
        assert before(store, 3) == []
        assert before(store, 4) == [3]
        assert before(store, 6) == [3, 4, 5]  # not stored yet
        assert before(store, 1, boot="b2") == [0]
        assert store.chain(FrameId("yard", "b1", 0)) == ()
        assert store.chain(FrameId("roof", "b1", 5)) == ()

    def test_seqs_of_a_chain_may_have_gaps(self, store: FrameStore) -> None:
        store.put([chained("K")[0], *chained("p", first=7), *chained("p", first=10**12)])
        assert before(store, 10**12) == [0, 7]

    def test_a_chain_is_as_long_as_chains_may_be(self, store: FrameStore) -> None:
        store.put(chained("K" + "p" * (MAX_CHAIN + 5)))
        assert before(store, MAX_CHAIN - 1) == list(range(MAX_CHAIN - 1))
        for seq in range(MAX_CHAIN, MAX_CHAIN + 8):
            assert before(store, seq) == []

    def test_the_header_of_a_frame(self, store: FrameStore) -> None:
        store.put([*chained("Kpp"), layer(3)])
        names = [FrameId("gate", "b1", n) for n in range(4)]
        store.write((), [Found(name, (), "m1", INTER) for name in names[:2]])
        store.write((), [Found(name, (), "unreadable: why", None) for name in names[2:]])
        frames = [store.get(name) for name in names]
        assert [stored.header for stored in frames if stored] == [INTRA, INTER, None, None]
        assert [stored.is_inter for stored in frames if stored] == [False, True, True, False]
        assert [stored.header for stored in store.frames()] == [None, None, INTER, INTRA]
        store.put_boxes(names[1], (), "m2")
        again = store.get(names[1])
        assert again is not None
        assert again.header is None

    def test_what_a_pinned_frame_leans_on_stays_with_it(self, store: FrameStore) -> None:
        store.put(chained("KpppKp"))
        assert store.pin(FrameId("gate", "b1", 2))
        assert [f.frame.seq for f in store.frames() if f.pinned] == [2]
        assert store.expire(9) == {"gate": 3}
        assert seqs(store) == [2, 1, 0]
        assert before(store, 2) == [0, 1]
        assert store.pin(FrameId("gate", "b1", 2), False)
        assert store.expire(9) == {"gate": 3}

    def test_unpinning_releases_what_no_other_pinned_frame_needs(self, store: FrameStore) -> None:
        store.put(chained("Kppppp"))
        for seq in (1, 3, 4):
            store.pin(FrameId("gate", "b1", seq))
        store.pin(FrameId("gate", "b1", 4), False)
        store.pin(FrameId("gate", "b1", 1), False)  # 3 needs it
        assert [f.frame.seq for f in store.frames() if f.pinned] == [3]
        assert store.expire(9) == {"gate": 2}
        assert seqs(store) == [3, 2, 1, 0]
        store.pin(FrameId("gate", "b1", 2))
        store.pin(FrameId("gate", "b1", 3), False)
        assert store.expire(9) == {"gate": 1}
        assert seqs(store) == [2, 1, 0]

    def test_what_leans_on_an_expiring_frame_goes_with_it(
        self, store: FrameStore, clock: Clock
    ) -> None:
        store.put(chained("Kp"))
        clock.now = 6000.0
        store.put([*chained("pppKp", first=2), *chained("p", camera="yard")])
        assert store.expire(1, stored_before=5500.0) == {"gate": 5}
        assert seqs(store, camera="gate") == [6, 5]
        assert store.expire(1) == {"gate": 2}
        assert store.expire(1) == {"yard": 1}

    def test_a_batch_goes_beyond_its_limit_by_one_chain_at_the_most(
        self, store: FrameStore
    ) -> None:
        store.put(chained(("K" + "p" * (MAX_CHAIN - 1)) * 3))
        assert store.expire(MAX_CHAIN + 1) == {"gate": 2 * MAX_CHAIN}
        assert store.cameras()[0].frames == MAX_CHAIN
        assert store.cameras()[0].bytes == sum(len(f.data) for f in store.frames(limit=99))

    @given(
        kinds=st.lists(st.sampled_from("Kppp"), min_size=1, max_size=12).map("".join),
        steps=st.lists(st.tuples(st.sampled_from(["pin", "unpin", "go"]), st.integers(0, 11))),
    )
    @settings(
        max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    def test_no_pinned_frame_is_ever_without_what_it_leans_on(
        self, store: FrameStore, kinds: str, steps: list[tuple[str, int]]
    ) -> None:
        store.expire(1000)  # of the example before
        for stored in store.frames():
            store.pin(stored.frame, False)
        store.expire(1000)
        kinds = "K" + kinds
        store.put(chained(kinds))
        for step, number in steps:
            if step == "go":
                store.expire(number % 3)
            else:
                store.pin(FrameId("gate", "b1", number), step == "pin")
            left = {stored.frame.seq: stored for stored in store.frames()}
            for seq in left:
                key = kinds.rindex("K", 0, seq + 1)
                assert before(store, seq) == list(range(key, seq)), "a gap in a chain"
        pinned = {seq for seq, stored in left.items() if stored.pinned} if steps else set()
        store.expire(1000)
        needed = {n for seq in pinned for n in range(kinds.rindex("K", 0, seq + 1), seq + 1)}
        assert set(seqs(store)) == needed

    def test_room_falls_as_frames_expire_and_is_there_for_new_ones(self, store: FrameStore) -> None:
        empty = store.used_bytes()
        for turn in range(5):
            store.put([layer(n, size=5000, boot=f"b{turn}") for n in range(100)])
            full = store.used_bytes()
            assert full - empty >= 500_000
            store.expire(50)
            assert full - store.used_bytes() >= 240_000
            store.expire(50)
            assert store.used_bytes() - empty <= 50_000

    def test_an_auxiliary_layer_is_kept_with_its_frame(self, store: FrameStore) -> None:
        frame = layer(1).frame
        assert not store.put_auxiliary(frame, Auxiliary(b"early", 7))
        store.put([layer(1, size=100), layer(2, size=100)])
        assert (store.auxiliary(frame), store.cameras()[0].bytes) == (None, 200)
        assert store.put_auxiliary(frame, Auxiliary(b"a" * 50, 7))
        assert store.auxiliary(frame) == Auxiliary(b"a" * 50, 7)
        assert store.auxiliary(layer(2).frame) is None
        assert [stored.auxiliary_bytes for stored in store.frames()] == [0, 50]
        assert store.cameras()[0].bytes == 250

    def test_a_better_auxiliary_layer_takes_the_place_of_the_one_before(
        self, store: FrameStore
    ) -> None:
        store.put([layer(1, size=100)])
        for size, quality in ((50, 7), (80, 200)):
            store.put_auxiliary(layer(1).frame, Auxiliary(b"a" * size, quality))
        assert store.auxiliary(layer(1).frame) == Auxiliary(b"a" * 80, 200)
        assert store.cameras()[0].bytes == 180

    def test_an_auxiliary_layer_goes_with_its_frame(self, store: FrameStore, clock: Clock) -> None:
        store.put([layer(1, size=100), layer(2, size=100)])
        store.put_auxiliary(layer(1).frame, Auxiliary(b"a" * 50, 7))
        assert store.expire(1) == {"gate": 1}
        assert store.auxiliary(layer(1).frame) is None
        assert store.cameras()[0].bytes == 100
        store.put([layer(1, size=100)])
        assert store.auxiliary(layer(1).frame) is None

    def test_a_full_store_takes_no_auxiliary_layer_and_keeps_the_one_it_has(
        self, store: FrameStore
    ) -> None:
        store.put([layer(1)])
        store.put_auxiliary(layer(1).frame, Auxiliary(b"first", 7))
        with pytest.raises(StoreFull):
            store.put_auxiliary(layer(1).frame, Auxiliary(bytes(1_000_001), 9))
        assert store.auxiliary(layer(1).frame) == Auxiliary(b"first", 7)

    def test_the_last_still_up_to_a_moment(self, store: FrameStore) -> None:
        store.put([*map(layer, range(1, 6)), layer(3, camera="yard")])
        assert not store.put_still(layer(9).frame, b"of no frame", most=9)
        for seq in (2, 4):
            assert store.put_still(layer(seq).frame, b"s" * seq, most=9)

        def last(camera: str, until: float, **since: float) -> tuple[int, bytes] | None:
            found = store.last_still(camera, until, **since)
            return None if found is None else (found[0].frame.seq, found[1])

        assert last("gate", 2000.0) == (4, b"ssss")
        assert last("gate", 1004.0) == (4, b"ssss")
        assert last("gate", 1003.9) == (2, b"ss")
        assert last("gate", 1003.9, since=1002.0) == (2, b"ss")
        assert last("gate", 1003.9, since=1002.1) is None
        assert last("gate", 1001.9) is None
        assert last("yard", 2000.0) is None
        store.put_still(layer(4).frame, b"another", most=9)
        found = store.last_still("gate", 2000.0)
        assert found == (store.get(layer(4).frame), b"another")

    def test_stills_count_and_only_the_newest_stay(self, store: FrameStore, clock: Clock) -> None:
        store.put([layer(n, size=100) for n in range(1, 5)])
        store.put([layer(1, camera="yard", size=100)])
        store.put_still(layer(1, camera="yard").frame, bytes(50), most=2)
        for seq in (1, 3, 2):
            store.put_still(layer(seq).frame, bytes(10 * seq), most=2)
        assert [camera.bytes for camera in store.cameras()] == [400 + 30 + 20, 150]
        assert store.last_still("gate", 1001.0) is None
        store.put_still(layer(1).frame, bytes(10), most=2)  # too old already
        assert store.last_still("gate", 1001.0) is None
        assert store.cameras()[0].bytes == 450
        clock.now += 1
        store.put([layer(9, size=100)])
        store.expire(9, stored_before=clock.now)
        assert store.last_still("gate", 2000.0) is None
        assert [camera.bytes for camera in store.cameras()] == [100, 0]

    def test_a_full_store_takes_no_still(self, store: FrameStore) -> None:
        store.put([layer(1)])
        with pytest.raises(StoreFull):
            store.put_still(layer(1).frame, bytes(1_000_001), most=9)
        assert store.last_still("gate", 2000.0) is None

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


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_a_store_of_a_schema_before_is_brought_up_to_this_one(tmp_path: Path, version: int) -> None:
    path = tmp_path / "frames.db"
    db = sqlite3.connect(path)
    db.executescript(SCHEMA_1 + "".join(TO_SCHEMAS[: version - 1]))
    db.close()
    now = time.time()
    store = SqliteFrameStore(path)
    [old] = store.frames(label="car")
    assert (old.frame, old.boxes, old.pinned) == (layer(1).frame, (CAR,), version > 1)
    assert old.stored_at >= int(now) if version == 1 else old.stored_at == 5000.0
    assert (old.is_inter, old.header, old.auxiliary_bytes) == (False, None, 0)
    assert store.put_auxiliary(old.frame, Auxiliary(b"more", 7))
    assert store.put_still(old.frame, b"as it was", most=9)
    assert store.put([layer(1), layer(2)]) == (DUPLICATE, STORED)
    store.put(chained("Kp", boot="b2"))
    assert before(store, 1, boot="b2") == [0]
    store.pin(layer(1).frame)
    assert store.expire(9) == {"gate": 3}
    store.close()
    assert shape(path) == shape_of_a_new_one(tmp_path)


def test_a_store_of_a_later_schema_is_refused(tmp_path: Path) -> None:
    SqliteFrameStore(tmp_path / "frames.db").close()
    db = sqlite3.connect(tmp_path / "frames.db")
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(BadSettings, match="schema 99"):
        SqliteFrameStore(tmp_path / "frames.db")


def shape(path: Path) -> set[tuple[str, str]]:
    """Each table's columns, each index's."""
    db = sqlite3.connect(path)
    found = set()
    for kind, name in db.execute("SELECT type, name FROM sqlite_master").fetchall():
        pragma = "table_info" if kind == "table" else "index_xinfo"
        columns = db.execute(f"SELECT group_concat(name) FROM pragma_{pragma}(?)", (name,))
        found.add((name, str(columns.fetchone()[0])))
    db.close()
    return found


def shape_of_a_new_one(folder: Path) -> set[tuple[str, str]]:
    SqliteFrameStore(folder / "new.db").close()
    return shape(folder / "new.db")


SCHEMA_1 = """
CREATE TABLE frame (
    id INTEGER PRIMARY KEY, camera TEXT NOT NULL, boot TEXT NOT NULL, seq INTEGER NOT NULL,
    captured_at REAL NOT NULL, data BLOB NOT NULL, boxes TEXT, model TEXT NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX frame_key ON frame (camera, boot, seq);
CREATE INDEX frame_of_camera ON frame (camera, captured_at);
CREATE INDEX frame_in_time ON frame (captured_at);
CREATE INDEX frame_undetected ON frame (id) WHERE boxes IS NULL;
CREATE TABLE sighting (
    label TEXT NOT NULL, camera TEXT NOT NULL, captured_at REAL NOT NULL, id INTEGER NOT NULL,
    PRIMARY KEY (label, camera, captured_at, id)
) WITHOUT ROWID;
CREATE INDEX sighting_in_time ON sighting (label, captured_at, id);
CREATE TABLE camera (
    name TEXT PRIMARY KEY, frames INTEGER NOT NULL, bytes INTEGER NOT NULL, last_seen REAL NOT NULL
) WITHOUT ROWID;
INSERT INTO frame VALUES (1, 'gate', 'b1', 1, 1001.0, x'00', '[["car",0.95,10,20,30,40]]', 'm');
INSERT INTO sighting VALUES ('car', 'gate', 1001.0, 1);
INSERT INTO camera VALUES ('gate', 1, 1, 1001.0);
PRAGMA application_id = 0x676C696D;
PRAGMA user_version = 1;
"""
TO_SCHEMA_2 = """
ALTER TABLE frame ADD COLUMN stored_at REAL NOT NULL DEFAULT 0;
ALTER TABLE frame ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0;
UPDATE frame SET stored_at = 5000, pinned = 1;
CREATE INDEX frame_by_age ON frame (stored_at) WHERE pinned = 0;
PRAGMA user_version = 2;
"""
TO_SCHEMA_3 = """
ALTER TABLE frame ADD COLUMN inter INTEGER NOT NULL DEFAULT 0;
ALTER TABLE frame ADD COLUMN header BLOB;
PRAGMA user_version = 3;
"""
TO_SCHEMA_4 = """
ALTER TABLE frame ADD COLUMN auxiliary_bytes INTEGER NOT NULL DEFAULT 0;
CREATE TABLE auxiliary (id INTEGER PRIMARY KEY, quality INTEGER NOT NULL, data BLOB NOT NULL);
PRAGMA user_version = 4;
"""
TO_SCHEMAS = TO_SCHEMA_2, TO_SCHEMA_3, TO_SCHEMA_4


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


@pytest.mark.parametrize(
    "frames", [100_000, pytest.param(1_000_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
def test_a_person_of_one_camera_is_found_among_many_in_milliseconds(
    tmp_path: Path, frames: int
) -> None:
    """Twenty cameras; something in every fifth frame of each, a person in one of those in ten."""
    store = SqliteFrameStore(tmp_path / "frames.db")
    boxes = {5: (CAR,), 45: (PERSON, CAR)}
    for start in range(0, frames, 10_000):
        layers = [layer(n, camera=f"cam{n % 20}", size=100) for n in range(start, start + 10_000)]
        found = [
            Found(
                item.frame, boxes.get(item.frame.seq % 50, boxes.get(item.frame.seq % 10, ())), "m"
            )
            for item in layers
        ]
        store.write(layers, found)
    middle = 1000.0 + frames / 2
    times = []
    for _ in range(5):
        started = time.perf_counter()
        page = store.frames(camera="cam5", label="person", since=middle, until=middle + 10_000)
        times.append(time.perf_counter() - started)
    store.close()
    first = frames // 2 + 45
    assert [f.frame.seq for f in page] == list(range(first + 9900, first - 1, -100))
    assert min(times) < 0.02  # measured: 1 ms for these 100 frames, of either number


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
    [plan] = plans(tmp_path, lambda store: seqs(store, **query))
    assert all("INDEX" in step or "KEY" in step or "SUBQUERY" in step for step in plan), plan
    assert not any("B-TREE" in step for step in plan), plan


def test_a_chain_is_one_walk_along_an_index(tmp_path: Path) -> None:
    frame = FrameId("gate", "b1", 9)
    step = "SEARCH frame USING INDEX frame_key (camera=? AND boot=? AND seq<?)"
    assert plans(tmp_path, lambda store: store.chain(frame)) == [[step]]


def test_the_last_still_is_one_walk_along_an_index(tmp_path: Path) -> None:
    [plan] = plans(tmp_path, lambda store: store.last_still("gate", 9.0, since=1.0))
    assert "INDEX still_of_camera (camera=? AND captured_at>? AND captured_at<?)" in plan[0]
    assert not any("B-TREE" in step for step in plan), plan


def plans(folder: Path, ask: Callable[[FrameStore], object]) -> list[list[str]]:
    """How SQLite answers each query of `ask`, step by step."""
    path = folder / "frames.db"
    store = SqliteFrameStore(path)
    statements: list[str] = []
    store._database._db.set_trace_callback(statements.append)
    ask(store)
    store.close()
    db = sqlite3.connect(path)
    queries = [sql for sql in statements if sql.startswith("SELECT")]
    found = [[row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}")] for sql in queries]
    db.close()
    return found
