from __future__ import annotations

import pytest

from cloud.addresses import is_loopback


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"])
def test_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "10.0.0.7", "[::]", "localhost.example.org", "x"])
def test_another_one_or_every_one(host: str) -> None:
    assert not is_loopback(host)
