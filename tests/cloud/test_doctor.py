"""`glimpse-cloud doctor`, before a server, beside one, and with what can be wrong."""

from __future__ import annotations

import asyncio
import datetime
import json
import re
import shutil
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from cloud.access.certificates import make_camera_certificate, make_certificates
from cloud.doctor import examine
from cloud.folder import DEFAULT_WEIGHTS, data_files
from cloud.main import app
from cloud.server import prepare
from cloud.settings import CloudSettings
from cloud.store.sqlite import SqliteFrameStore
from common.findings import Finding
from common.types import FrameId, Layer
from tests.cloud.serving import serving, settings
from tests.human import tiny_human
from tests.weights import tiny_weights

NOW = datetime.datetime.now(datetime.UTC)
LONG_AGO = NOW - datetime.timedelta(days=400)


def found(chosen: CloudSettings, about: str) -> list[Finding]:
    return [finding for finding in examine(chosen) if finding.about == about]


def one(chosen: CloudSettings, about: str) -> Finding:
    (finding,) = found(chosen, about)
    return finding


def tls(data: Path) -> Path:
    return data_files(data)[2].authority.parent


def stored(data: Path, *layers: Layer) -> None:
    store = SqliteFrameStore(data_files(data)[0])
    store.put(layers)
    store.close()


def test_before_the_first_start(tmp_path: Path) -> None:
    seen = list(examine(settings(tmp_path / "data")))
    assert [finding.about for finding in seen if finding.level != "ok"] == ["tls"]
    assert not (tmp_path / "data").exists()  # it only looks


