"""Who is calling: bearer tokens, one a line in a file that holds only their hashes.

    camera gate   3f8a...   may send as camera 'gate', and as nobody else
    viewer alice  99c1...   may look at every camera, and write nothing

The file is read again when it changes, so a token is added or withdrawn without a restart.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import grpc

from common.errors import BadSettings, PermissionDenied, Unauthenticated
from common.types import check_camera

Role = Literal["camera", "viewer"]


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller that has proved who it is."""

    role: Role
    name: str


class Identities:
    """The tokens file. Reads are cheap: one stat unless it has changed.

    A file that cannot be understood lets nobody in: every method raises BadSettings, the
    constructor too.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._known: dict[str, Identity] = {}
        self._refresh()

    def of_call(self, context: grpc.aio.ServicerContext[Any, Any]) -> Identity:
        """Who makes this call. Raises Unauthenticated."""
        for key, value in context.invocation_metadata() or ():
            if key == "authorization":
                scheme, _, token = str(value).partition(" ")
                if scheme.lower() == "bearer":
                    return self.of_token(token)
        raise Unauthenticated("no token: send 'authorization: Bearer TOKEN'")

    def of_token(self, token: str) -> Identity:
        """Raises Unauthenticated for a token that is not in the file."""
        self._refresh()
        identity = self._known.get(_hash(token))
        if identity is None:
            raise Unauthenticated("this token is not known here")
        return identity

    def viewer(self, context: grpc.aio.ServicerContext[Any, Any]) -> Identity:
        """The caller, who must be a viewer. Raises Unauthenticated, PermissionDenied."""
        identity = self.of_call(context)
        if identity.role != "viewer":
            raise PermissionDenied(f"{identity.role} {identity.name} may not look, only send")
        return identity

    def camera(self, context: grpc.aio.ServicerContext[Any, Any]) -> Identity:
        """The caller, who must be a camera. Raises Unauthenticated, PermissionDenied."""
        identity = self.of_call(context)
        if identity.role != "camera":
            raise PermissionDenied(f"{identity.role} {identity.name} may look, not send")
        return identity

    def add(self, role: Role, name: str) -> str:
        """Appends a new token for this name and returns it: it is kept nowhere else.

        Raises RemoteProtocolError for a name that is none.
        """
        check_camera(name)
        token = secrets.token_urlsafe(24)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.touch(mode=0o600)
        text = self._path.read_text(errors="replace")
        line_end = "" if not text or text.endswith("\n") else "\n"  # as an editor may leave it
        with self._path.open("a") as f:
            f.write(f"{line_end}{role} {name} {_hash(token)}\n")
        return token

    def _refresh(self) -> None:
        try:
            stat = self._path.stat()
            stamp = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if stamp != self._stamp:
                self._known = self._parse(self._path.read_text(errors="replace"))
                self._stamp = stamp
        except FileNotFoundError:
            self._known, self._stamp = {}, None

    def _parse(self, text: str) -> dict[str, Identity]:
        known = {}
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            match line.split():
                case ["camera" | "viewer" as role, name, digest] if len(digest) == 64:
                    known[digest] = Identity(role, name)
                case _:
                    what = f"{self._path}, line {number}"
                    raise BadSettings(f"{what}: not 'camera NAME HASH' or 'viewer NAME HASH'")
        return known


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
