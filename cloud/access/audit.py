"""The audit file: a line of JSON for each time that somebody got what a camera saw.

    {"at": "2026-03-01T12:00:00.123+00:00", "who": "viewer alice", "from": "192.0.2.7",
     "call": "GetFrame", "frame": "gate/b1/17", "bytes": 361}
    {... "call": "Reconstruct", ..., "steps": 4, "auxiliary": "fetch", "why": "case 12/26"}

Boxes and lists are not in it: they are what the service is for. The file is opened anew for each
line, so that it can be rotated by renaming; rotating it is the operator's.
"""

from __future__ import annotations

import datetime
import errno
import json
import os
from pathlib import Path

import structlog

from cloud.access.identity import Identity
from common.errors import BadSettings, StoreFull
from common.types import FrameId

log = structlog.get_logger()


class Audit:
    """Appends to `path`; None: the log alone. Raises BadSettings if it cannot be written."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._append("")
        except OSError as error:
            raise BadSettings(f"audit: {path}: {error.strerror}") from error

    def read(
        self,
        who: Identity,
        address: str,
        call: str,
        frame: FrameId | str,
        size: int,
        **more: str | int | float,
    ) -> None:
        """To be called before the bytes are handed out. more: how, and why.

        Raises StoreFull if the line cannot be written: nobody looks unseen.
        """
        entry = {
            "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
            "who": f"{who.role} {who.name}",
            "from": address,
            "call": call,
            "frame": str(frame),
            "bytes": size,
            **more,
        }
        log.info("audit", **entry)
        try:
            self._append(json.dumps(entry) + "\n")
        except OSError as error:
            raise StoreFull(f"the audit file cannot be written: {error.strerror}") from error

    def _append(self, line: str) -> None:
        if self._path is None:
            return
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        file = os.open(self._path, flags, 0o600)
        try:
            data = line.encode()
            if os.write(file, data) < len(data):  # in one go: lines of two processes do not mix
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(file)