async def test_beside_a_server_that_runs(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        here = f"127.0.0.1:{served.running.port}"
        seen = await asyncio.to_thread(lambda: list(examine(settings(tmp_path, listen=here))))
    assert [finding for finding in seen if finding.level != "ok"] == []
    says = {finding.about: finding.says for finding in seen}
    assert says["server"] == f"serves on {here}"
    assert says["port"] == f"listen {here}: in use, as it should be"


class TestPorts:
    def test_another_program_has_it(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            finding = one(settings(tmp_path, listen=f"127.0.0.1:{port}"), "port")
        assert finding.level == "fail"
        assert "in use" in finding.says
        assert f"ss -ltnp 'sport = :{port}'" in finding.do

    def test_not_an_address_of_this_machine(self, tmp_path: Path) -> None:
        finding = one(settings(tmp_path, listen="192.0.2.7:50051"), "port")
        assert finding.level == "fail"
        assert "192.0.2.7:50051" in finding.says


class TestCertificates:
    def test_expired(self, tmp_path: Path) -> None:
        make_certificates(tls(tmp_path), ["cloud.example.org"], LONG_AGO)
        finding = one(settings(tmp_path), "tls")
        assert finding.level == "fail"
        assert "cloud.example.org" in finding.says
        assert "expired" in finding.says

    def test_about_to_expire(self, tmp_path: Path) -> None:
        made = NOW - datetime.timedelta(days=390)
        make_certificates(tls(tmp_path), ["localhost"], made)
        assert one(settings(tmp_path), "tls").level == "warn"
        assert one(settings(tmp_path, certificate_warning_days=1), "tls").level == "ok"

    def test_another_ones_key(self, tmp_path: Path) -> None:
        make_certificates(tls(tmp_path), ["localhost"], NOW)
        other = make_certificates(tmp_path / "other", ["localhost"], NOW)
        shutil.copy(other.key, tls(tmp_path) / "server.key")
        finding = one(settings(tmp_path), "tls")
        assert finding.level == "fail"
        assert "is not the key of" in finding.says

    def test_a_cameras(self, tmp_path: Path) -> None:
        make_certificates(tls(tmp_path), ["localhost"], NOW)
        make_camera_certificate(tls(tmp_path), "gate", NOW)
        make_camera_certificate(tls(tmp_path), "yard", LONG_AGO)
        finding = one(settings(tmp_path), "camera's tls")
        assert finding.level == "fail"
        assert "certificates --camera yard" in finding.do
        assert one(settings(tmp_path), "cameras' ca").level == "ok"

    def test_nobody_signs_cameras_certificates(self, tmp_path: Path) -> None:
        make_certificates(tls(tmp_path), ["localhost"], NOW)
        finding = one(settings(tmp_path, mtls_listen="127.0.0.1:0"), "cameras' ca")
        assert finding.level == "fail"


def test_secrets_that_others_may_read(tmp_path: Path) -> None:
    prepare(settings(tmp_path))
    assert one(settings(tmp_path), "secrets").level == "ok"
    key = data_files(tmp_path)[2].key
    key.chmod(0o644)
    finding = one(settings(tmp_path), "secrets")
    assert finding.level == "warn"
    assert finding.do == f"chmod 600 {key}"


def test_weights_that_are_damaged(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(DEFAULT_WEIGHTS, tmp_path / "weights"))
    with (folder / "detector.safetensors").open("r+b") as file:
        file.seek(5000)
        file.write(b"damage")
    finding = one(settings(tmp_path, weights=folder), "weights")
    assert finding.level == "fail"
    assert "detector.safetensors" in finding.says


def test_a_human_decoder_that_is_not_there(tmp_path: Path) -> None:
    finding = one(settings(tmp_path, human=tmp_path / "none"), "pictures")
    assert finding.level == "fail"
    assert "none" in finding.says


def test_a_human_decoder_whose_prior_is_damaged(tmp_path: Path) -> None:
    tiny_weights(tmp_path)
    folder = tiny_human(tmp_path)
    finding = one(settings(tmp_path, human=folder), "pictures")
    assert finding.level == "ok"
    assert "5 files" in finding.says
    (folder / "prior" / "unet" / "config.json").write_text("{}")
    finding = one(settings(tmp_path, human=folder), "pictures")
    assert finding.level == "fail"
    assert "prior/unet/config.json" in finding.says


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there(tmp_path: Path) -> None:
    assert one(settings(tmp_path), "gpu").level == "ok"
    finding = one(settings(tmp_path, decode_device="cuda"), "gpu")
    assert finding.level == "fail"
    assert "decode_device=auto" in finding.do


def test_an_events_file_that_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "events.yaml").write_text("rules: [{nome: people}]")
    finding = one(settings(tmp_path, events=tmp_path / "events.yaml"), "events")
    assert finding.level == "fail"
    assert "nome" in finding.says


class TestStored:
    def layer(self, seq: int, at: float, size: int = 300) -> Layer:
        return Layer(FrameId("gate", "b1", seq), at, b"x" * size)

    def test_a_camera_whose_clock_is_ahead(self, tmp_path: Path) -> None:
        stored(tmp_path, self.layer(0, time.time() + 3600))
        finding = one(settings(tmp_path), "clock")
        assert finding.level == "warn"
        assert re.match(r"gate is 3\d{3}\.\d s ahead", finding.says)
        assert one(settings(tmp_path), "camera").level == "ok"

    def test_a_camera_that_is_silent(self, tmp_path: Path) -> None:
        long_ago = time.time() - 3 * 86_400
        store = SqliteFrameStore(data_files(tmp_path)[0], clock=lambda: long_ago)
        store.put([self.layer(0, long_ago)])
        store.close()
        finding = one(settings(tmp_path), "camera")
        assert (finding.level, finding.says) == ("warn", "gate: silent for 3 days")
        assert "none came in the last hour" in one(settings(tmp_path), "disk").says

    def test_a_disk_that_is_full_within_a_day(self, tmp_path: Path) -> None:
        at = time.time() - 60
        stored(tmp_path, *(self.layer(n, at + n, 60_000) for n in range(10)))
        small: dict[str, Any] = {"max_store_bytes": 1 << 21}
        finding = one(settings(tmp_path, **small), "disk")
        assert finding.level == "warn"
        assert "0 hours at the last hour's rate" in finding.says
        assert one(settings(tmp_path, **small, keep_days=7), "disk").level == "ok"

    def test_not_a_folder(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        assert one(settings(tmp_path / "file" / "data", insecure=True), "disk").level == "fail"

    def test_a_store_of_another_program(self, tmp_path: Path) -> None:
        data_files(tmp_path)[0].write_bytes(b"not a database, but long enough to be one" * 50)
        assert one(settings(tmp_path), "store").level == "fail"


class TestCommand:
    def test_a_line_each_and_an_exit_code(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("LISTEN", "METRICS_LISTEN", "WEB_LISTEN"):
            monkeypatch.setenv(f"GLIMPSE_CLOUD_{name}", "127.0.0.1:0")
        result = CliRunner().invoke(app, ["doctor", "--data", str(tmp_path)])
        assert result.exit_code == 0
        assert "ok    weights       " in result.stdout
        assert result.stdout.splitlines()[-1] == "1 to watch"
        arguments = ["doctor", "--data", str(tmp_path), "--weights", str(tmp_path), "--json"]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 1
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        assert [line["about"] for line in lines if line["level"] == "fail"] == ["weights"]
