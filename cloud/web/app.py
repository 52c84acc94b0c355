"""The viewer page as one ASGI application: which address is answered by what.

/  /frames  /frames/CAMERA/BOOT/SEQ   the page; its script shows what the address asks for
/login  /logout                       the only ones that write
/api/...                              data for the page, for viewers
/static/...                           script, style: the same for all, and no secret
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from cloud.access.audit import Audit
from cloud.access.identity import Identity
from cloud.access.logins import Logins
from cloud.alone import Alone
from cloud.metrics import Metrics
from cloud.pictures.reconstruct import Reconstructor
from cloud.status import status_of
from cloud.store import FrameStore
from cloud.web.archive import Archive
from cloud.web.guard import Headers, SameOrigin, Viewers
from cloud.web.live import Live
from cloud.web.login import Login
from cloud.web.messages import to_json
from cloud.web.pictures import Pictures
from cloud.web.sessions import Sessions
from common.errors import GlimpseError

log = structlog.get_logger()

MOST_PAGES = 256  # each holds a connection open

_HERE = Path(__file__).parent
_HTTP = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.FAILED_PRECONDITION: 409,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 507,
}


@dataclass(frozen=True, slots=True)
class About:
    """What the page tells of this server.

    model      the detector's, by name
    labels     its classes; profiles: the codec's task profiles
    keep_days  when stored frames expire; None: not by age
    """

    model: str
    labels: tuple[str, ...]
    profiles: tuple[str, ...]
    keep_days: float | None = None


def make_app(
    live: Live,
    store: FrameStore,
    alone: Alone,
    sessions: Sessions,
    logins: Logins,
    audit: Audit,
    metrics: Metrics,
    about: About,
    reconstructor: Reconstructor,
    *,
    quality: int,
) -> Starlette:
    """The application. It does nothing by itself: `live` and `reconstructor` must run beside it.

    quality  of auxiliary layers that cameras are asked for
    """
    login = Login(sessions, logins, metrics, _page("login"))
    archive = Archive(store, alone, audit, about.labels, about.profiles)
    pictures = Pictures(reconstructor, audit, _status_and_reason, quality=quality)
    missing = _page("missing")
    index = _page("index")

    async def page(_: Request) -> Response:
        return HTMLResponse(index)

    async def session(request: Request) -> Response:
        known: dict[str, Any] = {"name": _viewer(request).name, "pictures": pictures.ready}
        known["steps"] = pictures.most_steps
        known |= {"model": about.model, "labels": about.labels, "keep_days": about.keep_days}
        return Response(to_json(known), media_type=_JSON)

    async def events(request: Request) -> Response:
        if live.pages >= MOST_PAGES:
            return _fault(503, f"{MOST_PAGES} pages are open, and this server takes no more")
        stream = live.events(_still(login.who, request))
        headers = {"x-accel-buffering": "no"}
        return StreamingResponse(stream, media_type="text/event-stream", headers=headers)

    async def refuse(request: Request, error: Exception) -> Response:
        return _refuse(request, error, metrics)

    async def no_such(request: Request, error: Exception) -> Response:
        code = error.status_code if isinstance(error, HTTPException) else 500
        if request.url.path.startswith(("/api/", "/static/")) or code != 404:
            return _fault(code, getattr(error, "detail", ""))
        return HTMLResponse(missing, code)

    viewers = Middleware(Viewers, who=login.who)
    pages = Middleware(Viewers, who=login.who, to_login=True)
    data = [Route("/session", session), Route("/live", events)]
    data += [*archive.routes(), *pictures.routes()]
    return Starlette(
        routes=[
            Mount("/api", routes=data, middleware=[viewers]),
            Mount("/static", StaticFiles(directory=_HERE / "static")),
            *login.routes(),
            Route("/", page, middleware=[pages]),
            Route("/frames", page, middleware=[pages]),
            Route("/frames/{camera}/{boot}/{seq}", page, middleware=[pages]),
        ],
        middleware=[Middleware(Headers), Middleware(SameOrigin)],
        exception_handlers={GlimpseError: refuse, HTTPException: no_such},
    )


_JSON = "application/json"


def _viewer(request: Request) -> Identity:
    viewer: Identity = request.scope["viewer"]
    return viewer


def _still(who: Callable[[Request], Identity], request: Request) -> Callable[[], bool]:
    """Whether the request's session is good, at any later moment."""

    def still() -> bool:
        try:
            who(request)
        except GlimpseError:
            return False
        return True

    return still


def _refuse(request: Request, error: Exception, metrics: Metrics) -> Response:
    status = status_of(error) if isinstance(error, GlimpseError) else grpc.StatusCode.INTERNAL
    metrics.refused_calls.labels(status.name.lower()).inc()
    code, reason = _status_and_reason(error)
    if code == 500:
        log.error("page", path=request.url.path, error=str(error))
    return _fault(code, reason)


def _status_and_reason(error: Exception) -> tuple[int, str]:
    """Of HTTP, and what a person may know."""
    status = status_of(error) if isinstance(error, GlimpseError) else grpc.StatusCode.INTERNAL
    code = _HTTP.get(status, 500)
    return code, "the server has a fault; its log says which" if code == 500 else str(error)


def _fault(code: int, reason: str) -> Response:
    return Response(to_json({"error": reason}), code, media_type=_JSON)


def _page(name: str) -> str:
    return (_HERE / "pages" / f"{name}.html").read_text(encoding="utf-8")
