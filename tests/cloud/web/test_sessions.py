"""Logged in: across restarts, until logged out, withdrawn or too old."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud.access.identity import Identities, Identity
from cloud.web.sessions import LIFETIME_S, MOST, Sessions
from common.errors import BadSettings, PermissionDenied, Unauthenticated


@pytest.fixture
def identities(tmp_path: Path) -> Identities:
    return Identities(tmp_path / "tokens")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


def test_a_viewers_token_opens_one(path: Path, identities: Identities) -> None:
    sessions = Sessions(path, identities)
    secret = sessions.open(identities.add("viewer", "alice"))
    assert sessions.viewer(secret) == Identity("viewer", "alice")


def test_a_cameras_token_does_not(path: Path, identities: Identities) -> None:
    with pytest.raises(PermissionDenied):
        Sessions(path, identities).open(identities.add("camera", "gate"))
    assert not path.exists()


@pytest.mark.parametrize("token", ["", "guess", "é" * 4000])
def test_nor_does_another_word(path: Path, identities: Identities, token: str) -> None:
    with pytest.raises(Unauthenticated):
        Sessions(path, identities).open(token)


def test_it_outlives_the_process(path: Path, identities: Identities) -> None:
    secret = Sessions(path, identities).open(identities.add("viewer", "alice"))
    assert Sessions(path, identities).viewer(secret).name == "alice"


def test_it_ends_with_logging_out_and_so_do_no_others(path: Path, identities: Identities) -> None:
    token = identities.add("viewer", "alice")
    sessions = Sessions(path, identities)
    one, other = sessions.open(token), sessions.open(token)
    assert one != other
    sessions.close(one)
    sessions.close(one)
    for again in (sessions, Sessions(path, identities)):
        with pytest.raises(Unauthenticated):
            again.viewer(one)
        assert again.viewer(other).name == "alice"


def test_it_ends_with_its_token(path: Path, identities: Identities, tmp_path: Path) -> None:
    sessions = Sessions(path, identities)
    secret = sessions.open(identities.add("viewer", "alice"))
    (tmp_path / "tokens").write_text("")
    with pytest.raises(Unauthenticated):
        sessions.viewer(secret)


def test_it_ends_after_a_week(path: Path, identities: Identities) -> None:
    now = 1_000_000.0
    sessions = Sessions(path, identities, clock=lambda: now)
    secret = sessions.open(identities.add("viewer", "alice"))
    now += LIFETIME_S - 1
    sessions.viewer(secret)
    now += 2
    with pytest.raises(Unauthenticated):
        sessions.viewer(secret)


def test_there_are_so_many_and_the_oldest_goes(path: Path, identities: Identities) -> None:
    now = 1_000_000.0
    sessions = Sessions(path, identities, clock=lambda: now)
    token = identities.add("viewer", "alice")
    secrets = []
    for _ in range(MOST + 1):
        secrets.append(sessions.open(token))
        now += 1
    with pytest.raises(Unauthenticated):
        sessions.viewer(secrets[0])
    for secret in secrets[1:]:
        sessions.viewer(secret)
    assert len(path.read_text().splitlines()) == MOST


def test_the_file_holds_no_secret(path: Path, identities: Identities) -> None:
    token = identities.add("viewer", "alice")
    secret = Sessions(path, identities).open(token)
    text = path.read_text()
    assert token not in text
    assert secret not in text
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["one two", "a b c", "a b 1 d"])
def test_a_file_that_is_none_is_named(path: Path, identities: Identities, text: str) -> None:
    path.write_text(text)
    with pytest.raises(BadSettings, match="sessions"):
        Sessions(path, identities)
