"""Who is logged in on the page: a cookie's secret stands for a viewer's token.

    HASH of the secret   DIGEST of the token   unix seconds until when

A line each, in a file, so that a restart logs nobody out. A token that is withdrawn ends its
sessions at once, as it ends calls over gRPC. The file holds no secret: whoever reads it can neither
log in nor send.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from pathlib import Path

from cloud.access.identity import Identities, Identity, as_viewer, digest
from common.errors import BadSettings, Unauthenticated

LIFETIME_S = 7 * 86_400.0
MOST = 256  # open at once; the one that ends first makes room


class Sessions:
    """The sessions file. Raises BadSettings for one that cannot be understood."""

    def __init__(
        self, path: Path, identities: Identities, clock: Callable[[], float] = time.time
    ) -> None:
        self._path, self._identities, self._clock = path, identities, clock
        self._open = self._read()

    def open(self, token: str) -> str:
        """A new session's secret. Raises Unauthenticated, PermissionDenied."""
        as_viewer(self._identities.of_token(token))
        secret = secrets.token_urlsafe(24)
        now = self._clock()
        alive = [(end, key, of) for key, (of, end) in self._open.items() if end > now]
        kept = sorted(alive, reverse=True)[: MOST - 1]
        self._open = {key: (of, end) for end, key, of in kept}
        self._open[digest(secret)] = (digest(token), now + LIFETIME_S)
        self._write()
        return secret

    def viewer(self, secret: str) -> Identity:
        """Who this session is. Raises Unauthenticated, PermissionDenied."""
        of, end = self._open.get(digest(secret), ("", 0.0))
        if end <= self._clock():
            raise Unauthenticated("not logged in, or no longer")
        return as_viewer(self._identities.of_digest(of))

    def close(self, secret: str) -> None:
        """Log out. No error if there is no such session."""
        if self._open.pop(digest(secret), None):
            self._write()

    def _read(self) -> dict[str, tuple[str, float]]:
        try:
            lines = self._path.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return {}
        try:
            return {key: (of, float(end)) for key, of, end in map(str.split, lines)}
        except ValueError:
            raise BadSettings(f"{self._path}: no sessions file; remove it to log all out") from None

    def _write(self) -> None:
        """In one step: a reader, or a start after a crash, sees the old file or the new one."""
        new = self._path.with_name(self._path.name + ".new")
        new.touch(mode=0o600)
        lines = (f"{key} {of} {end:.0f}\n" for key, (of, end) in self._open.items())
        new.write_text("".join(lines))
        new.replace(self._path)
