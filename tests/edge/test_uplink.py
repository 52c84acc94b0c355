from __future__ import annotations

import asyncio
import datetime
import random
import time
from collections.abc import Sequence
from pathlib import Path

import grpc
import pytest

import edge.uplink
from cloud.access.certificates import make_certificates
from common.bitstream import Header, Kind, link, pack, pack_inter
from common.errors import GlimpseError, ModelMismatch, StoreFull, Unauthenticated, Unreachable
from common.session import EdgePolicy, EdgeSession
from common.session.events import RateTarget
from common.types import FrameId, Layer
from edge.ledger import Ledger
from edge.link import Link
from edge.rate import Limits, Plan, RateControl, Thinned
from edge.spool import Expired, MemorySpool, Spool
from edge.spool.sqlite import SqliteSpool
from edge.uplink import Uplink
from tests.edge.server import BOX, Server, serving, until

MODEL = 0x1234
HEADER = Header(Kind.MACHINE_INTRA, MODEL, 0, 100, 0, 640, 480, 640)
QUICK = EdgePolicy(backoff_base=0.01, backoff_cap=0.05, part_timeout=2.0)


class Rig:
    """One camera's uplink to `link`, with everything that it writes into."""

    def __init__(
        self,
        link: Link,
        *,
        spool: Spool | None = None,
        model: int = MODEL,
        boot: str = "b1",
        rate: RateControl | None = None,
    ) -> None:
        self.spool = spool or MemorySpool("gate", max_bytes=1 << 20)
        self.boot = boot
        self.ledger = Ledger(boot, self.spool.status().frames)
        self.session = EdgeSession(
            "gate",
            boot,
            model,
            random=random.Random(1).random,
            want_boxes=True,
            paced=rate is not None,
            policy=QUICK,
        )
        self.uplink = Uplink(self.session, link, self.spool, self.ledger, rate=rate)

    def code(self, seq: int) -> FrameId:
        data = pack(HEADER, bytes([seq % 256]) * 40)
        self.ledger.captured += 1
        self.ledger.on_coded(seq, 0.0, len(data))
        self.uplink.frame(seq, 1e9 + seq, data)
        return FrameId("gate", self.boot, seq)

    @property
    def adds_up(self) -> bool:
        return self.ledger.adds_up(self.spool.status().frames)


def plain(server: Server) -> Link:
    return Link(server.address, plaintext=True)


async def test_frames_arrive_and_boxes_come_back() -> None:
    async with serving(Server(MODEL)) as server:
        rig = Rig(plain(server))
        frames = [rig.code(seq) for seq in range(30)]  # more than the server's credit of 8
        rig.uplink.end()
        await rig.uplink.run()
    assert list(server.stored) == frames
    assert server.stored[frames[3]].captured_at == 1e9 + 3
    assert (rig.ledger.acked, rig.ledger.connections, rig.spool.status().frames) == (30, 1, 0)
    assert rig.ledger.boxes == (BOX,)
    assert rig.ledger.latency.percentile(50) is not None
    assert rig.adds_up


async def test_layers_that_lean_on_a_lost_one_are_not_sent(tmp_path: Path) -> None:
    """The second of a chain finds the disk full: those that lean on it are lost, and said so."""
    broken: list[int] = []

    class FullOnce(MemorySpool):
        def append(self, layers: Sequence[Layer]) -> tuple[Expired, ...]:
            if layers[0].frame.seq == 1 and not broken:
                raise StoreFull("no room left")
            return super().append(layers)

    async with serving(Server(MODEL)) as server:
        rig = Rig(plain(server), spool=FullOnce("gate", max_bytes=1 << 20))
        rig.uplink = Uplink(
            rig.session, plain(server), rig.spool, rig.ledger, break_off=lambda: broken.append(1)
        )
        first = pack(HEADER, b"first")
        chain = [first]
        for n in range(3):
            chain.append(pack_inter(Kind.MACHINE_INTER, 100, link(chain[-1]), bytes([n])))
        anew = pack(HEADER, b"anew")
        chain += [anew, pack_inter(Kind.MACHINE_INTER, 100, link(anew), b"last")]
        for seq, data in enumerate(chain):
            rig.ledger.captured += 1
            rig.ledger.on_coded(seq, 0.0, len(data))
            rig.uplink.frame(seq, 1e9 + seq, data)
        rig.uplink.end()
        await rig.uplink.run()
    assert [frame.seq for frame in server.stored] == [0, 4, 5]
    assert rig.ledger.expired == {"disk_full": 1, "chain_broken": 2}
    assert len(broken) == 3
    assert rig.adds_up


