from __future__ import annotations

import pytest

from edge.link import Link


@pytest.mark.parametrize(
    ("server", "loopback"),
    [
        ("127.0.0.1:1", True), ("127.9.9.9:1", True), ("localhost:1", True), ("[::1]:1", True),
        ("10.0.0.1:1", False), ("example.org:1", False), ("[2001:db8::1]:1", False),
    ],
)  # fmt: skip
def test_loopback(server: str, loopback: bool) -> None:
    assert Link(server).is_loopback is loopback


def test_secrets_stay_out_of_its_name() -> None:
    link = Link("a:1", b"PEM", "do-not-tell")
    assert "do-not-tell" not in repr(link)
    assert link.metadata == (("authorization", "Bearer do-not-tell"),)
    assert Link("a:1").metadata == ()
