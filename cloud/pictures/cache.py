"""Pictures that were made, on disk, so that nobody has to make them twice; bounded.

    KEY.picture   a line of JSON (what it is, when it ends, SHA-256 of the rest), then the PNG

The one used longest ago goes first. A cache and no store: whatever cannot be read or written is as
if it had never been there. A picture ends with its frame's age, and after `keep_s` in any case, so
that retention holds here too.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from cloud.pictures.values import Picture

log = structlog.get_logger()

_SUFFIX = ".picture"


class PictureCache:
    """Blocks on the disk; for any thread, one at a time (each key is whole or not there at all).

    max_bytes  of all files; 0: nothing is kept
    keep_s     since it was made
    """

    def __init__(
        self, folder: Path, *, max_bytes: int, keep_s: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._folder, self._max_bytes, self._keep_s = folder, max_bytes, keep_s
        self._clock = clock

    def get(self, key: str) -> Picture | None:
        """The picture of this key, which is in use again."""
        path = self._path(key)
        try:
            head, _, png = path.read_bytes().partition(b"\n")
            about = json.loads(head)
            if about["until"] <= self._clock() or about["sha256"] != _digest(png):
                path.unlink(missing_ok=True)
                return None
            os.utime(path)
            return _picture(about, png)
        except OSError:
            return None
        except (ValueError, KeyError, TypeError):  # another version's, or damaged
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            return None

    def put(self, key: str, picture: Picture, until: float | None = None) -> None:
        """Keep it, until that moment (unix seconds) at the longest."""
        if self._max_bytes == 0:
            return
        ends = self._clock() + self._keep_s
        about = _about(picture, ends if until is None else min(ends, until))
        try:
            self._write(key, json.dumps(about).encode() + b"\n" + picture.png)
            self.sweep()
        except OSError as error:
            log.warning("a picture is not kept", reason=str(error))

    def sweep(self) -> None:
        """Let go of what has ended, and of those used longest ago if there is too much."""
        now = self._clock()
        used = 0
        files = sorted(self._files(), key=lambda file: file[1].st_mtime, reverse=True)
        for path, stat in files:
            used += stat.st_size
            if used > self._max_bytes or _until(path) <= now:
                used -= stat.st_size
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)

    def _files(self) -> list[tuple[Path, os.stat_result]]:
        found = []
        for path in self._folder.glob("*" + _SUFFIX):
            with contextlib.suppress(OSError):
                found.append((path, path.stat()))
        return found

    def _write(self, key: str, data: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
            path = Path(file.name)
            try:
                file.write(data)
                file.close()
                path.replace(self._path(key))
            except OSError:
                path.unlink(missing_ok=True)
                raise

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}{_SUFFIX}"


def _about(picture: Picture, until: float) -> dict[str, Any]:
    seen = picture.seen
    return {
        "until": until,
        "sha256": _digest(picture.png),
        "width": picture.width,
        "height": picture.height,
        "decoder": picture.decoder,
        "notes": picture.notes,
        "seen": None if seen is None else [*seen[:2], base64.b64encode(seen[2]).decode()],
    }


def _picture(about: dict[str, Any], png: bytes) -> Picture:
    """Raises ValueError, KeyError, TypeError for what another version wrote."""
    seen = None
    if about["seen"] is not None:
        columns, rows, shares = about["seen"]
        seen = int(columns), int(rows), base64.b64decode(shares)
    return Picture(
        png=png,
        width=int(about["width"]),
        height=int(about["height"]),
        decoder=str(about["decoder"]),
        notes=tuple(about["notes"]),
        seen=seen,
    )


def _until(path: Path) -> float:
    """When the picture of this file ends; 0 for a file that says nothing."""
    try:
        with path.open("rb") as file:
            return float(json.loads(file.readline(1 << 20))["until"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
