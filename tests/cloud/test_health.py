from __future__ import annotations

import asyncio
import datetime
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cloud.access.certificates import make_certificates
from cloud.folder import data_files
from cloud.health import check_health
from cloud.main import app
from common.errors import BadSettings, Unreachable
from tests.cloud.serving import Served, serving, settings


async def ask(served: Served, listen: str = "127.0.0.1") -> None:
    chosen = served.settings.model_copy(update={"listen": f"{listen}:{served.running.port}"})
    await asyncio.to_thread(check_health, chosen)


@pytest.mark.parametrize(
    "hosts", [("cloud.example.org",), ("192.0.2.7",), ("*.example.org", "192.0.2.7")], ids=" ".join
)
async def test_a_server_that_serves_whatever_its_name(tmp_path: Path, hosts: Sequence[str]) -> None:
    folder = data_files(tmp_path)[2].authority.parent
    make_certificates(folder, hosts, datetime.datetime.now(datetime.UTC))
    async with serving(tmp_path) as served:
        await ask(served)
        await ask(served, "0.0.0.0")


async def test_plaintext_too(tmp_path: Path) -> None:
    async with serving(tmp_path, insecure=True) as served:
        await ask(served)


async def test_a_server_of_another_certificate_is_not_ours(tmp_path: Path) -> None:
    async with serving(tmp_path / "other") as served:
        folder = data_files(tmp_path)[2].authority.parent
        make_certificates(folder, ["localhost"], datetime.datetime.now(datetime.UTC))
        ours = settings(tmp_path, listen=f"127.0.0.1:{served.running.port}")
        with pytest.raises(Unreachable, match=r"(?i)certificate"):
            await asyncio.to_thread(check_health, ours)


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.socket() as taken:  # and nobody else can meanwhile
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        arguments = ["health", "--listen", address, "--data", str(tmp_path), "--insecure"]
        result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, Unreachable)
    assert address in str(result.exception)


@pytest.mark.parametrize("content", [None, b"nothing"], ids=["missing", "broken"])
def test_a_certificate_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    file = data_files(tmp_path)[2].certificate
    file.parent.mkdir(parents=True)
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BadSettings, match=r"server\.pem"):
        check_health(settings(tmp_path))
