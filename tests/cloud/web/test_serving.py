"""The port of the page: TLS, what stops it from being served, and taking it down."""

from __future__ import annotations

import asyncio
import datetime
import socket
import ssl
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from starlette.applications import Starlette

from cloud.access.certificates import CertificateFiles, make_certificates
from cloud.web import serving
from cloud.web.serving import WebServer
from common.errors import BadSettings
from tests.cloud.serving import until
from tests.cloud.web.page import PATIENCE_S, Page, events, log_in, page

NOW = datetime.datetime.now(datetime.UTC)


def certificates(folder: Path) -> CertificateFiles:
    return make_certificates(folder, ["127.0.0.1"], NOW)


def trust(files: CertificateFiles) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(files.authority))


def browser(served: Page, files: CertificateFiles) -> httpx.AsyncClient:
    return served.client(verify=trust(files))


class TestTls:
    async def test_it_shows_the_servers_certificate(self, tmp_path: Path) -> None:
        files = certificates(tmp_path / "tls")
        async with page(tmp_path, tls=files) as served, browser(served, files) as client:
            reply = await log_in(client, served.token())
            cookie = reply.headers["set-cookie"]
            assert cookie.startswith(f"__Host-glimpse-{served.port}=")
            assert "; Secure" in cookie
            assert (await client.get("/api/session")).json()["name"] == "alice"

    async def test_plain_requests_get_nothing(self, tmp_path: Path) -> None:
        files = certificates(tmp_path / "tls")
        async with page(tmp_path, tls=files) as served, httpx.AsyncClient() as client:
            with pytest.raises(httpx.HTTPError):
                await client.get(f"http://127.0.0.1:{served.port}/login")

    async def test_a_browser_that_trusts_another_authority_stays_out(self, tmp_path: Path) -> None:
        files, other = certificates(tmp_path / "tls"), certificates(tmp_path / "other")
        async with page(tmp_path, tls=files) as served, browser(served, other) as client:
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await client.get("/login")

    async def test_a_renewed_certificate_is_taken_and_half_of_one_is_not(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(serving, "RENEW_S", 0.05)
        files = certificates(tmp_path / "tls")
        async with page(tmp_path, tls=files) as served:
            first = await asyncio.to_thread(shown, served.port)
            later = certificates(tmp_path / "later")
            files.key.write_bytes(later.key.read_bytes())
            await asyncio.sleep(0.3)  # some looks at a key and a certificate that do not fit
            assert await asyncio.to_thread(shown, served.port) == first
            files.certificate.write_bytes(later.certificate.read_bytes())
            async with asyncio.timeout(PATIENCE_S):
                while await asyncio.to_thread(shown, served.port) == first:
                    pass
            async with browser(served, later) as client:
                assert (await client.get("/login")).status_code == 200


def shown(port: int) -> int:
    """The serial number of the certificate that is shown on a port."""
    pem = ssl.get_server_certificate(("127.0.0.1", port), timeout=10)
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


class TestItDoesNotStart:
    def test_on_a_port_in_use(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            with pytest.raises(BadSettings, match=address):
                WebServer(Starlette(), address, None)

    @pytest.mark.parametrize("listen", ["8080", "localhost:port", "256.0.0.1:0", "[::1:0", "a:1:0"])
    def test_on_what_is_no_address(self, listen: str) -> None:
        with pytest.raises(BadSettings, match=r"page|web_listen"):
            WebServer(Starlette(), listen, None)

    def test_without_its_certificate(self, tmp_path: Path) -> None:
        with pytest.raises(BadSettings, match="certificate"):
            WebServer(Starlette(), "127.0.0.1:0", CertificateFiles.in_folder(tmp_path))

    def test_with_a_key_of_another(self, tmp_path: Path) -> None:
        files, other = certificates(tmp_path / "a"), certificates(tmp_path / "b")
        files.key.write_bytes(other.key.read_bytes())
        with pytest.raises(BadSettings, match="certificate"):
            WebServer(Starlette(), "127.0.0.1:0", files)


class TestRestart:
    async def test_a_page_that_was_open_goes_on_without_a_login(self, tmp_path: Path) -> None:
        async with page(tmp_path) as served, served.client() as client:
            await log_in(client, served.token())
            cookies, port = dict(client.cookies), served.port
            async with events(client) as stream:
                await stream.next("state")
                served.bus.close()
                await stream.end()
        async with (
            page(tmp_path, port=port) as served,
            served.client(cookies=cookies) as client,
            events(client) as stream,
        ):
            assert (await stream.next())[0] == "state"

    async def test_a_page_that_stays_does_not_hold_the_server(self, tmp_path: Path) -> None:
        before = set(asyncio.all_tasks())
        async with page(tmp_path) as served, served.viewer() as client, events(client) as stream:
            await stream.next("state")
            served.bus.close()
        await until(lambda: set(asyncio.all_tasks()) <= before)
