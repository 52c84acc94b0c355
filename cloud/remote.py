"""Our own commands as clients of a server: glimpse.Client, and its errors as ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path

import glimpse
from cloud.folder import data_files
from common import errors
from common.types import Box

_OURS: dict[type[glimpse.Error], type[errors.GlimpseError]] = {
    glimpse.Unauthenticated: errors.Unauthenticated,
    glimpse.PermissionDenied: errors.PermissionDenied,
    glimpse.Unavailable: errors.Unreachable,
    glimpse.Unsupported: errors.Unreachable,
    glimpse.InvalidLayer: errors.CorruptStream,
    glimpse.ModelMismatch: errors.ModelMismatch,
    glimpse.InvalidRequest: errors.BadSettings,
    glimpse.NotFound: errors.NotStored,
}


@dataclass(frozen=True, slots=True)
class Login:
    """Where the server is and how to get in.

    data        a server's data folder, of which the authority and the token are taken that are None
    patience_s  how long a watch tries to get its server back
    """

    server: str
    data: Path
    ca: Path | None = None
    token_file: Path | None = None
    insecure: bool = False
    patience_s: float = 60.0

    @contextmanager
    def client(self) -> Iterator[glimpse.Client]:
        """Raises BadSettings for files that cannot be read; a call's errors come out as ours."""
        ca = None if self.insecure else self.ca or data_files(self.data)[2].authority
        token_file = self.token_file or self.data / "viewer.token"
        try:
            client = glimpse.Client.connect(
                self.server,
                ca=ca,
                token=token_file.read_text(),
                insecure=self.insecure,
                retry=glimpse.Retry(patience_s=self.patience_s),
            )
        except OSError as error:
            raise errors.BadSettings(f"{error.filename}: {error.strerror}") from error
        except ValueError as error:
            raise errors.BadSettings(str(error)) from error
        with client, errors_as_ours():
            yield client


@contextmanager
def errors_as_ours() -> Iterator[None]:
    """Translates what a client raises."""
    try:
        yield
    except glimpse.Error as error:
        kinds = (ours for theirs, ours in _OURS.items() if isinstance(error, theirs))
        raise next(kinds, errors.GlimpseError)(str(error)) from error


def our_boxes(boxes: tuple[glimpse.Box, ...]) -> tuple[Box, ...]:
    return tuple(Box(*astuple(box)) for box in boxes)
