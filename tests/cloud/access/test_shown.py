"""Which camera a certificate names."""

from __future__ import annotations

import pytest

from cloud.access.shown import read_certificate
from common.errors import Unauthenticated
from tests.cloud.self_signed import NOW, VALID, self_signed


@pytest.mark.parametrize(
    "names",
    [("gate",), ("gate", "gate"), (None, "gate"), ("gate", "gate.example.org"), ("Gate 7", "gate")],
)
def test_by_its_common_or_an_alternative_name(names: tuple[str, ...]) -> None:
    shown = read_certificate(self_signed(*names)[0])
    assert shown.camera == "gate"
    assert shown.not_after == NOW + VALID
    assert len(shown.fingerprint) == 64


@pytest.mark.parametrize(
    "names", [(None,), ("Gate",), ("gate.example.org",), ("gate", "yard"), (None, "gate", "yard")]
)
def test_none_or_several_is_no_camera(names: tuple[str, ...]) -> None:
    with pytest.raises(Unauthenticated, match="to name one camera"):
        read_certificate(self_signed(*names)[0]).camera  # noqa: B018 - it raises


@pytest.mark.parametrize(
    "pem", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]
)
def test_what_is_no_certificate(pem: bytes) -> None:
    with pytest.raises(Unauthenticated, match="cannot be read"):
        read_certificate(pem)
