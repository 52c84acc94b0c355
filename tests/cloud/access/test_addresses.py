from __future__ import annotations

import pytest

from cloud.access.addresses import is_loopback, listens_here_only


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"])
def test_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "10.0.0.7", "[::]", "localhost.example.org", "x"])
def test_another_one_or_every_one(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("address", "here"),
    [("127.0.0.1:50051", True), ("[::1]:0", True), ("0.0.0.0:1", False), ("50051", False)],
)
def test_where_it_listens(address: str, here: bool) -> None:
    assert listens_here_only(address) is here
