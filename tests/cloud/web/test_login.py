"""Who gets in, how, and what a stranger or another site cannot do."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cloud.access.identity import digest
from cloud.web.guard import HEADERS
from common.errors import Unauthenticated
from tests.cloud.web.page import PERSON, Page, events, log_in, page

BEHIND = [
    "/api/session", "/api/live", "/api/frames", "/api/marks", "/api/frames/gate/b1/1",
    "/api/frames/gate/b1/1/layer", "/api/nothing",
]  # fmt: skip
PAGES = ["/", "/frames", "/frames/gate/b1/1"]
SAME = {"sec-fetch-site": "same-origin"}


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Page]:
    async with page(tmp_path) as served:
        served.keep(1, [PERSON])
        yield served


class TestStranger:
    @pytest.mark.parametrize("path", BEHIND)
    async def test_gets_no_data(self, served: Page, path: str) -> None:
        async with served.client() as client:
            reply = await client.get(path)
        assert reply.status_code == 401
        assert reply.json()["error"]
        assert served.metrics.registry.get_sample_value(
            "glimpse_refused_calls_total", {"status": "unauthenticated"}
        )

    @pytest.mark.parametrize("path", PAGES)
    async def test_is_led_to_the_login_and_back(self, served: Page, path: str) -> None:
        async with served.client() as client:
            reply = await client.get(path)
            assert reply.status_code == 303
            form = await client.get(reply.headers["location"])
            assert f'name="next" value="{path}"' in form.text
            entered = await log_in(client, served.token(), next=path)
            assert (entered.status_code, entered.headers["location"]) == (303, path)
            assert (await client.get(path)).status_code == 200

    @pytest.mark.parametrize("cookie", [b"guess", b"", b"\xff"])
    async def test_with_a_made_up_cookie_is_none_the_better(
        self, served: Page, cookie: bytes
    ) -> None:
        async with served.client() as client:
            sent = b"glimpse-%d=%s" % (served.port, cookie)
            reply = await client.get("/api/session", headers=[(b"cookie", sent)])
        assert reply.status_code == 401

    async def test_a_token_in_the_address_is_no_login(self, served: Page) -> None:
        token = served.token()
        async with served.client() as client:
            assert (await client.get("/api/session", params={"token": token})).status_code == 401
            assert (await client.get("/login", params={"token": token})).status_code == 200
            assert (await client.get("/api/session")).status_code == 401


class TestLogin:
    async def test_the_cookie_is_for_this_page_alone(self, served: Page) -> None:
        async with served.client() as client:
            reply = await log_in(client, f"  {served.token()}\n")
            cookie = reply.headers["set-cookie"]
            assert reply.headers["location"] == "/"
            for part in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age=604800"):
                assert part in cookie
            assert cookie.startswith(f"glimpse-{served.port}=")
            session = (await client.get("/api/session")).json()
        assert (session["name"], session["labels"]) == ("alice", ["person", "car", "bus"])

    async def test_whoever_is_in_need_not_log_in(self, served: Page) -> None:
        async with served.viewer() as client:
            reply = await client.get("/login?next=/frames")
        assert (reply.status_code, reply.headers["location"]) == (303, "/frames")

    @pytest.mark.parametrize(
        "there",
        ["//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)",
         "/frames\r\nset-cookie: a=b", '"><script>alert(1)</script>', "/%2f/evil.example"],
    )  # fmt: skip
    async def test_it_leads_nowhere_else(self, served: Page, there: str) -> None:
        async with served.client() as client:
            form = await client.get("/login", params={"next": there})
            assert 'name="next" value="/"' in form.text
            reply = await log_in(client, served.token(), next=there)
        assert reply.headers["location"] == "/"

    async def test_a_wrong_token_is_told_so(self, served: Page) -> None:
        async with served.client() as client:
            reply = await log_in(client, "guess", next="/frames")
        assert reply.status_code == 401
        assert "not known here" in reply.text
        assert 'value="/frames"' in reply.text
        assert "set-cookie" not in reply.headers

    async def test_a_cameras_token_is_told_what_it_is(self, served: Page) -> None:
        async with served.client() as client:
            reply = await log_in(client, served.token("camera", "gate"))
        assert reply.status_code == 403
        assert "camera's token" in " ".join(reply.text.replace("&#x27;", "'").split())

    @pytest.mark.parametrize("body", [b"", b"token=", b"token=%ff", b"nothing", b"&&==&"])
    async def test_a_form_without_a_token(self, served: Page, body: bytes) -> None:
        async with served.client() as client:
            reply = await client.post("/login", content=body, headers=SAME)
        assert reply.status_code == 401

    @pytest.mark.parametrize("body", [b"token=" + b"a" * 5000, b"\xff\xfe"])
    async def test_a_body_that_is_no_form(self, served: Page, body: bytes) -> None:
        async with served.client() as client:
            reply = await client.post("/login", content=body, headers=SAME)
        assert reply.status_code == 400
        assert reply.json()["error"]

    async def test_who_keeps_guessing_is_sent_away_and_who_came_in_before_is_not(
        self, tmp_path: Path
    ) -> None:
        async with page(tmp_path, free=2) as served, served.client() as client:
            token = served.token()
            assert (await log_in(client, token)).status_code == 303
            codes = [(await log_in(client, f"guess {n}")).status_code for n in range(4)]
            assert codes == [401, 401, 401, 429]
            assert "Too many failed logins" in (await log_in(client, "again")).text
            assert (await log_in(client, token)).status_code == 303


class TestLogout:
    async def test_it_ends_the_session_here_and_on_the_server(self, served: Page) -> None:
        async with served.viewer() as client:
            cookie = dict(client.cookies)
            reply = await client.post("/logout", headers=SAME)
            assert (reply.status_code, reply.headers["location"]) == (303, "/login")
            assert not client.cookies
        async with served.client(cookies=cookie) as client:
            assert (await client.get("/api/session")).status_code == 401

    async def test_it_ends_what_is_open_elsewhere(self, served: Page) -> None:
        async with served.viewer() as client, events(client) as stream:
            await stream.next("state")
            await client.post("/logout", headers=SAME)
            await stream.end()

    async def test_so_does_a_token_that_is_withdrawn(self, served: Page) -> None:
        async with served.viewer() as client, events(client) as stream:
            await stream.next("state")
            (served.data / "tokens").write_text("")
            await stream.end()
            assert (await client.get("/api/session")).status_code == 401


class TestOtherSites:
    @pytest.mark.parametrize("path", ["/login", "/logout"])
    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
            {"sec-fetch-site": "none"},
            {"origin": "https://evil.example"},
            {"origin": "null"},
            {"origin": "http://[bad"},
            {"sec-fetch-site": "cross-site", "origin": "OURS"},
        ],
    )
    async def test_cannot_write(self, served: Page, path: str, headers: dict[str, str]) -> None:
        sent = {name: served.url if text == "OURS" else text for name, text in headers.items()}
        async with served.viewer() as client:
            reply = await client.post(path, data={"token": served.token()}, headers=sent)
            assert reply.status_code == 403
            assert "set-cookie" not in reply.headers
            assert (await client.get("/api/session")).status_code == 200

    async def test_an_older_browser_of_ours_can(self, served: Page) -> None:
        async with served.client() as client:
            reply = await client.post(
                "/login", data={"token": served.token()}, headers={"origin": served.url}
            )
        assert reply.status_code == 303

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
    @pytest.mark.parametrize(
        "path", ["/api/frames", "/api/frames/gate/b1/1", "/", "/static/app.js"]
    )
    async def test_nothing_else_takes_a_write(self, served: Page, method: str, path: str) -> None:
        async with served.viewer() as client:
            reply = await client.request(method, path, headers=SAME)
        assert reply.status_code == 405


class TestHeaders:
    @pytest.mark.parametrize(
        "path", ["/", "/login", "/api/frames", "/api/live", "/static/app.js", "/nothing", "/api/no"]
    )
    async def test_they_are_on_every_answer(self, served: Page, path: str) -> None:
        async with served.viewer() as client, client.stream("GET", path) as reply:
            for name, value in HEADERS.items():
                assert reply.headers[name] == value
            kept = "no-cache" if path.startswith("/static/") else "no-store"
            assert reply.headers["cache-control"] == kept
            assert "server" not in reply.headers

    async def test_what_is_static_is_not_sent_twice(self, served: Page) -> None:
        async with served.client() as client:
            first = await client.get("/static/app.js")
            again = await client.get(
                "/static/app.js", headers={"if-none-match": first.headers["etag"]}
            )
        assert (first.status_code, again.status_code, again.content) == (200, 304, b"")

    async def test_on_a_refusal_too(self, served: Page) -> None:
        async with served.client() as client:
            for reply in (await client.post("/login"), await client.get("/api/session")):
                assert reply.headers["content-security-policy"]

    async def test_no_page_needs_what_the_policy_forbids(self) -> None:
        """No script or style within a page, no address of another place."""
        folder = Path(__file__).parents[3] / "cloud" / "web"
        for file in (*folder.glob("pages/*.html"), *folder.glob("static/*")):
            text = file.read_text()
            assert "http://" not in text.replace("http://www.w3.org/2000/svg", ""), file
            assert "https://" not in text, file
            if file.suffix == ".html":
                assert "<style" not in text, file
                assert "style=" not in text, file
                assert " on" not in text.partition("<body")[2].partition(">")[0], file
            if file.suffix == ".js":
                for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "eval("):
                    assert forbidden not in text, file


class TestAddresses:
    @pytest.mark.parametrize(
        "path",
        [
            "/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py",
            "/static/%2e%2e%2f%2e%2e%2fidentity.py", "/static//etc/passwd",
            "/static/..%5c..%5capp.py", "/static/%00", "/static/", "/static",
            "/../../etc/passwd", "/pages/index.html", "/static/../pages/index.html",
        ],
    )  # fmt: skip
    async def test_nothing_beside_the_static_files_is_handed_out(
        self, served: Page, path: str
    ) -> None:
        """Byte for byte, as no client library would send it."""
        answer = await asyncio.to_thread(raw_get, served.port, path)
        status = answer.split(b" ")[1]
        assert status in (b"404", b"400", b"307"), answer[:200]
        assert b"import" not in answer
        assert b"root:" not in answer

    @pytest.mark.parametrize("path", ["/nothing", "/frames/a/b", "/frames/a/b/c/d"])
    async def test_a_page_that_is_none_says_so(self, served: Page, path: str) -> None:
        async with served.viewer() as client:
            reply = await client.get(path)
        assert reply.status_code == 404
        assert "No such page" in reply.text

    async def test_a_tokens_file_gone_wrong_is_our_fault_and_told_to_no_stranger(
        self, served: Page
    ) -> None:
        async with served.viewer() as client:
            (served.data / "tokens").write_text("nonsense\n")
            reply = await client.get("/api/session")
        assert reply.status_code == 500
        assert str(served.data) not in reply.text


def raw_get(port: int, path: str) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as link:
        link.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: link.recv(4096), b""))


async def test_what_is_kept_of_a_session_is_not_the_token(served: Page) -> None:
    token = served.token()
    async with served.client() as client:
        await log_in(client, token)
        kept: list[Any] = list(client.cookies.values())
    assert token not in kept
    with pytest.raises(Unauthenticated):
        served.identities.of_token(kept[0])
    assert digest(token) in (served.data / "sessions").read_text()
