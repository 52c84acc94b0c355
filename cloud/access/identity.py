"""Who is calling: bearer tokens, one a line in a file that holds only their hashes.

    camera gate   3f8a...   may send as camera 'gate', and as nobody else
    viewer alice  99c1...   may look at every camera, and write nothing
    withdrawn gate 07d2...  the certificate with this fingerprint is worth nothing any more

A caller without a token may have shown a certificate (cloud/access/shown.py): it is the camera that
the certificate names.

The file is read again when it changes, so a token is added or withdrawn without a restart.
"""

from __future__ import annotations

import datetime
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import grpc

from cloud.access.logins import Logins
from cloud.access.shown import ShownCertificate, shown_certificate
from common.errors import BadSettings, PermissionDenied, Unauthenticated
from common.types import check_camera

Role = Literal["camera", "viewer"]
Saw = Callable[[str, datetime.datetime], None]


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller that has proved who it is."""

    role: Role
    name: str


class Identities:
    """The tokens file. Reads are cheap: one stat unless it has changed.

    logins  counts failures by address; None: nobody is sent away for them
    saw     is told whose certificate expires when

    A file that cannot be understood lets nobody in: every method raises BadSettings, the
    constructor too.
    """

    def __init__(
        self, path: Path, *, logins: Logins | None = None, saw: Saw = lambda *_: None
    ) -> None:
        self._path, self._logins, self._saw = path, logins, saw
        self._stamp: tuple[int, int, int] | None = None
        self._known: dict[str, Identity] = {}
        self._withdrawn: frozenset[str] = frozenset()
        self._refresh()

    def of_call(self, context: grpc.aio.ServicerContext[Any, Any]) -> Identity:
        """Who makes this call. Raises Unauthenticated, and LimitReached after many of those."""
        token = _bearer(context)
        shown = None if token is not None else shown_certificate(context)
        if self._logins is None:
            return self._identify(token, shown)
        proof = digest(token) if token is not None else shown and shown.fingerprint
        return self._logins.of(context.peer(), proof, lambda: self._identify(token, shown))

    def _identify(self, token: str | None, shown: ShownCertificate | None) -> Identity:
        if token is not None:
            return self.of_token(token)
        if shown is not None:
            return self.of_certificate(shown)
        raise Unauthenticated("no token: send 'authorization: Bearer TOKEN'")

    def of_certificate(self, shown: ShownCertificate) -> Identity:
        """The camera that it names. Raises Unauthenticated if it is withdrawn, or names none."""
        self._refresh()
        if shown.fingerprint in self._withdrawn:
            raise Unauthenticated("this certificate is withdrawn")
        camera = shown.camera
        self._saw(f"camera {camera}", shown.not_after)
        return Identity("camera", camera)

    def of_token(self, token: str) -> Identity:
        """Raises Unauthenticated for a token that is not in the file."""
        return self.of_digest(digest(token))

    def of_digest(self, digest: str) -> Identity:
        """Whose token this is the digest of. Raises Unauthenticated once it is withdrawn."""
        self._refresh()
        identity = self._known.get(digest)
        if identity is None:
            raise Unauthenticated("this token is not known here")
        return identity

    def names(self, role: Role) -> frozenset[str]:
        """Everyone who has a token for this role."""
        self._refresh()
        return frozenset(known.name for known in self._known.values() if known.role == role)

    def viewer(self, context: grpc.aio.ServicerContext[Any, Any]) -> Identity:
        """The caller, who must be a viewer. Raises Unauthenticated, PermissionDenied."""
        return as_viewer(self.of_call(context))

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
        self._append(role, name, digest(token))
        return token

    def withdraw(self, certificate: ShownCertificate) -> str:
        """Refuse this certificate from now on; the camera that it names.

        Raises Unauthenticated if it names none.
        """
        self._append("withdrawn", certificate.camera, certificate.fingerprint)
        return certificate.camera

    def _append(self, kind: str, name: str, digest: str) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.touch(mode=0o600)
        text = self._path.read_text(errors="replace")
        line_end = "" if not text or text.endswith("\n") else "\n"  # as an editor may leave it
        with self._path.open("a") as f:
            f.write(f"{line_end}{kind} {name} {digest}\n")

    def _refresh(self) -> None:
        try:
            stat = self._path.stat()
            stamp = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if stamp != self._stamp:
                self._known, self._withdrawn = self._parse(self._path.read_text(errors="replace"))
                self._stamp = stamp
        except FileNotFoundError:
            self._known, self._withdrawn, self._stamp = {}, frozenset(), None

    def _parse(self, text: str) -> tuple[dict[str, Identity], frozenset[str]]:
        known, withdrawn = {}, set()
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            match line.split():
                case ["camera" | "viewer" as role, name, digest] if len(digest) == 64:
                    known[digest] = Identity(role, name)
                case ["withdrawn", _, digest] if len(digest) == 64:
                    withdrawn.add(digest)
                case _:
                    what = f"{self._path}, line {number}"
                    raise BadSettings(f"{what}: not 'camera NAME HASH' or 'viewer NAME HASH'")
        return known, frozenset(withdrawn)


def _bearer(context: grpc.aio.ServicerContext[Any, Any]) -> str | None:
    for key, value in context.invocation_metadata() or ():
        if key == "authorization":
            scheme, _, token = str(value).partition(" ")
            if scheme.lower() == "bearer":
                return token
    return None


def as_viewer(identity: Identity) -> Identity:
    """The same identity. Raises PermissionDenied if it is not a viewer."""
    if identity.role != "viewer":
        raise PermissionDenied(f"{identity.role} {identity.name} may not look, only send")
    return identity


def digest(token: str) -> str:
    """What is kept of a token: its SHA-256 as 64 hexadecimal digits."""
    return hashlib.sha256(token.encode()).hexdigest()
