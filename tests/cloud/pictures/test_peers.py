"""The estimate of what other codecs would have spent."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cloud.pictures import peers
from cloud.pictures.peers import elsewhere

MEASURED = Path(__file__).parents[3] / "docs" / "results" / "rate_quality_kodak.json"


def curve(codec: str) -> tuple[list[float], list[float]]:
    """(-log(1 - MS-SSIM), log(bpp)), rising."""
    points = json.loads(MEASURED.read_text())["points"]
    ours = sorted(
        (p["bpp"], p["ms_ssim"]) for p in points if p["codec"] == codec and not p["steps"]
    )
    return [-float(np.log(1 - m)) for _, m in ours], [float(np.log(b)) for b, _ in ours]


@pytest.mark.parametrize("codec", ["jpeg", "avif"])
def test_the_table_is_what_was_measured(codec: str) -> None:
    likeness, theirs = curve(codec)
    for at, bits, bpp, times in zip(
        *curve("glimpse"), peers._BPP, peers._TIMES[codec], strict=True
    ):
        assert np.exp(bits) == pytest.approx(bpp, abs=1e-4)
        if not likeness[0] <= at <= likeness[-1]:
            assert times is None
        else:
            measured = np.exp(np.interp(at, likeness, theirs) - bits)
            assert times == pytest.approx(measured, abs=0.006)


def test_two_digits_of_what_is_known() -> None:
    assert elsewhere(14_100, 768, 512) == {"jpeg": 20_000, "avif": 9_200}
    assert elsewhere(4_600, 768, 512) == {"jpeg": 9_400}


def test_nothing_where_nothing_was_measured() -> None:
    assert elsewhere(400, 768, 512) == {}
    assert elsewhere(200_000, 768, 512) == {}
    assert elsewhere(100_000, 1920, 1080) == {}  # restored smaller than it is
