"""Who is calling: the tokens file and what it says."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from cloud.access.certificates import make_camera_certificate
from cloud.access.identity import Identities, Identity
from cloud.access.shown import read_certificate
from common.errors import BadSettings, PermissionDenied, RemoteProtocolError, Unauthenticated


class Call:
    """What a servicer context shows of a call."""

    def __init__(self, *metadata: tuple[str, str], peer: str = "", shown: bytes = b"") -> None:
        self._metadata, self._peer, self._shown = metadata, peer, shown

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata

    def peer(self) -> str:
        return self._peer

    def auth_context(self) -> dict[str, list[bytes]]:
        return {"x509_pem_cert": [self._shown]} if self._shown else {}


def bearer(token: str, scheme: str = "Bearer") -> Call:
    return Call(("user-agent", "test"), ("authorization", f"{scheme} {token}"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "tokens"


def test_a_token_names_its_owner(path: Path) -> None:
    identities = Identities(path)
    gate, alice = identities.add("camera", "gate"), identities.add("viewer", "alice")
    assert gate != alice
    assert identities.of_token(gate) == Identity("camera", "gate")
    assert identities.of_token(alice) == Identity("viewer", "alice")


def test_one_name_may_have_several(path: Path) -> None:
    identities = Identities(path)
    tokens = {identities.add("camera", "gate") for _ in range(3)}
    assert len(tokens) == 3
    assert {identities.of_token(token).name for token in tokens} == {"gate"}


def test_the_file_holds_no_token_and_is_the_owners(path: Path) -> None:
    token = Identities(path).add("camera", "gate")
    assert token not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("token", ["", "guess", "0" * 64])
def test_an_unknown_token(path: Path, token: str) -> None:
    identities = Identities(path)
    identities.add("camera", "gate")
    with pytest.raises(Unauthenticated):
        identities.of_token(token)


def test_no_file_lets_nobody_in(path: Path) -> None:
    with pytest.raises(Unauthenticated):
        Identities(path).of_token("guess")


def test_the_hash_in_the_file_is_no_token(path: Path) -> None:
    identities = Identities(path)
    identities.add("camera", "gate")
    with pytest.raises(Unauthenticated):
        identities.of_token(path.read_text().split()[2])


@pytest.mark.parametrize("name", ["", "Gate", "../gate", "a b", "x" * 65])
def test_a_name_that_is_none(path: Path, name: str) -> None:
    with pytest.raises(RemoteProtocolError):
        Identities(path).add("camera", name)
    assert not path.exists()


def test_roles(path: Path) -> None:
    identities = Identities(path)
    gate, alice = identities.add("camera", "gate"), identities.add("viewer", "alice")
    assert identities.camera(bearer(gate)).name == "gate"  # type: ignore[arg-type]
    assert identities.viewer(bearer(alice, "bearer")).name == "alice"  # type: ignore[arg-type]
    with pytest.raises(PermissionDenied, match="gate"):
        identities.viewer(bearer(gate))  # type: ignore[arg-type]
    with pytest.raises(PermissionDenied, match="alice"):
        identities.camera(bearer(alice))  # type: ignore[arg-type]


@pytest.mark.parametrize("call", [Call(), Call(("authorization", "Basic abc")), bearer("")])
def test_a_call_without_a_token(path: Path, call: Call) -> None:
    with pytest.raises(Unauthenticated):
        Identities(path).of_call(call)  # type: ignore[arg-type]


class TestCertificates:
    @pytest.fixture
    def shown(self, tmp_path: Path) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        return make_camera_certificate(tmp_path, "gate", now).certificate.read_bytes()

    def test_it_names_a_camera(self, path: Path, shown: bytes) -> None:
        assert Identities(path).camera(Call(shown=shown)) == Identity("camera", "gate")  # type: ignore[arg-type]
        with pytest.raises(PermissionDenied):
            Identities(path).viewer(Call(shown=shown))  # type: ignore[arg-type]

    def test_a_token_goes_first(self, path: Path, shown: bytes) -> None:
        identities = Identities(path)
        alice = identities.add("viewer", "alice")
        with_token = Call(("authorization", f"Bearer {alice}"), shown=shown)
        assert identities.of_call(with_token) == Identity("viewer", "alice")  # type: ignore[arg-type]
        with pytest.raises(Unauthenticated):
            identities.of_call(Call(("authorization", "Bearer guess"), shown=shown))  # type: ignore[arg-type]

    def test_one_is_withdrawn(self, path: Path, shown: bytes, tmp_path: Path) -> None:
        identities = Identities(path)
        assert identities.camera(Call(shown=shown))  # type: ignore[arg-type]
        assert Identities(path).withdraw(read_certificate(shown)) == "gate"
        with pytest.raises(Unauthenticated, match="withdrawn"):
            identities.camera(Call(shown=shown))  # type: ignore[arg-type]
        now = datetime.datetime.now(datetime.UTC)
        fresh = make_camera_certificate(tmp_path, "gate", now).certificate.read_bytes()
        assert identities.camera(Call(shown=fresh)).name == "gate"  # type: ignore[arg-type]

    def test_its_end_is_told(self, path: Path, shown: bytes) -> None:
        told: dict[str, datetime.datetime] = {}
        Identities(path, saw=told.__setitem__).camera(Call(shown=shown))  # type: ignore[arg-type]
        assert told == {"camera gate": read_certificate(shown).not_after}


class TestTheFileChanges:
    def test_another_process_adds_one(self, path: Path) -> None:
        identities = Identities(path)
        token = Identities(path).add("camera", "gate")
        assert identities.of_token(token).name == "gate"

    def test_one_is_withdrawn(self, path: Path) -> None:
        identities = Identities(path)
        gate, yard = identities.add("camera", "gate"), identities.add("camera", "yard")
        assert identities.of_token(gate)
        lines = path.read_text().splitlines()
        fresh = path.with_name("fresh")
        fresh.write_text("# without gate\n\n" + lines[1])
        fresh.replace(path)
        with pytest.raises(Unauthenticated):
            identities.of_token(gate)
        assert identities.of_token(yard).name == "yard"
        more = identities.add("camera", "shed")  # after a last line without its end
        assert identities.of_token(more).name == "shed"
        assert identities.of_token(yard).name == "yard"

    def test_it_is_deleted(self, path: Path) -> None:
        identities = Identities(path)
        token = identities.add("camera", "gate")
        path.unlink()
        with pytest.raises(Unauthenticated):
            identities.of_token(token)

    @pytest.mark.parametrize("line", ["camera gate", "admin x " + "0" * 64, "camera x 12", "\x00"])
    def test_a_bad_line_lets_nobody_in(self, path: Path, line: str) -> None:
        identities = Identities(path)
        token = identities.add("camera", "gate")
        with path.open("a") as f:
            f.write(line + "\n")
        for _ in range(2):
            with pytest.raises(BadSettings, match="line 2"):
                identities.of_token(token)
        with pytest.raises(BadSettings, match=path.name):
            Identities(path)

    def test_a_file_of_other_bytes(self, path: Path) -> None:
        path.parent.mkdir()
        path.write_bytes(b"\xff\xfe\x00")
        with pytest.raises(BadSettings):
            Identities(path)
