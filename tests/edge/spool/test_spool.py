"""The spool's contract, run over both bodies, and what only the one on disk must survive."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.bitstream import Header, Kind, pack, pack_inter
from common.errors import BadSettings, StoreFull
from common.types import FrameId, Layer
from edge.spool import Expired, ExpiryReason, MemorySpool, Spool, SpoolStatus
from edge.spool.sqlite import SqliteSpool

_HEADER = Header(Kind.MACHINE_INTRA, 1, 0, 100, 0, 640, 480, 640)
INTRA = pack(_HEADER, bytes(100 - 13))
INTER = pack_inter(Kind.MACHINE_INTER, 100, 0, bytes(100 - 6))
FULL, TOO_LARGE = ExpiryReason.SPOOL_FULL, ExpiryReason.LARGER_THAN_SPOOL


def layer(seq: int, *, boot: str = "b1", size: int = 100, camera: str = "gate") -> Layer:
    return Layer(FrameId(camera, boot, seq), 1000.0 + seq, bytes([seq % 256]) * size)


def waiting(spool: Spool) -> tuple[Layer, ...]:
    layers, _ = spool.peek(0, 10_000_000)
    return layers


def names(layers: tuple[Layer, ...]) -> list[tuple[str, int]]:
    return [(layer.frame.boot, layer.frame.seq) for layer in layers]


@pytest.fixture(params=["memory", "sqlite"])
def spool(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Spool]:
    body: Spool
    if request.param == "memory":
        body = MemorySpool("gate", max_bytes=1000)
    else:
        body = SqliteSpool(tmp_path / "spool.db", "gate", max_bytes=1000)
    yield body
    body.close()


class TestContract:
    def test_an_empty_spool(self, spool: Spool) -> None:
        assert spool.peek(0, 10) == ((), 0)
        assert spool.drop([layer(5).frame]) == 0
        assert spool.append([]) == ()
        assert spool.status() == SpoolStatus(0, 0, None, 1000)

    def test_layers_come_out_as_they_went_in(self, spool: Spool) -> None:
        assert spool.append([layer(1), layer(2)]) == ()
        assert spool.append([layer(3)]) == ()
        assert waiting(spool) == (layer(1), layer(2), layer(3))
        assert spool.peek(0, 2)[0] == (layer(1), layer(2))
        assert spool.status() == SpoolStatus(3, 300, 1001.0, 1000)

    def test_peeking_takes_nothing_and_goes_on_after_a_cursor(self, spool: Spool) -> None:
        spool.append([layer(n) for n in range(6)])
        first, cursor = spool.peek(0, 2)
        assert (first, cursor > 0) == ((layer(0), layer(1)), True)
        second, cursor = spool.peek(cursor, 9)
        assert second == tuple(layer(n) for n in range(2, 6))
        assert spool.peek(cursor, 9) == ((), cursor)
        spool.append([layer(6)])
        assert spool.peek(cursor, 9)[0] == (layer(6),)

    def test_a_cursor_holds_when_the_spool_was_emptied_meanwhile(self, spool: Spool) -> None:
        spool.append([layer(n) for n in range(6)])
        _, cursor = spool.peek(0, 9)
        assert spool.drop([layer(n).frame for n in range(6)]) == 6
        spool.append([layer(6)])
        assert spool.peek(cursor, 9)[0] == (layer(6),)

    def test_settled_frames_go_whatever_their_order(self, spool: Spool) -> None:
        spool.append([layer(n) for n in range(6)])
        settled = [layer(n).frame for n in (3, 0, 2, 99)]
        assert spool.drop([*settled, layer(1, camera="yard").frame]) == 3
        assert spool.drop(settled) == 0
        assert waiting(spool) == (layer(1), layer(4), layer(5))
        assert spool.status() == SpoolStatus(3, 300, 1001.0, 1000)

    def test_an_earlier_boot_comes_first(self, spool: Spool) -> None:
        spool.append([layer(7, boot="zz"), layer(8, boot="zz")])
        spool.append([layer(1, boot="aa"), layer(8, boot="aa")])
        assert names(waiting(spool)) == [("zz", 7), ("zz", 8), ("aa", 1), ("aa", 8)]
        assert spool.drop([layer(8, boot="zz").frame]) == 1
        assert names(waiting(spool)) == [("zz", 7), ("aa", 1), ("aa", 8)]

    def test_spooling_a_frame_again_changes_nothing(self, spool: Spool) -> None:
        spool.append([layer(1), layer(2)])
        assert spool.append([layer(1, size=50), layer(2)]) == ()
        assert waiting(spool) == (layer(1), layer(2))
        assert spool.status() == SpoolStatus(2, 200, 1001.0, 1000)

    def test_a_full_spool_expires_the_oldest_and_names_them(self, spool: Spool) -> None:
        spool.append([layer(n) for n in range(10)])
        expired = spool.append([layer(10), layer(11, size=150)])
        assert expired == tuple(Expired(layer(n).frame, FULL) for n in range(3))
        assert names(waiting(spool)) == [("b1", n) for n in range(3, 12)]
        assert spool.status() == SpoolStatus(9, 950, 1003.0, 1000)

    def test_a_batch_over_the_bound_keeps_its_newest(self, spool: Spool) -> None:
        expired = spool.append([layer(n) for n in range(12)])
        assert expired == tuple(Expired(layer(n).frame, FULL) for n in range(2))
        assert spool.status() == SpoolStatus(10, 1000, 1002.0, 1000)

    def test_a_layer_that_never_fits_expires_alone(self, spool: Spool) -> None:
        spool.append([layer(1)])
        big = layer(2, size=1001)
        assert spool.append([big, layer(3)]) == (Expired(big.frame, TOO_LARGE),)
        assert waiting(spool) == (layer(1), layer(3))

    def test_what_leans_on_an_expired_layer_expires_with_it(self, spool: Spool) -> None:
        kinds = ["intra", "inter", "inter", "inter", "intra", "inter", "intra", "inter"]
        layers = [
            Layer(FrameId("gate", "b1", n), 1000.0 + n, INTER if kind == "inter" else INTRA)
            for n, kind in enumerate(kinds)
        ]
        spool.append(layers)
        expired = spool.append([layer(9, size=300)])
        assert [e.frame.seq for e in expired] == [0, 1, 2, 3]
        assert [n for _, n in names(waiting(spool))] == [4, 5, 6, 7, 9]
        assert spool.status() == SpoolStatus(5, 4 * 100 + 300, 1004.0, 1000)

    def test_an_acked_layer_takes_nothing_along(self, spool: Spool) -> None:
        spool.append([Layer(FrameId("gate", "b1", 0), 1000.0, INTRA)])
        spool.append([Layer(FrameId("gate", "b1", n), 1000.0, INTER) for n in range(1, 4)])
        spool.drop([FrameId("gate", "b1", 0)])
        assert spool.append([layer(4)]) == ()

    def test_another_cameras_layer_is_refused(self, spool: Spool) -> None:
        with pytest.raises(BadSettings, match="yard"):
            spool.append([layer(1), layer(2, camera="yard")])
        assert waiting(spool) == ()


def test_the_next_process_finds_what_was_spooled_and_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "state" / "spool.db"
    first = SqliteSpool(path, "gate", max_bytes=1000)
    first.append([layer(n) for n in range(9)])
    first.close()
    second = SqliteSpool(path, "gate", max_bytes=1000)
    assert second.status() == SpoolStatus(9, 900, 1000.0, 1000)
    assert second.append([layer(1, boot="b2", size=200)]) == (Expired(layer(0).frame, FULL),)
    second.close()


def test_a_spool_of_another_camera_is_refused(tmp_path: Path) -> None:
    first = SqliteSpool(tmp_path / "spool.db", "gate", max_bytes=1000)
    first.append([layer(1)])
    first.close()
    with pytest.raises(BadSettings, match="holds layers of camera gate"):
        SqliteSpool(tmp_path / "spool.db", "yard", max_bytes=1000)


def test_a_path_that_cannot_be_a_file_is_a_bad_setting(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="cannot open"):
        SqliteSpool(tmp_path, "gate", max_bytes=1000)


def test_a_file_that_is_no_database_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    path.write_bytes(b"not a database at all" * 400)
    spool = SqliteSpool(path, "gate", max_bytes=1000)
    assert spool.set_aside == 1
    assert spool.append([layer(1)]) == ()
    assert (tmp_path / "spool.db.corrupt-1").read_bytes().startswith(b"not a database")
    spool.close()


def filled(path: Path) -> SqliteSpool:
    """A spool of 300 layers, all of them in the main file rather than in its log."""
    spool = SqliteSpool(path, "gate", max_bytes=100_000)
    spool.append([layer(n) for n in range(300)])
    spool.close()
    return SqliteSpool(path, "gate", max_bytes=100_000)


def rot(path: Path) -> None:
    """Spoil all but the first page, which holds the schema."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))


