"""What the camera keeps of its latest frames, in case somebody asks: a folder, one file a frame.

    MOMENT.BOOT.SEQ.KIND    moment of keeping in milliseconds since 1970, KIND what is in it
    ... the bytes, then their CRC-32, 4 bytes, big endian

Bounded by bytes and by age; the oldest go first. A file is written beside and renamed, so a kill
leaves it whole or not there. Nothing is synced: after a power cut the last seconds may be missing
or damaged. A file that is not what was written is renamed to NAME.corrupt, counted, and gone.
"""

from __future__ import annotations

import os
import re
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from common.errors import BadSettings, StoreFull
from common.types import FrameId

log = structlog.get_logger()

_NAME = re.compile(r"(\d{1,15})\.([A-Za-z0-9_-]{1,64})\.(\d{1,19})\.([a-z]{1,16})")
_CRC_BYTES = 4
_CORRUPT = ".corrupt"
_HALF = ".half"  # being written
_MOST_CORRUPT = 16  # files that are kept to be looked at

Key = tuple[str, int]
"""Boot and seq."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What was kept of a frame; kind: 1..16 of a-z."""

    kind: str
    data: bytes


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    bytes: int
    moment: float  # seconds


class Ring:
    """One camera's. Safe to call from any thread; calls block on the disk.

    folder     belongs to this ring alone; it is made if missing
    max_bytes  of all files
    max_age    seconds

    Raises BadSettings for a folder that cannot be read or written.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int,
        max_age: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.set_aside = 0
        self._folder, self._max_bytes, self._max_age = folder, max_bytes, max_age
        self._clock = clock
        self._lock = threading.Lock()
        self._files: OrderedDict[Key, _File] = OrderedDict()
        self._bytes = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._find()
        except OSError as error:
            raise BadSettings(f"cannot keep frames in {folder}: {error.strerror}") from error

    def __len__(self) -> int:
        return len(self._files)

    @property
    def bytes(self) -> int:
        """Of all files."""
        return self._bytes

    def put(self, frame: FrameId, kept: Kept) -> None:
        """Keep it, and let go of the oldest. Raises StoreFull where the disk will not have it."""
        sealed = kept.data + zlib.crc32(kept.data).to_bytes(_CRC_BYTES, "big")
        with self._lock:
            self._expire(len(sealed))
            if len(sealed) > self._max_bytes:
                return
            now = self._clock()
            name = f"{max(round(now * 1000), 0)}.{frame.boot}.{frame.seq}.{kept.kind}"
            path = self._folder / name
            half = self._folder / (name + _HALF)
            try:
                half.write_bytes(sealed)
                half.replace(path)
            except OSError as error:
                half.unlink(missing_ok=True)
                raise StoreFull(f"cannot keep a frame in {self._folder}: {error}") from error
            self._forget((frame.boot, frame.seq))
            self._files[frame.boot, frame.seq] = _File(path, len(sealed), now)
            self._bytes += len(sealed)

    def get(self, frame: FrameId) -> Kept | None:
        """None: it is not kept, or not any more, or its file is damaged."""
        key = frame.boot, frame.seq
        with self._lock:
            self._expire(0)
            file = self._files.get(key)
            if file is None:
                return None
            try:
                sealed = file.path.read_bytes()
            except OSError:
                sealed = b""
            data = sealed[:-_CRC_BYTES]
            if len(sealed) != file.bytes or sealed != data + zlib.crc32(data).to_bytes(4, "big"):
                self._set_aside(key, file)
                return None
        return Kept(file.path.suffix[1:], data)

    def _find(self) -> None:
        """What an earlier process left."""
        found: list[tuple[float, Key, _File]] = []
        for entry in os.scandir(self._folder):
            name = _NAME.fullmatch(entry.name)
            if entry.name.endswith(_HALF):
                Path(entry.path).unlink(missing_ok=True)
            elif name and entry.is_file():
                moment = int(name[1]) / 1000
                file = _File(Path(entry.path), entry.stat().st_size, moment)
                found.append((moment, (name[2], int(name[3])), file))
        for _, key, file in sorted(found, key=lambda item: item[:2]):
            self._forget(key)
            self._files[key] = file
            self._bytes += file.bytes
        self._expire(0)

    def _expire(self, more: int) -> None:
        """Make room for so many bytes; let go of what is too old."""
        oldest_allowed = self._clock() - self._max_age
        while self._files:
            key, oldest = next(iter(self._files.items()))
            if oldest.moment >= oldest_allowed and self._bytes + more <= self._max_bytes:
                return
            self._forget(key)

    def _forget(self, key: Key) -> None:
        file = self._files.pop(key, None)
        if file is not None:
            self._bytes -= file.bytes
            try:
                file.path.unlink(missing_ok=True)
            except OSError as error:  # the next start finds it again
                log.warning(
                    "a kept frame cannot be deleted", path=str(file.path), reason=str(error)
                )

    def _set_aside(self, key: Key, file: _File) -> None:
        self.set_aside += 1
        log.warning("a kept frame is damaged", path=str(file.path))
        corrupt = len(list(self._folder.glob("*" + _CORRUPT)))
        try:
            if corrupt < _MOST_CORRUPT and file.path.exists():
                file.path.rename(file.path.with_name(file.path.name + _CORRUPT))
        except OSError as error:
            log.warning("it cannot be set aside", path=str(file.path), reason=str(error))
        self._forget(key)