async def test_a_chain_that_the_server_cannot_read_begins_anew_once() -> None:
    broken: list[int] = []
    async with serving(Server(MODEL)) as server:
        rig = Rig(plain(server))
        rig.uplink = Uplink(
            rig.session, plain(server), rig.spool, rig.ledger, break_off=lambda: broken.append(1)
        )
        for seq, data in enumerate([b"bad", b"bad too", pack(HEADER, b"good")]):
            rig.ledger.captured += 1
            rig.ledger.on_coded(seq, 0.0, len(data))
            rig.uplink.frame(seq, 1e9 + seq, data)
        rig.uplink.end()
        await rig.uplink.run()
    assert (rig.ledger.refused, rig.ledger.acked) == (2, 1)
    assert len(broken) == 1


async def test_rate_control_paces_what_goes() -> None:
    """Layers are spooled at once, go together when they may, and all go at the end."""
    rate = RateControl(Limits(budget=40_000.0, coalesce=0.3, fps=100.0), time.monotonic())
    async with serving(Server(MODEL, cut_at=25)) as server:
        rig = Rig(plain(server), rate=rate)
        task = asyncio.create_task(rig.uplink.run())
        await until(lambda: rig.ledger.connections)
        frames = [rig.code(seq) for seq in range(5)]
        await until(lambda: rig.spool.status().frames == 5)
        assert rig.ledger.sent == 0
        await until(lambda: rig.ledger.acked == 5)
        frames += [rig.code(seq) for seq in range(5, 40)]
        await until(lambda: server.cuts)
        rig.uplink.end()
        await task
    assert sorted(server.stored) == frames
    assert rig.adds_up


async def test_a_server_may_wish_for_fewer_frames_for_one_stream() -> None:
    rate = RateControl(Limits(fps=5.0), time.monotonic())
    async with serving(Server(MODEL, cut_at=1)) as server:
        server.target = RateTarget(0, 0.001)
        rig = Rig(plain(server), rate=rate)
        task = asyncio.create_task(rig.uplink.run())
        await until(lambda: Thinned("server") == rate.frame(time.monotonic()))
        server.target = None
        rig.code(0)
        await until(lambda: rig.ledger.connections == 2)
        await until(lambda: isinstance(rate.frame(time.monotonic()), Plan))
        rig.uplink.end()
        await task
    assert rig.adds_up


async def test_nothing_is_lost_when_the_stream_breaks_again_and_again() -> None:
    async with serving(Server(MODEL, cut_at=7)) as server:
        rig = Rig(plain(server))
        task = asyncio.create_task(rig.uplink.run())
        frames = []
        for seq in range(60):
            frames.append(rig.code(seq))
            await asyncio.sleep(0.001)  # frames come while streams break
        rig.uplink.end()
        await task
    assert sorted(server.stored) == frames
    assert server.cuts >= 5
    assert rig.ledger.acked == 60
    assert rig.ledger.connections == server.streams
    assert rig.adds_up


async def test_a_server_that_comes_late_gets_everything(tmp_path: Path) -> None:
    link = Link(f"127.0.0.1:{free_port()}", plaintext=True)
    spool = SqliteSpool(tmp_path / "gate.sqlite", "gate", max_bytes=1 << 20)
    rig = Rig(link, spool=spool)
    task = asyncio.create_task(rig.uplink.run())
    frames = [rig.code(seq) for seq in range(10)]
    await until(lambda: rig.uplink.trouble)
    assert isinstance(rig.uplink.trouble, Unreachable)
    assert "refused" in str(rig.uplink.trouble)
    async with serving(Server(MODEL), address=link.server) as server:
        rig.uplink.end()
        await task
    assert list(server.stored) == frames
    assert rig.uplink.trouble is None
    spool.close()


async def test_the_next_boot_delivers_what_the_last_one_left(tmp_path: Path) -> None:
    spool = SqliteSpool(tmp_path / "gate.sqlite", "gate", max_bytes=1 << 20)
    first = Rig(Link(f"127.0.0.1:{free_port()}", plaintext=True), spool=spool)
    frames = [first.code(seq) for seq in range(5)]
    first.uplink.stop()
    await first.uplink.run()
    frames.append(first.code(5))  # coded after the uplink ended
    await first.uplink.spool_rest()
    assert first.adds_up
    assert first.ledger.waiting(spool.status().frames) == 6

    async with serving(Server(MODEL)) as server:
        second = Rig(plain(server), spool=spool, boot="b2")
        frames.append(second.code(0))
        second.uplink.end()
        await second.uplink.run()
    assert list(server.stored) == frames
    assert (second.ledger.acked, second.ledger.earlier_acked) == (1, 6)
    assert second.adds_up
    spool.close()


