"""Certificates are swapped under a live server; half of a swap changes nothing."""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from cloud.access.certificates import (
    CertificateFiles,
    cameras_authority,
    make_camera_certificate,
    make_certificates,
)
from cloud.access.credentials import ServerCredentials
from cloud.folder import data_files
from common.errors import BadSettings
from tests.cloud.serving import Endpoint, Served, raw_channel, serving

NOW = datetime.datetime.now(datetime.UTC)


def make(folder: Path, **age: float) -> CertificateFiles:
    return make_certificates(folder, ["127.0.0.1"], NOW - datetime.timedelta(**age))


async def reaches(endpoint: Endpoint) -> bool:
    """Over a connection of its own."""
    async with raw_channel(endpoint) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            await stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
        except grpc.aio.AioRpcError as error:
            return error.code() is not grpc.StatusCode.UNAVAILABLE
        return True


def trusting(served: Served, files: CertificateFiles) -> Endpoint:
    return replace(served.endpoint(""), authority=files.authority)


async def test_swapped_under_a_live_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh = make(tmp_path / "fresh")
    async with serving(tmp_path / "data") as served:
        shown = data_files(tmp_path / "data")[2]
        before = served.endpoint("")
        old = tmp_path / "old.pem"
        old.write_bytes(shown.authority.read_bytes())
        before = replace(before, authority=old)
        async with served.camera() as camera:
            assert await reaches(before)
            assert not await reaches(trusting(served, fresh))

            shown.key.write_bytes(fresh.key.read_bytes())  # half of it
            assert await reaches(before)
            assert await reaches(before)
            assert capsys.readouterr().out.count("certificates are not taken") == 1
            shown.certificate.write_bytes(b"-----BEGIN CERTIFICATE-----")
            assert await reaches(before)
            shown.certificate.write_bytes(fresh.certificate.read_bytes())
            assert await reaches(trusting(served, fresh))
            assert not await reaches(before)

            shown.certificate.unlink()
            assert await reaches(trusting(served, fresh))
            await camera.send((0, b"no layer"))  # its connection stands
            await camera.acks(1)


async def test_the_end_of_what_is_shown_is_told(tmp_path: Path) -> None:
    day = 86_400.0
    async with serving(tmp_path / "data") as served:
        shown = data_files(tmp_path / "data")[2]

        def left() -> float:
            return served.count("glimpse_certificate_expiry_seconds", certificate="server") / day

        assert left() == pytest.approx(397, abs=0.1)
        make(shown.authority.parent, days=390)
        assert await reaches(served.endpoint(""))
        assert left() == pytest.approx(7, abs=0.1)


async def test_those_who_sign_for_cameras_are_swapped_too(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    first, second = (make_camera_certificate(folder, "gate", NOW) for folder in (one, two))
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(cameras_authority(one).read_bytes())
    async with serving(tmp_path / "data", mtls_listen="127.0.0.1:0", cameras_ca=trusted) as served:
        assert await reaches(served.mutual(first))
        assert not await reaches(served.mutual(second))
        trusted.write_bytes(cameras_authority(two).read_bytes())
        assert await reaches(served.mutual(second))
        assert not await reaches(served.mutual(first))
        trusted.write_bytes(b"".join(cameras_authority(f).read_bytes() for f in (one, two)))
        assert await reaches(served.mutual(second))
        assert await reaches(served.mutual(first))


class TestFilesThatMakeNoServer:
    def test_none(self, tmp_path: Path) -> None:
        with pytest.raises(BadSettings, match=r"server\.key"):
            ServerCredentials(CertificateFiles.in_folder(tmp_path))

    def test_another_ones_key(self, tmp_path: Path) -> None:
        files = make(tmp_path / "a")
        files.key.write_bytes(make(tmp_path / "b").key.read_bytes())
        with pytest.raises(BadSettings, match="is not the key of"):
            ServerCredentials(files)

    @pytest.mark.parametrize("field", ["key", "certificate"])
    @pytest.mark.parametrize("content", [b"", b"hello", b"-----BEGIN PRIVATE KEY-----"])
    def test_what_is_no_pem(self, tmp_path: Path, field: str, content: bytes) -> None:
        files = make(tmp_path)
        getattr(files, field).write_bytes(content)
        with pytest.raises(BadSettings, match="in PEM"):
            ServerCredentials(files)

    def test_no_authority_of_cameras(self, tmp_path: Path) -> None:
        files = make(tmp_path)
        with pytest.raises(BadSettings, match="cameras-ca"):
            ServerCredentials(files, cameras_authority(tmp_path))
        with pytest.raises(BadSettings, match="not a certificate"):
            ServerCredentials(files, files.key)
