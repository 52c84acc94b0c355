"""Cameras that show a certificate instead of a token."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import grpc
import pytest

from cloud.access.certificates import CertificateFiles, make_camera_certificate, make_certificates
from cloud.access.identity import Identities
from cloud.access.shown import read_certificate
from cloud.folder import data_files
from cloud.server import prepare, running
from common.errors import BadSettings
from glimpse.v1 import detection_pb2, detection_pb2_grpc, ingest_pb2
from tests.cloud.self_signed import self_signed
from tests.cloud.serving import Viewer, raw_channel, serving, settings, until

NOW = datetime.datetime.now(datetime.UTC)
MUTUAL: dict[str, Any] = {"mtls_listen": "127.0.0.1:0"}


def own(data: Path, camera: str = "gate", **age: float) -> CertificateFiles:
    return make_camera_certificate(data / "tls", camera, NOW - datetime.timedelta(**age))


async def test_it_sends_as_the_camera_that_it_names(tmp_path: Path, layers: list[bytes]) -> None:
    gate = own(tmp_path)
    async with serving(tmp_path, **MUTUAL) as served:
        async with served.camera("gate", endpoint=served.mutual(gate)) as camera:
            await camera.send((0, layers[0]))
            await camera.acks(1)
            assert served.stored()[0].frame.camera == "gate"
            label = {"certificate": "camera gate"}
            left = served.count("glimpse_certificate_expiry_seconds", **label)
            assert left == pytest.approx(397 * 86_400, rel=0.01)
        async with served.camera("yard", endpoint=served.mutual(gate), hello=False) as camera:
            await camera.hello()
            goodbye = (await camera.read()).goodbye
            assert goodbye.code == ingest_pb2.GOODBYE_CODE_PERMISSION_DENIED


async def test_it_does_not_look(tmp_path: Path) -> None:
    gate = own(tmp_path)
    async with serving(tmp_path, **MUTUAL) as served:
        endpoint = served.mutual(gate)
        async with raw_channel(endpoint) as channel:
            viewer = Viewer(detection_pb2_grpc.DetectionServiceStub(channel), endpoint.metadata)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await viewer.detect(detection_pb2.DetectRequest())
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_token_goes_first(tmp_path: Path) -> None:
    gate = own(tmp_path)
    async with serving(tmp_path, **MUTUAL) as served:
        yard = served.mutual(gate, served.token("camera", "yard"))
        async with served.camera("yard", endpoint=yard):
            pass
        wrong = served.mutual(gate, "guess")
        async with served.camera("gate", endpoint=wrong, hello=False) as camera:
            assert await camera.status() is grpc.StatusCode.UNAUTHENTICATED


async def test_the_other_port_asks_for_none_and_believes_none(tmp_path: Path) -> None:
    gate = own(tmp_path)
    async with serving(tmp_path, **MUTUAL) as served:
        endpoint = served.endpoint("")
        shown = type(endpoint)(endpoint.server, endpoint.authority, "", own=gate)
        async with served.camera("gate", endpoint=shown, hello=False) as camera:
            assert await camera.status() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("kind", ["none", "stranger's", "expired", "server's"])
async def test_the_handshake_fails_without_a_good_one(tmp_path: Path, kind: str) -> None:
    own(tmp_path)
    other = tmp_path / "other"
    shown = {
        "none": lambda: None,
        "stranger's": lambda: own(other),
        "expired": lambda: own(tmp_path, days=400),
        "server's": lambda: make_certificates(other, ["gate"], NOW),
    }[kind]()
    async with (
        serving(tmp_path, **MUTUAL) as served,
        served.camera("gate", endpoint=served.mutual(shown), hello=False) as camera,
    ):
        assert await camera.status() is grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_of_no_camera(tmp_path: Path) -> None:
    """Signed by whom the server trusts, and yet nobody's here."""
    files = CertificateFiles(tmp_path / "trusted", tmp_path / "trusted", tmp_path / "key")
    for path, pem in zip((files.certificate, files.key), self_signed("Gate 7"), strict=True):
        path.write_bytes(pem)
    async with (
        serving(tmp_path, cameras_ca=files.authority, **MUTUAL) as served,
        served.camera("gate", endpoint=served.mutual(files), hello=False) as camera,
    ):
        assert await camera.status() is grpc.StatusCode.UNAUTHENTICATED
        assert "this one names Gate 7" in await camera.call.details()


async def test_one_is_withdrawn_under_a_live_server(tmp_path: Path) -> None:
    gate = own(tmp_path)
    async with serving(tmp_path, **MUTUAL) as served:
        async with served.camera("gate", endpoint=served.mutual(gate)):
            pass
        tokens = data_files(tmp_path)[1]
        Identities(tokens).withdraw(read_certificate(gate.certificate.read_bytes()))
        async with served.camera("gate", endpoint=served.mutual(gate), hello=False) as camera:
            assert await camera.status() is grpc.StatusCode.UNAUTHENTICATED
            assert "withdrawn" in (await camera.call.details())
        async with served.camera("gate", endpoint=served.mutual(own(tmp_path))):
            await until(lambda: served.count("glimpse_sessions") == 1)


async def test_it_does_not_start_without_whom_to_trust(tmp_path: Path) -> None:
    chosen = settings(tmp_path, **MUTUAL)
    prepare(chosen)
    with pytest.raises(BadSettings, match="cameras-ca"):
        async with running(chosen):
            pass
    own(tmp_path)
    for address in ("here", "127.0.0.1:x"):
        with pytest.raises(BadSettings, match=address):
            async with running(settings(tmp_path, mtls_listen=address)):
                pass
