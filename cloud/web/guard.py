"""What holds for every answer and every request, whichever page or call it is for.

    Headers      on every answer: nothing is loaded from elsewhere, framed, sniffed or cached
    SameOrigin   a request that changes something comes from our own page, or is refused
    Viewers      what lies behind it is for viewers who are logged in

Plain ASGI: a stream passes through as it comes.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers as RequestHeaders
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud.access.identity import Identity
from common.errors import PermissionDenied, Unauthenticated

POLICY = "; ".join((
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
))  # fmt: skip
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
_READING = ("GET", "HEAD", "OPTIONS")


class Headers:
    """Sets HEADERS, and forbids caching; what is static may be kept, and is asked after."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                is_static = scope["path"].startswith("/static/")
                headers["cache-control"] = "no-cache" if is_static else "no-store"
            await send(message)

        await self._app(scope, receive, with_headers)


class SameOrigin:
    """Refuses a request that writes and does not say that it is from our own page.

    Browsers say so in Sec-Fetch-Site, older ones in Origin; neither can be set by a page.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _READING:
            headers = RequestHeaders(scope=scope)
            site, origin = headers.get("sec-fetch-site"), headers.get("origin")
            if site is None and origin is not None:
                site = "same-origin" if _host(origin) == headers.get("host") else "cross-site"
            if site != "same-origin":
                refusal = Response("This request does not come from this server's own page.", 403)
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


class Viewers:
    """Lets viewers through; `who` raises Unauthenticated or PermissionDenied for others.

    to_login  instead of the error send a stranger to the login page: for pages, not for data
    """

    def __init__(
        self, app: ASGIApp, who: Callable[[Request], Identity], to_login: bool = False
    ) -> None:
        self._app, self._who, self._to_login = app, who, to_login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        try:
            scope["viewer"] = self._who(request)
        except (Unauthenticated, PermissionDenied):
            if not self._to_login:
                raise
            there = f"/login?next={quote(request.url.path, safe='')}"
            await RedirectResponse(there, 303)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _host(origin: str) -> str:
    """host:port of an origin, as the Host header has it."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""