async def test_a_refused_layer_is_named_and_leaves_the_spool() -> None:
    async with serving(Server(MODEL)) as server:
        rig = Rig(plain(server))
        rig.code(0)
        rig.ledger.captured += 1
        rig.ledger.on_coded(1, 0.0, 3)
        rig.uplink.frame(1, 1.0, b"bad")
        rig.uplink.end()
        await rig.uplink.run()
    assert (rig.ledger.acked, rig.ledger.refused) == (1, 1)
    assert rig.adds_up


async def test_a_full_spool_expires_and_the_ledger_knows() -> None:
    spool = MemorySpool("gate", max_bytes=500)
    rig = Rig(Link(f"127.0.0.1:{free_port()}", plaintext=True), spool=spool)
    for seq in range(20):
        rig.code(seq)
    rig.uplink.stop()
    await rig.uplink.run()
    assert rig.ledger.expired["spool_full"] > 0
    assert rig.adds_up


async def test_a_chain_does_not_go_on_after_its_last_layer_expired() -> None:
    """Nothing came for long: the next frame must not lean on one that is gone."""
    broken: list[int] = []
    clock = [0.0]
    spool = MemorySpool("gate", max_bytes=1 << 20, max_age=100.0, clock=lambda: clock[0])
    rig = Rig(Link(f"127.0.0.1:{free_port()}", plaintext=True), spool=spool)
    rig.uplink = Uplink(
        rig.session, rig.uplink._link, spool, rig.ledger, break_off=lambda: broken.append(1)
    )

    def frame(seq: int, data: bytes) -> None:
        rig.ledger.captured += 1
        rig.ledger.on_coded(seq, 0.0, len(data))
        rig.uplink.frame(seq, 1e9, data)

    task = asyncio.create_task(rig.uplink.run())
    first = pack(HEADER, b"first")
    frame(0, first)
    await until(lambda: spool.status().frames == 1)
    clock[0] = 200.0
    rig.uplink.expire()
    await until(lambda: rig.ledger.expired == {"too_old": 1})
    assert broken == [1]
    frame(1, pack_inter(Kind.MACHINE_INTER, 100, link(first), b"second"))  # was coded already
    anew = pack(HEADER, b"anew")
    frame(2, anew)
    await until(lambda: spool.status().frames == 1)
    assert spool.peek(0, 9)[0][0].data == anew
    assert rig.ledger.expired == {"too_old": 1, "chain_broken": 1}
    rig.uplink.begin_chain()  # its file is gone, say
    frame(3, pack_inter(Kind.MACHINE_INTER, 100, link(anew), b"fourth"))
    rig.uplink.stop()
    await task
    assert rig.ledger.expired == {"too_old": 1, "chain_broken": 2}
    assert rig.adds_up


async def test_a_spool_that_cannot_be_read_is_read_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge.uplink, "_READ_AGAIN_S", 0.02)
    failures = list(range(3))

    class Unreadable(MemorySpool):
        def peek(self, cursor: int, limit: int) -> tuple[tuple[Layer, ...], int]:
            if failures:
                failures.pop()
                raise StoreFull("disk I/O error")
            return super().peek(cursor, limit)

    async with serving(Server(MODEL)) as server:
        rig = Rig(plain(server), spool=Unreadable("gate", max_bytes=1 << 20))
        frames = [rig.code(seq) for seq in range(20)]
        rig.uplink.end()
        await rig.uplink.run()
    assert not failures
    assert list(server.stored) == frames
    assert rig.adds_up


async def test_a_full_disk_loses_frames_but_not_the_camera() -> None:
    class Full(MemorySpool):
        def append(self, layers):
            raise StoreFull("no room left")

    rig = Rig(Link(f"127.0.0.1:{free_port()}", plaintext=True), spool=Full("gate", max_bytes=1))
    rig.code(0)
    rig.uplink.stop()
    await rig.uplink.run()
    assert rig.ledger.expired == {"disk_full": 1}
    assert rig.adds_up


@pytest.mark.parametrize(("token", "accepted"), [("right", True), ("wrong", False), (None, False)])
async def test_tokens(token: str | None, accepted: bool) -> None:
    async with serving(Server(MODEL, token="right")) as server:
        rig = Rig(Link(server.address, token=token, plaintext=True))
        rig.code(0)
        rig.uplink.end()
        if accepted:
            await rig.uplink.run()
        else:
            with pytest.raises(Unauthenticated, match="this token is not known here"):
                await rig.uplink.run()
    assert len(server.stored) == accepted
    assert rig.adds_up