def test_a_spool_that_rotted_while_closed_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    filled(path).close()
    rot(path)
    spool = SqliteSpool(path, "gate", max_bytes=100_000)
    assert spool.append([layer(500)]) == ()
    assert waiting(spool) == (layer(500),)
    assert spool.set_aside == 1
    spool.close()


def test_a_spool_that_rots_while_open_is_set_aside_and_its_cursors_count_on(
    tmp_path: Path,
) -> None:
    path = tmp_path / "spool.db"
    spool = filled(path)
    _, cursor = spool.peek(0, 300)
    rot(path)
    assert spool._db is not None
    spool._db.execute("PRAGMA shrink_memory")  # or it would go on from its page cache
    assert waiting(spool) == ()
    assert spool.set_aside == 1
    assert spool.append([layer(500)]) == ()
    assert spool.peek(cursor, 9) == ((layer(500),), cursor + 1)
    assert spool.status() == SpoolStatus(1, 100, 1500.0, 100_000)
    spool.close()


def test_a_full_disk_is_told_and_loses_nothing(tmp_path: Path) -> None:
    spool = SqliteSpool(tmp_path / "spool.db", "gate", max_bytes=10_000_000)
    spool.append([layer(1)])
    assert spool._db is not None
    spool._db.execute("PRAGMA max_page_count = 8")  # SQLite's own stand-in for a full disk
    with pytest.raises(StoreFull):
        spool.append([layer(2), layer(3, size=50_000)])
    assert waiting(spool) == (layer(1),)
    assert spool.status() == SpoolStatus(1, 100, 1001.0, 10_000_000)
    assert spool.append([layer(4)]) == ()
    spool.close()


APPEND_FOR_EVER = """
import sys
from itertools import count
from pathlib import Path
from common.types import FrameId, Layer
from edge.spool.sqlite import SqliteSpool

spool = SqliteSpool(Path(sys.argv[1]), "gate", max_bytes=100_000_000)
for seq in count(0, 3):
    spool.append([Layer(FrameId("gate", "b1", seq + n), 1.0, b"x" * 300) for n in range(3)])
    print(seq + 2, flush=True)
"""


def test_kill_9_loses_nothing_that_was_reported_spooled(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    command = [sys.executable, "-c", APPEND_FOR_EVER, str(path)]
    root = Path(__file__).parents[3]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as child:
        assert child.stdout is not None
        reported = [int(child.stdout.readline()) for _ in range(200)]
        child.kill()
        reported += [int(line) for line in child.stdout.read().split("\n")[:-1]]
    spool = SqliteSpool(path, "gate", max_bytes=100_000_000)
    spooled = [found.frame.seq for found in waiting(spool)]
    spool.close()
    assert spool.set_aside == 0
    assert spooled == list(range(len(spooled)))  # no hole, and batches whole
    assert len(spooled) % 3 == 0
    assert spooled[-1] >= reported[-1]
