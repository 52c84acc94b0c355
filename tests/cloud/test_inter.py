"""Inter layers through a whole server: the same boxes as intra layers, and chains that heal."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import grpc
import pytest

from cloud.folder import data_files
from cloud.sightings import UNREADABLE
from cloud.store import Found
from cloud.store.sqlite import SqliteFrameStore
from common.codec import Coded, MachineCodec
from common.session.events import Outcome
from common.types import Box
from glimpse.v1 import detection_pb2
from tests.cloud.films import Film, sealed
from tests.cloud.serving import Camera, Served, serving, until
from tests.cloud.test_archive import archive, code
from tests.weights import tiny_weights

LOADS = "glimpse_chain_loads_total"


@pytest.fixture
def server(tmp_path: Path, tiny_folder: Path) -> Any:
    """Starts one. Alone in its batch, a layer gives the same floats each time.

    Without `max_fps` a stream has all its credit from its Welcome on.
    """

    def start(**changes: Any) -> AbstractAsyncContextManager[Served]:
        return serving(
            tmp_path,
            **({"weights": tiny_folder, "min_score": 0.0, "batch": 1, "max_fps": 0} | changes),
        )

    return start


def boxes(camera: Camera, seqs: Iterable[int]) -> list[tuple[Any, ...]]:
    """As they came back, frame by frame."""
    assert all(camera.results[seq].has_boxes for seq in seqs)
    return [tuple(map(str, camera.results[seq].boxes)) for seq in seqs]


async def looked_at(served: Served, count: int) -> None:
    await until(lambda: sum(f.boxes is not None for f in served.stored().values()) == count)


async def test_the_boxes_are_those_of_the_same_integers_alone(server: Any, film: Film) -> None:
    every = range(len(film.coded))
    async with server() as served, served.camera() as gate, served.camera("yard") as yard:
        await gate.send(*enumerate(film.chained[:5]))
        await yard.send(*enumerate(film.alone))
        await gate.send(*enumerate(film.chained[5:], 5))
        await gate.boxes(every)
        await yard.boxes(every)
        seen = boxes(gate, every)
        assert seen == boxes(yard, every)
        assert all(seen)
        assert len(set(seen)) > 1
        assert served.count(LOADS) == 0
        for kind, layers in (("intra", film.chained[:1]), ("inter", film.chained[1:])):
            size = served.count("glimpse_layer_bytes_total", camera="gate", kind=kind)
            assert size == sum(map(len, layers))


class TestHealing:
    @pytest.mark.parametrize("want_boxes", [True, False])
    async def test_followers_of_a_lost_layer_are_told_of_until_the_next_intra_layer(
        self, server: Any, film: Film, want_boxes: bool
    ) -> None:
        sent = dict(enumerate(film.chained[:6])) | {10: film.alone[0], 11: film.chained[1]}
        lost = sent.pop(2)
        async with server() as served, served.camera(want_boxes=want_boxes) as camera:
            await camera.send(*sent.items())
            await camera.boxes([3, 4, 5, *([10, 11] if want_boxes else [])])
            await camera.acks(len(sent))
            broken = {seq: r for seq, r in camera.results.items() if r.reason}
            assert broken.keys() == {3, 4, 5}
            assert all(r.outcome == Outcome.STORED and not r.has_boxes for r in broken.values())
            assert (camera.results.keys() == broken.keys()) is not want_boxes
            await looked_at(served, len(sent))
            stored = served.stored()
            assert {s for s, f in stored.items() if f.model.startswith(UNREADABLE)} == {3, 4, 5}
            assert stored[3].header is None
            assert stored[11].header is not None
            assert served.count("glimpse_unreadable_layers_total", camera="gate") == 3
            await camera.send((2, lost))  # too late for the others, and in time for itself
            await until(lambda: 2 in served.stored() and served.stored()[2].header is not None)

    async def test_layers_that_come_again_cost_one_chain(self, server: Any, film: Film) -> None:
        async with server() as served:
            token = served.token("camera", "gate")
            async with served.camera(token=token) as camera:
                await camera.send(*enumerate(film.chained[:10]))
                await camera.boxes(range(10))
                first = boxes(camera, range(10))
            async with served.camera(token=token) as camera:
                await camera.send(*enumerate(film.chained[2:], 2))
                await camera.boxes(range(2, len(film.chained)))
                assert boxes(camera, range(2, 10)) == first[2:]
            assert served.count(LOADS) == 1

    async def test_a_model_without_tables_for_them_refuses_them(
        self, server: Any, film: Film, tmp_path: Path
    ) -> None:
        tiny_weights(tmp_path / "plain", detector=True, inter=False)
        async with server(weights=tmp_path / "plain") as served, served.camera() as camera:
            await camera.send((0, film.chained[1]))
            await camera.boxes([0])
            assert camera.results[0].outcome == Outcome.REFUSED
            assert "no inter layers" in camera.results[0].reason
            assert served.stored() == {}

    async def test_damaged_layers_never_stop_the_detector(self, server: Any, film: Film) -> None:
        rng = random.Random(7)
        damaged = []
        for _ in range(60):
            flipped = bytearray(rng.choice(film.chained[1:]))
            for _ in range(rng.randint(1, 4)):
                flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
            damaged.append(sealed(bytes(flipped)))
        async with server(credits=256) as served, served.camera() as camera:
            for n, data in enumerate(damaged):
                await camera.send((10 * n, film.chained[0]), (10 * n + 1, data))
            last = 10 * len(damaged)
            await camera.send(*enumerate(film.chained, last))
            await camera.boxes(range(last, last + len(film.chained)))
            assert all(camera.results[last + n].has_boxes for n in range(len(film.chained)))
            assert {bool(camera.results[10 * n + 1].reason) for n in range(60)} == {True, False}
            assert served.count("glimpse_detect_failures_total") == 0


class TestCatchUp:
    async def test_what_an_earlier_process_stored_is_read_in_order(
        self, server: Any, film: Film, tmp_path: Path
    ) -> None:
        before = SqliteFrameStore(data_files(tmp_path)[0])
        before.put(film.layers())
        before.write((), [Found(layer.frame, (), "m", None) for layer in film.layers()[:4]])
        before.close()
        async with server() as served, served.camera("yard") as yard:
            await looked_at(served, len(film.coded))
            assert served.count(LOADS) == 1
            stored = served.stored()
            await yard.send(*enumerate(film.alone, 100))
            await yard.boxes(range(100, 100 + len(film.alone)))
            for n in range(4, len(film.alone)):
                assert stored[n].header == film.coded[n].header
                assert shown(stored[n].boxes or ()) == shown(yard.results[100 + n].boxes)

    async def test_what_is_gone_is_unreadable(
        self, server: Any, film: Film, tmp_path: Path
    ) -> None:
        before = SqliteFrameStore(data_files(tmp_path)[0])
        before.put(film.layers()[3:6])
        before.close()
        async with server() as served:
            await looked_at(served, 3)
            assert all(f.model.startswith(UNREADABLE) for f in served.stored().values())


def shown(boxes: Iterable[Box]) -> list[tuple[str, float, float]]:
    return [(b.label, round(b.score, 5), round(b.x1, 1)) for b in boxes]


class TestRandomAccess:
    async def test_any_frame_is_handed_out_alone(
        self, server: Any, film: Film, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        threads = []
        real = MachineCodec.alone

        def alone(codec: MachineCodec, coded: Coded) -> bytes:
            threads.append(threading.current_thread())
            return real(codec, coded)

        monkeypatch.setattr(MachineCodec, "alone", alone)
        async with server() as served, served.camera() as camera, archive(served) as viewer:
            await camera.send(*enumerate(film.chained))
            await camera.boxes(range(len(film.chained)))
            await looked_at(served, len(film.chained))
            for n in (0, 1, 7, len(film.chained) - 1):
                whole = await viewer.get(camera="gate", boot="b1", seq=n)
                assert whole.layer == film.alone[n]
                assert whole.frame.layer_bytes == len(film.chained[n])
                assert (whole.frame.width, whole.frame.height) == (160, 120)
        assert threading.main_thread() not in threads

    async def test_a_frame_whose_chain_is_gone_is_listed_with_its_boxes(
        self, server: Any, film: Film, tmp_path: Path
    ) -> None:
        async with server() as served, served.camera() as camera, archive(served) as viewer:
            await camera.send(*enumerate(film.chained[:4]))
            await camera.boxes(range(4))
            await looked_at(served, 4)
            beside = SqliteFrameStore(data_files(tmp_path)[0])
            assert beside.expire(1) == {"gate": 4}
            beside.close()
            await camera.send((4, film.chained[4]))
            await camera.boxes([4])
            await looked_at(served, 1)
            [frame] = (await viewer.page()).frames
            assert (frame.seq, frame.has_boxes, frame.width, frame.fault) == (4, True, 160, "")
            missing = viewer.get(camera="gate", boot="b1", seq=4)
            assert await code(missing) is grpc.StatusCode.NOT_FOUND

    async def test_one_that_is_not_looked_at_yet_has_no_size(
        self, server: Any, film: Film, tmp_path: Path
    ) -> None:
        async with server() as served, archive(served) as viewer:
            beside = SqliteFrameStore(data_files(tmp_path)[0])
            beside.put(film.layers()[:2])
            beside.close()
            second, first = (await viewer.page()).frames
            assert (first.width, first.fault) == (160, "")
            assert (second.width, second.height, second.fault) == (0, 0, "")
            assert (await viewer.get(camera="gate", boot="b1", seq=1)).layer == film.alone[1]


async def test_one_layer_alone_says_nothing(server: Any, film: Film) -> None:
    async with server() as served, served.viewer() as viewer:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await viewer.detect(detection_pb2.DetectRequest(layer=film.chained[1]))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "inter" in str(refused.value.details())
        await viewer.detect(detection_pb2.DetectRequest(layer=film.chained[0]))