async def test_another_model_is_final() -> None:
    async with serving(Server(0x4321)) as server:
        rig = Rig(plain(server))
        rig.uplink.end()
        with pytest.raises(ModelMismatch, match=r"1234.*4321"):
            await rig.uplink.run()


async def test_a_server_that_changes_its_mind_does_not_end_the_camera() -> None:
    """A camera that was taken in once goes on capturing and spooling, and tries again."""
    async with serving(Server(MODEL, cut_at=1)) as server:
        rig = Rig(plain(server))
        task = asyncio.create_task(rig.uplink.run())
        await until(lambda: rig.ledger.connections)
        server.model_id = 0x4321
        rig.code(0)  # it cuts the stream
        await until(lambda: isinstance(rig.uplink.trouble, ModelMismatch))
        assert not task.done()
        rig.uplink.stop()
        await task


async def test_trouble_is_reported_once(capsys: pytest.CaptureFixture[str]) -> None:
    rig = Rig(Link(f"127.0.0.1:{free_port()}", plaintext=True))
    task = asyncio.create_task(rig.uplink.run())
    await asyncio.sleep(0.3)  # several tries, as the back-off is at most 50 ms
    rig.uplink.stop()
    await task
    assert capsys.readouterr().out.count("trying again") == 1


async def test_cancelling_lets_go_of_the_connection() -> None:
    async with serving(Server(MODEL)) as server:
        rig = Rig(plain(server))
        task = asyncio.create_task(rig.uplink.run())
        await until(lambda: rig.ledger.connections)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


# ---------------------------------------------------------------- TLS


async def talk_over_tls(folder: Path, trusted: Path | None, host: str = "127.0.0.1") -> Rig:
    """One frame to a server with a certificate from `folder`."""
    files = make_certificates(folder, [host], datetime.datetime.now(datetime.UTC))
    pair = (files.key.read_bytes(), files.certificate.read_bytes())
    async with serving(Server(MODEL), grpc.ssl_server_credentials([pair])) as server:
        rig = Rig(Link(server.address, (trusted or files.authority).read_bytes()))
        rig.code(0)
        rig.uplink.end()
        await rig.uplink.run()
    return rig


async def test_tls(tmp_path: Path) -> None:
    rig = await talk_over_tls(tmp_path, None)
    assert rig.ledger.acked == 1


async def test_a_certificate_of_another_authority(tmp_path: Path) -> None:
    now = datetime.datetime.now(datetime.UTC)
    other = make_certificates(tmp_path / "other", ["127.0.0.1"], now)
    with pytest.raises(Unauthenticated, match="not signed by the authority given"):
        await talk_over_tls(tmp_path / "own", other.authority)


async def test_a_certificate_for_another_host(tmp_path: Path) -> None:
    with pytest.raises(Unauthenticated, match="for another host"):
        await talk_over_tls(tmp_path, None, host="10.1.2.3")


async def trouble_of(link: Link) -> GlimpseError:
    rig = Rig(link)
    task = asyncio.create_task(rig.uplink.run())
    await until(lambda: rig.uplink.trouble or task.done())
    rig.uplink.stop()
    await task
    assert rig.uplink.trouble is not None
    return rig.uplink.trouble


@pytest.mark.parametrize(("days", "fault"), [(-400, "has expired"), (2, "is not valid yet")])
async def test_a_certificate_out_of_its_time(tmp_path: Path, days: int, fault: str) -> None:
    """It is renewed one day, or the clock set right: the camera goes on trying."""
    then = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    files = make_certificates(tmp_path, ["127.0.0.1"], then)
    pair = (files.key.read_bytes(), files.certificate.read_bytes())
    async with serving(Server(MODEL), grpc.ssl_server_credentials([pair])) as server:
        trouble = await trouble_of(Link(server.address, files.authority.read_bytes()))
    assert isinstance(trouble, Unreachable)
    assert fault in str(trouble)
    assert "clock" in str(trouble)


async def test_tls_to_a_plaintext_server(tmp_path: Path) -> None:
    files = make_certificates(tmp_path, ["127.0.0.1"], datetime.datetime.now(datetime.UTC))
    async with serving(Server(MODEL)) as server:
        trouble = await trouble_of(Link(server.address, files.authority.read_bytes()))
    assert "does not speak TLS" in str(trouble)


async def test_plaintext_to_a_tls_server(tmp_path: Path) -> None:
    files = make_certificates(tmp_path, ["127.0.0.1"], datetime.datetime.now(datetime.UTC))
    pair = (files.key.read_bytes(), files.certificate.read_bytes())
    async with serving(Server(MODEL), grpc.ssl_server_credentials([pair])) as server:
        trouble = await trouble_of(plain(server))
    assert isinstance(trouble, Unreachable)


def free_port() -> int:
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port
