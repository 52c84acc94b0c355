"""The whole server: start, metrics, health, shutdown in order, and what stops it from starting."""

from __future__ import annotations

import asyncio
import shutil
import socket
import threading
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from cloud.access.identity import Identities
from cloud.detector import LayerDetector
from cloud.folder import DEFAULT_WEIGHTS, data_files
from cloud.server import SERVICES, prepare, running
from cloud.store.sqlite import SqliteFrameStore
from cloud.store.writer import StoreWriter
from common.errors import BadSettings, ModelMismatch
from common.types import FrameId, Layer
from glimpse.v1 import detection_pb2, ingest_pb2
from tests.cloud.serving import Endpoint, raw_channel, serving, settings, until
from tests.cloud.test_ingest import held


class TestFirstStart:
    def test_it_makes_certificates_and_a_viewers_token_once(self, tmp_path: Path) -> None:
        chosen = settings(tmp_path)
        prepare(chosen)
        _, tokens, certificates = data_files(tmp_path)
        secret = (tmp_path / "viewer.token").read_text().strip()
        assert Identities(tokens).of_token(secret).role == "viewer"
        before = certificates.key.read_bytes()
        prepare(chosen)
        assert certificates.key.read_bytes() == before
        assert (tmp_path / "viewer.token").read_text().strip() == secret
        assert (tmp_path / "viewer.token").stat().st_mode & 0o777 == 0o600

    def test_a_token_made_before_the_first_start_is_no_reason_to_have_no_viewer(
        self, tmp_path: Path
    ) -> None:
        gate = Identities(data_files(tmp_path)[1]).add("camera", "gate")
        prepare(settings(tmp_path))
        identities = Identities(data_files(tmp_path)[1])
        assert identities.of_token(gate).name == "gate"
        assert (tmp_path / "viewer.token").exists()

    def test_plaintext_needs_no_certificates(self, tmp_path: Path) -> None:
        prepare(settings(tmp_path, insecure=True))
        assert not data_files(tmp_path)[2].exist()


class TestTransport:
    async def test_plaintext_only_when_asked_for(self, tmp_path: Path, layers: list[bytes]) -> None:
        async with serving(tmp_path) as served:
            address = f"127.0.0.1:{served.running.port}"
            async with raw_channel(Endpoint(address, None, "", insecure=True)) as channel:
                call: Any = channel.unary_unary("/glimpse.v1.DetectionService/Detect")
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await call(b"", timeout=5)
                assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        async with serving(tmp_path, insecure=True) as served, served.camera() as camera:
            await camera.send((0, layers[0]))
            await camera.acks(1)

    @pytest.mark.parametrize(("listen", "warns"), [("127.0.0.1:0", False), ("0.0.0.0:0", True)])
    async def test_plaintext_that_others_can_read_is_warned_of(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], listen: str, warns: bool
    ) -> None:
        async with serving(tmp_path, insecure=True, listen=listen):
            assert ("plaintext: others can read" in capsys.readouterr().out) == warns

    async def test_a_client_that_trusts_another_authority_stays_out(self, tmp_path: Path) -> None:
        prepare(settings(tmp_path / "other"))
        async with serving(tmp_path / "one") as served:
            other = data_files(tmp_path / "other")[2].authority
            endpoint = Endpoint(f"127.0.0.1:{served.running.port}", other, "")
            async with raw_channel(endpoint) as channel:
                call: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await call(b"", timeout=5)
                assert "CERTIFICATE_VERIFY_FAILED" in str(refused.value.details())


