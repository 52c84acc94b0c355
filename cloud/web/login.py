"""Logging in and out: the form's token becomes a cookie that no script can read.

The token stands in the body of one POST, never in an address; what the cookie holds is a secret of
its own (cloud/web/sessions.py).
"""

from __future__ import annotations

import html
import re
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from cloud.access.identity import Identity, digest
from cloud.access.logins import Logins
from cloud.metrics import Metrics
from cloud.status import status_of
from cloud.web.sessions import LIFETIME_S, Sessions
from common.errors import LimitReached, PermissionDenied, RemoteProtocolError, Unauthenticated

_LONGEST_FORM = 4096  # bytes
_OUR_PAGE = re.compile(r"/([A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*)?")

_UNKNOWN = "This token is not known here. Check that all of it was copied, without spaces."
_CAMERAS = "This is a camera's token: it may send, and not look. A viewer's token is needed here."


_REASONS: dict[type[Exception], tuple[int, str]] = {
    Unauthenticated: (401, _UNKNOWN),
    PermissionDenied: (403, _CAMERAS),
}


class Login:
    """page: the login page's HTML, with {message} and {next} where those go."""

    def __init__(self, sessions: Sessions, logins: Logins, metrics: Metrics, page: str) -> None:
        self._sessions, self._logins, self._metrics = sessions, logins, metrics
        self._page = page

    def routes(self) -> list[Route]:
        return [
            Route("/login", self.form),
            Route("/login", self.log_in, methods=["POST"]),
            Route("/logout", self.log_out, methods=["POST"]),
        ]

    def who(self, request: Request) -> Identity:
        """The viewer whose request this is. Raises Unauthenticated, PermissionDenied."""
        return self._sessions.viewer(request.cookies.get(_cookie(request), ""))

    async def form(self, request: Request) -> Response:
        there = request.query_params.get("next", "")
        try:
            self.who(request)
        except (Unauthenticated, PermissionDenied):
            return self._form(200, "", there)
        return RedirectResponse(_ours(there), 303)

    async def log_in(self, request: Request) -> Response:
        fields = await _fields(request)
        there, token = fields.get("next", ""), fields.get("token", "").strip()
        try:
            secret = self._logins.of(
                peer_of(request), digest(token), lambda: self._sessions.open(token)
            )
        except (Unauthenticated, PermissionDenied, LimitReached) as error:
            self._metrics.refused_calls.labels(status_of(error).name.lower()).inc()
            code, message = _REASONS.get(type(error), (429, f"{str(error).capitalize()}."))
            return self._form(code, message, there)
        response = RedirectResponse(_ours(there), 303)
        _set_cookie(request, response, secret, round(LIFETIME_S))
        return response

    async def log_out(self, request: Request) -> Response:
        self._sessions.close(request.cookies.get(_cookie(request), ""))
        response = RedirectResponse("/login", 303)
        _set_cookie(request, response, "", 0)
        return response

    def _form(self, code: int, message: str, there: str) -> Response:
        shown = f'<p class="fault" id="fault" role="alert">{html.escape(message)}</p>'
        page = self._page.replace("{message}", shown if message else "")
        return HTMLResponse(page.replace("{next}", _ours(there)), code)


def _ours(there: str) -> str:
    """`there` if it is a page of ours: a login must not lead to another site."""
    return there if _OUR_PAGE.fullmatch(there) else "/"


def peer_of(request: Request) -> str:
    """The caller's end as gRPC names one."""
    host, port = request.client or ("", 0)
    return f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"


async def _fields(request: Request) -> dict[str, str]:
    """Of a form, the first of each name. Raises RemoteProtocolError for one that is too long."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST_FORM:
            raise RemoteProtocolError(f"a form of more than {_LONGEST_FORM} bytes")
    try:
        return {name: values[0] for name, values in parse_qs(body.decode()).items()}
    except ValueError:
        raise RemoteProtocolError("these bytes are no form") from None


def _cookie(request: Request) -> str:
    """Cookies know no ports: two servers on one machine must not share one."""
    prefix = "__Host-" if request.url.scheme == "https" else ""
    return f"{prefix}glimpse-{request.url.port or ''}".rstrip("-")


def _set_cookie(request: Request, response: Response, value: str, max_age: int) -> None:
    response.set_cookie(
        _cookie(request), value, max_age=max_age, path="/", httponly=True, samesite="strict",
        secure=request.url.scheme == "https",
    )  # fmt: skip
