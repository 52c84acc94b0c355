"""Commands as clients: what they need, and what a client's errors become."""

from __future__ import annotations

from pathlib import Path

import pytest

import glimpse
from cloud.main import EXIT_CODES
from cloud.remote import Login, errors_as_ours
from cloud.server import prepare
from common.errors import BadSettings, GlimpseError, PermissionDenied, Unauthenticated, Unreachable
from tests.cloud.serving import settings


@pytest.mark.parametrize(
    ("theirs", "ours", "code"),
    [
        (glimpse.Unavailable, Unreachable, 4),
        (glimpse.TimedOut, Unreachable, 4),
        (glimpse.Unauthenticated, Unauthenticated, 5),
        (glimpse.PermissionDenied, PermissionDenied, 5),
        (glimpse.InvalidRequest, BadSettings, 2),
        (glimpse.Error, GlimpseError, 1),
    ],
)
def test_errors_come_out_as_ours(
    theirs: type[glimpse.Error], ours: type[GlimpseError], code: int
) -> None:
    with pytest.raises(ours, match="why") as raised, errors_as_ours():
        raise theirs("why")
    assert type(raised.value) is ours
    assert EXIT_CODES.get(ours, 1) == code


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match=r"viewer\.token"), Login("a:1", tmp_path).client():
        pass
    prepare(settings(tmp_path, insecure=True))
    with pytest.raises(BadSettings, match=r"ca\.pem"), Login("a:1", tmp_path).client():
        pass
    nowhere = Login("a", tmp_path, insecure=True)
    with pytest.raises(BadSettings, match="HOST:PORT"), nowhere.client():
        pass
    with Login("a:1", tmp_path, insecure=True).client():
        pass