class TestHealth:
    async def test_serving_then_not_serving(
        self, tmp_path: Path, layers: list[bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While the detector holds a layer the drain waits, and the health service tells."""
        async with asyncio.TaskGroup() as group:
            stop = asyncio.Event()
            ready: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

            async def serve() -> None:
                async with serving(tmp_path) as served:
                    ready.set_result(served)
                    await stop.wait()

            server = group.create_task(serve())
            served = await ready
            async with raw_channel(served.endpoint("")) as channel, served.camera() as camera:
                stub = health_pb2_grpc.HealthStub(channel)
                for service in SERVICES:
                    reply = await stub.Check(health_pb2.HealthCheckRequest(service=service))
                    assert reply.status == health_pb2.HealthCheckResponse.SERVING
                watching = stub.Watch(health_pb2.HealthCheckRequest())
                assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING
                with held(monkeypatch, LayerDetector, "detect_read") as gate:
                    await camera.send((0, layers[0]))
                    await camera.acks(1)
                    stop.set()
                    reply = await asyncio.wait_for(watching.read(), 5)
                    assert reply.status == health_pb2.HealthCheckResponse.NOT_SERVING
                    watching.cancel()
                    gate.set()
                goodbye = await camera.goodbye()
                assert goodbye.code == ingest_pb2.GOODBYE_CODE_SHUTTING_DOWN
                assert camera.results[0].has_boxes
            await server


class TestDrain:
    async def test_cameras_settle_what_they_sent_and_are_told_to_come_back(
        self, tmp_path: Path, layers: list[bytes]
    ) -> None:
        async with serving(tmp_path) as served, served.camera() as camera:
            await camera.send(*enumerate(layers))
            await camera.acks(1)
            served.running.ingest.drain()
            goodbye = await camera.goodbye()
            assert goodbye.code == ingest_pb2.GOODBYE_CODE_SHUTTING_DOWN
            assert goodbye.retry_after_ms == 1000
            assert camera.acked == len(layers)
            assert all(camera.results[seq].has_boxes for seq in range(len(layers)))
            async with served.camera(hello=False) as late:  # came in between the two steps
                goodbye = await late.goodbye()
                assert goodbye.code == ingest_pb2.GOODBYE_CODE_SHUTTING_DOWN

    async def test_stop_in_mid_stream(self, tmp_path: Path, layers: list[bytes]) -> None:
        acked: set[int] = set()
        async with serving(tmp_path) as served:
            stack = served.camera()
            camera = await stack.__aenter__()
            for seq in range(30):
                await camera.send((seq, layers[seq % len(layers)]))
            await camera.acks(5)
        goodbye = await camera.goodbye()
        assert goodbye.code == ingest_pb2.GOODBYE_CODE_SHUTTING_DOWN
        acked = set(range(camera.acked))
        await stack.__aexit__(None, None, None)
        assert acked <= served.stored().keys()

    async def test_what_was_not_detected_is_at_the_next_start(
        self, tmp_path: Path, layers: list[bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with held(monkeypatch, LayerDetector, "detect_read") as gate:
            async with serving(tmp_path, drain_s=0) as served:
                stack = served.camera()
                camera = await stack.__aenter__()
                await camera.send(*enumerate(layers))
                await camera.acks(len(layers))
            assert all(frame.boxes is None for frame in served.stored().values())
            await stack.__aexit__(None, None, None)
            gate.set()
        async with serving(tmp_path) as served:
            await until(lambda: all(f.boxes is not None for f in served.stored().values()))
            assert len(served.stored()) == len(layers)
            assert all(f.model for f in served.stored().values())
            assert served.count("glimpse_capture_to_boxes_seconds_count") == 0  # not of now
            last = served.count("glimpse_last_layer_timestamp_seconds", camera="gate")
            assert last == pytest.approx(1.0, abs=0.1)  # as the camera that was there before said

    async def test_a_long_backlog_leaves_room_for_live_layers(
        self, tmp_path: Path, layers: list[bytes], corrupt: bytes
    ) -> None:
        prepare(settings(tmp_path))
        store = SqliteFrameStore(data_files(tmp_path)[0])
        backlog = [
            Layer(FrameId("gate", "b0", n), 1.0, corrupt if n % 5 == 0 else layers[n % 6])
            for n in range(60)
        ]
        store.put(backlog)
        store.close()
        async with serving(tmp_path) as served, served.camera() as camera:
            await camera.send((1000, layers[0]))
            await camera.boxes([1000])
            await until(lambda: all(f.boxes is not None for f in served.stored().values()))
            assert served.count("glimpse_detect_batch_size_sum") == 61

    async def test_boxes_that_cannot_be_kept_do_not_make_it_spin(
        self, tmp_path: Path, layers: list[bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        prepare(settings(tmp_path))
        store = SqliteFrameStore(data_files(tmp_path)[0])
        store.put([Layer(FrameId("gate", "b0", n), 1.0, layers[0]) for n in range(5)])
        store.close()

        def broken(*_: Any) -> Any:
            raise RuntimeError("out of memory")

        monkeypatch.setattr(LayerDetector, "detect_read", broken)
        async with serving(tmp_path) as served:
            await until(lambda: served.count("glimpse_detect_failures_total") == 1)
            await asyncio.sleep(0.1)  # for a second try that should not come
            assert served.count("glimpse_detect_failures_total") == 1
            assert all(frame.boxes is None for frame in served.stored().values())

    async def test_nothing_is_left_of_a_server(self, tmp_path: Path, layers: list[bytes]) -> None:
        before = set(asyncio.all_tasks())
        threads = {t.name for t in threading.enumerate()}
        for _ in range(3):
            async with (
                serving(tmp_path, metrics_listen="127.0.0.1:0") as served,
                served.camera() as camera,
                served.viewer() as viewer,
            ):
                viewer.watch(detection_pb2.WatchRequest())
                await camera.send((0, layers[0]))
                await camera.boxes([0])
        await until(lambda: set(asyncio.all_tasks()) <= before)
        assert not [
            t for t in threading.enumerate() if t.name not in threads and "http" in t.name.lower()
        ]


class TestMetricsPage:
    async def test_it_shows_what_happened(self, tmp_path: Path, layers: list[bytes]) -> None:
        async with serving(tmp_path, metrics_listen="127.0.0.1:0") as served:
            async with served.camera() as camera:
                await camera.send((0, layers[0]))
                await camera.boxes([0])
                url = f"http://127.0.0.1:{served.running.metrics_port}/metrics"
                page = await asyncio.to_thread(self._get, url)
            assert 'glimpse_layers_total{camera="gate",outcome="stored"} 1.0' in page
            assert "glimpse_store_commit_seconds_bucket" in page

    async def test_two_servers_do_not_count_together(
        self, tmp_path: Path, layers: list[bytes]
    ) -> None:
        async with serving(tmp_path / "a") as a, serving(tmp_path / "b") as b:
            async with a.camera() as camera:
                await camera.send((0, layers[0]))
                await camera.acks(1)
            assert a.count("glimpse_layers_total", camera="gate", outcome="stored") == 1
            assert b.count("glimpse_layers_total", camera="gate", outcome="stored") == 0

    @staticmethod
    def _get(url: str) -> str:
        with urllib.request.urlopen(url, timeout=5) as reply:
            page: str = reply.read().decode()
            return page


class TestItDoesNotStart:
    @staticmethod
    async def start(data: Path, **changes: Any) -> None:
        chosen = settings(data, **changes)
        prepare(chosen)
        async with running(chosen):
            pass

    @pytest.mark.parametrize("insecure", [False, True])
    async def test_on_a_port_in_use(self, tmp_path: Path, insecure: bool) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            with pytest.raises(BadSettings, match=address):
                await self.start(tmp_path, listen=address, insecure=insecure)

    async def test_on_the_port_of_another_server(self, tmp_path: Path) -> None:
        async with serving(tmp_path / "a") as served:
            address = f"127.0.0.1:{served.running.port}"
            with pytest.raises(BadSettings, match=address):
                await self.start(tmp_path / "b", listen=address)

    async def test_on_a_metrics_port_in_use(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            with pytest.raises(BadSettings, match=address):
                await self.start(tmp_path, metrics_listen=address)

    @pytest.mark.parametrize("listen", ["50051", "localhost:port", "256.0.0.1:0", "[::1:0"])
    async def test_on_what_is_no_address(self, tmp_path: Path, listen: str) -> None:
        with pytest.raises(BadSettings, match="listen"):
            await self.start(tmp_path, listen=listen)

    async def test_with_weights_that_are_not_the_manifests(self, tmp_path: Path) -> None:
        folder = tmp_path / "weights"
        shutil.copytree(DEFAULT_WEIGHTS, folder)
        data = bytearray((folder / "detector.safetensors").read_bytes())
        data[-1] ^= 1
        (folder / "detector.safetensors").write_bytes(data)
        with pytest.raises(ModelMismatch, match=r"detector\.safetensors"):
            await self.start(tmp_path / "data", weights=folder)

    async def test_without_its_certificates(self, tmp_path: Path) -> None:
        with pytest.raises(BadSettings, match=r"server\.key"):
            async with running(settings(tmp_path)):
                pass

    async def test_with_a_tokens_file_that_it_cannot_read(self, tmp_path: Path) -> None:
        prepare(settings(tmp_path))
        data_files(tmp_path)[1].write_text("camera gate\n")
        with pytest.raises(BadSettings, match="line 1"):
            async with running(settings(tmp_path)):
                pass


async def test_a_worker_that_dies_takes_the_server_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def die(*_: Any) -> None:
        await asyncio.sleep(0.05)
        raise RuntimeError("a bug")

    monkeypatch.setattr(StoreWriter, "run", die)
    with pytest.raises(ExceptionGroup) as died:
        async with serving(tmp_path):
            await asyncio.sleep(10)
    assert died.group_contains(RuntimeError, match="a bug")


async def test_a_token_is_added_and_withdrawn_without_a_restart(
    tmp_path: Path, layers: list[bytes]
) -> None:
    async with serving(tmp_path) as served:
        token = served.token("camera", "yard")
        async with served.camera("yard", token=token):
            pass
        tokens = data_files(tmp_path)[1]
        kept = [line for line in tokens.read_text().splitlines() if "yard" not in line]
        tokens.write_text("\n".join(kept) + "\n")
        async with served.camera("yard", token=token, hello=False) as camera:
            assert await camera.status() is grpc.StatusCode.UNAUTHENTICATED
