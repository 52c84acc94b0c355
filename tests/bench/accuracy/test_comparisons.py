from __future__ import annotations

import numpy as np
import pytest

from bench.accuracy.comparisons import BEST, EDGE, comparisons
from bench.accuracy.matching import Score, draws
from bench.accuracy.points import OURS, UNCOMPRESSED, Point, Scored

PICTURES = 6
DRAWN = draws(PICTURES, 5)
BYTES = (100, 200, 400, 800)
MAPS = (0.1, 0.2, 0.25, 0.27)


def curve(codec, detector, factor, container=0, top=4):
    """Four points of one accuracy each, on every draw; the pictures' sizes differ."""
    spread = np.arange(PICTURES) - (PICTURES - 1) / 2
    rows = []
    for size, accuracy in list(zip(BYTES, MAPS, strict=True))[:top]:
        payloads = np.rint(factor * (size + 10 * spread)).astype(np.int64)
        score = Score(accuracy, 2 * accuracy)
        point = Point(codec, "", "", detector, payloads + container, payloads, [])
        rows.append(Scored(point, score, [score] * len(DRAWN)))
    return rows


@pytest.fixture(scope="module")
def figures():
    return comparisons(
        [
            *curve(OURS, "our own", 1),
            *curve(UNCOMPRESSED, "pixel", 1000, top=1),
            *curve("jpeg", "pixel", 10),
            *curve("avif", "pixel", 5, container=275),
            *curve("jpeg", "pixel-tuned", 4),
            *curve("boxes, packed", EDGE, 0.5),
        ],
        DRAWN,
    )


def test_each_opponent_and_the_best_of_each_detector(figures):
    rates = figures["bd_rate_map"]
    assert {detector: set(codecs) for detector, codecs in rates.items()} == {
        "pixel": {"jpeg", "avif", BEST},
        "pixel-tuned": {"jpeg", BEST},
        EDGE: {"boxes, packed"},
    }
    assert rates["pixel"]["jpeg"]["percent"] == pytest.approx(-90, abs=0.1)
    assert rates["pixel-tuned"]["jpeg"]["percent"] == pytest.approx(-75, abs=0.1)
    assert rates[EDGE]["boxes, packed"]["percent"] == pytest.approx(100, abs=0.1)
    avif, best = rates["pixel"]["avif"]["percent"], rates["pixel"][BEST]["percent"]
    assert -90 < avif <= best < -80  # the best of all is at least as hard to beat
    low, high = rates["pixel"]["jpeg"]["interval"]
    assert low <= -90 + 0.2
    assert high >= -90 - 0.2
    assert rates["pixel"]["jpeg"]["draws"] == len(DRAWN)


def test_a_container_counts_in_files_and_not_without(figures):
    bare = figures["without_containers"]["bd_rate_map"]["pixel"]
    assert bare["avif"]["percent"] == pytest.approx(-80, abs=0.1)
    assert bare["jpeg"]["percent"] == figures["bd_rate_map"]["pixel"]["jpeg"]["percent"]


def test_the_same_by_map50(figures):
    assert figures["bd_rate_map50"]["pixel"]["jpeg"]["percent"] == pytest.approx(-90, abs=0.1)
    assert figures["bd_rate_map50"]["pixel"]["jpeg"]["overlap"] == [0.2, 0.54]


def test_bytes_at_shares_of_what_is_uncompressed():
    """Of an uncompressed mAP50 of 0.54: ours gets there, the other's curve ends at 0.5."""
    scored = [*curve(OURS, "our own", 1), *curve("jpeg", "pixel", 10, top=3)]
    clean = curve(UNCOMPRESSED, "pixel", 1000)[3:]  # mAP50 0.54
    at = comparisons([*scored, *clean], DRAWN)["bytes_at"]["95"]
    assert at["map50"] == pytest.approx(0.513)
    assert 400 < at[OURS] < 800
    assert at["pixel"] == {"jpeg": None, BEST: None}
    assert comparisons(scored, DRAWN)["bytes_at"] == {}
