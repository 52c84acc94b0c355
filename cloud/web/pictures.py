"""Pictures of stored frames for the page: a line of JSON for all that happens on the way to one.

    {"queued": 2}  {"loading": true}  {"waiting": 3.0}  {"step": 1, "of": 4, "preview": WebP}
    {"done": {..., "file": PNG}}      {"fault": {"status": 503, "error": "..."}}

Bytes are base64. A page that leaves ends its request, and frees the decoder.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from cloud.access.attempts import address_of
from cloud.access.audit import Audit
from cloud.pictures.peers import elsewhere
from cloud.pictures.reconstruct import Reconstructor
from cloud.pictures.service import audited, check_why
from cloud.pictures.values import (
    FIDELITY,
    Auxiliaries,
    Done,
    Loading,
    Progress,
    Queued,
    Step,
    WaitingForAuxiliary,
    Wish,
)
from cloud.web.archive import frame_of
from cloud.web.login import peer_of
from cloud.web.messages import to_json
from common.errors import GlimpseError, RemoteProtocolError

Fault = Callable[[GlimpseError], tuple[int, str]]

_LONGEST_WISH = 4096  # bytes


class Pictures:
    """quality: of auxiliary layers that cameras are asked for; fault: HTTP status and reason."""

    def __init__(
        self, reconstructor: Reconstructor, audit: Audit, fault: Fault, *, quality: int
    ) -> None:
        self._reconstructor, self._audit = reconstructor, audit
        self._fault, self._quality = fault, quality

    @property
    def ready(self) -> bool:
        """Whether this server has a decoder."""
        return self._reconstructor.ready

    @property
    def most_steps(self) -> int:
        """0: this server adds no detail."""
        return self._reconstructor.most_steps

    def routes(self) -> list[Route]:
        path = "/frames/{camera}/{boot}/{seq}/picture"
        return [Route(path, self.picture, methods=["POST"])]

    async def picture(self, request: Request) -> Response:
        """Body: {"steps", "fidelity", "seed", "auxiliary": never | if stored | fetch, "why"}."""
        who = request.scope["viewer"]
        asked = await _asked(request)
        wish, why = self._wish(asked), check_why(_text(asked, "why"))
        subject = await self._reconstructor.of_frame(frame_of(request.path_params))
        audited(self._audit, who, address_of(peer_of(request)), "page", subject, wish, why)
        news = self._reconstructor.make(subject, wish, f"{who.role} {who.name}")
        try:
            first = await anext(news)  # what fails at once is answered as any other request
        except BaseException:
            await news.aclose()
            raise
        return StreamingResponse(self._lines(first, news), media_type="application/x-ndjson")

    async def _lines(
        self, first: Progress, news: AsyncGenerator[Progress]
    ) -> AsyncGenerator[bytes]:
        async with aclosing(news):
            try:
                yield _line(first)
                async for progress in news:
                    yield _line(progress)
            except GlimpseError as error:
                status, reason = self._fault(error)
                yield to_json({"fault": {"status": status, "error": reason}}) + b"\n"

    def _wish(self, asked: dict[str, Any]) -> Wish:
        """Raises RemoteProtocolError."""
        auxiliary = _text(asked, "auxiliary") or Auxiliaries.IF_STORED.value
        try:
            auxiliaries = Auxiliaries(auxiliary)
        except ValueError:
            raise RemoteProtocolError(f"auxiliary: not {auxiliary[:40]!r}") from None
        return Wish(
            steps=int(_number(asked, "steps", 0, whole=True)),
            fidelity=_number(asked, "fidelity", FIDELITY),
            seed=int(_number(asked, "seed", 0, whole=True)),
            auxiliaries=auxiliaries,
            quality=self._quality,
        )


def _line(progress: Progress) -> bytes:
    match progress:
        case Queued(place):
            message: dict[str, Any] = {"queued": place}
        case Loading():
            message = {"loading": True}
        case WaitingForAuxiliary(patience_s):
            message = {"waiting": patience_s}
        case Step(done, of, preview):
            message = {"step": done, "of": of, "preview": b64encode(preview).decode()}
        case Done():
            message = {"done": _done(progress)}
    return to_json(message) + b"\n"


def _done(done: Done) -> dict[str, Any]:
    return {
        "file": b64encode(done.file).decode(),
        "width": done.picture.width,
        "height": done.picture.height,
        "decoder": done.picture.decoder,
        "machine_bytes": done.machine_bytes,
        "auxiliary_bytes": done.auxiliary_bytes,
        "steps": done.steps,
        "fidelity": done.fidelity,
        "seed": done.seed,
        "generated": done.steps > 0,
        "notes": done.notes,
        "seen": _seen(done),
        "upgrade_expected": done.upgrade_expected,
        "elsewhere": _elsewhere(done),
    }


def _elsewhere(done: Done) -> dict[str, int]:
    """Bytes that other codecs would have spent, about; of what our layers alone made."""
    if not done.auxiliary_bytes or done.picture.seen is not None:
        return {}
    spent = done.machine_bytes + done.auxiliary_bytes
    return elsewhere(spent, done.picture.width, done.picture.height)


def _seen(done: Done) -> dict[str, Any] | None:
    """at: when the reference picture was captured, unix seconds; shares: a byte for each cell."""
    if done.picture.seen is None:
        return None
    columns, rows, shares = done.picture.seen
    return {
        "at": None if done.still is None else done.still.captured_at,
        "share": sum(shares) / (255 * max(len(shares), 1)),
        "columns": columns,
        "rows": rows,
        "shares": b64encode(shares).decode(),
    }


async def _asked(request: Request) -> dict[str, Any]:
    """Raises RemoteProtocolError for a body that is no small JSON object."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST_WISH:
            raise RemoteProtocolError(f"a wish of more than {_LONGEST_WISH} bytes")
    try:
        asked = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict):
        raise RemoteProtocolError("the wish is no JSON object")
    return asked


def _text(asked: dict[str, Any], name: str) -> str:
    value = asked.get(name, "")
    if not isinstance(value, str):
        raise RemoteProtocolError(f"{name}: not a text")
    return value


def _number(asked: dict[str, Any], name: str, default: float, *, whole: bool = False) -> float:
    value = asked.get(name, default)
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or (whole and value != value // 1)
    ):
        raise RemoteProtocolError(f"{name}: not a {'whole ' if whole else ''}number")
    return value if whole else float(value)
