"""Our curve against each opponent's and against the best of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.accuracy.bdrate import Front, best_of, compare, rates_at
from bench.accuracy.matching import Draw
from bench.accuracy.points import OURS, UNCOMPRESSED, Scored

BEST = "best"  # at each accuracy the best of all pictures sent to one detector
EDGE = "on the edge"  # the detector whose boxes are sent
SHARES = (99, 98, 95)  # per cent of the uncompressed mAP50


@dataclass(frozen=True)
class _Curve:
    """A front over all pictures, and one for every bootstrap draw."""

    whole: Front
    drawn: Sequence[Front]


Curves = Mapping[str, Mapping[str, _Curve]]
"""Detector -> codec -> its curve."""


def comparisons(scored: Sequence[Scored], drawn: Sequence[Draw]) -> dict[str, Any]:
    """BD-rates by detector and codec, by mAP and mAP50, with file containers and without."""

    def rates(metric: str, payload: bool) -> dict[str, dict[str, Any]]:
        ours, theirs = _curves(scored, metric, payload, drawn)
        return {
            detector: {codec: _against(ours, curve) for codec, curve in curves.items()}
            for detector, curves in theirs.items()
        }

    return {
        "bd_rate_map": rates("map", False),
        "bd_rate_map50": rates("map50", False),
        "without_containers": {
            "bd_rate_map": rates("map", True),
            "bd_rate_map50": rates("map50", True),
        },
        "bytes_at": _bytes_at(scored),
    }


def _against(ours: _Curve, theirs: _Curve) -> dict[str, Any]:
    pairs = list(zip(ours.drawn, theirs.drawn, strict=True))
    return compare(ours.whole, theirs.whole, pairs)


def _curves(
    scored: Sequence[Scored], metric: str, payload: bool, drawn: Sequence[Draw]
) -> tuple[_Curve, dict[str, dict[str, _Curve]]]:
    """Our curve, and the opponents' with BEST added."""
    ours: list[Scored] = []
    groups: dict[str, dict[str, list[Scored]]] = {}
    for one in scored:
        if one.point.codec == OURS:
            ours.append(one)
        elif one.point.codec != UNCOMPRESSED:
            groups.setdefault(one.point.detector, {}).setdefault(one.point.codec, []).append(one)
    theirs = {
        detector: {
            codec: _curve(points, metric, payload, drawn) for codec, points in codecs.items()
        }
        for detector, codecs in groups.items()
    }
    for detector, curves in theirs.items():
        if detector != EDGE:
            curves[BEST] = _best(list(curves.values()))
    return _curve(ours, metric, payload, drawn), theirs


def _curve(points: Sequence[Scored], metric: str, payload: bool, drawn: Sequence[Draw]) -> _Curve:
    sizes = [one.point.payloads if payload else one.point.sizes for one in points]
    whole = Front.of(
        [float(size.mean()) for size in sizes], [getattr(one.whole, metric) for one in points]
    )
    again = [
        Front.of(
            [float(size[draw].mean()) for size in sizes],
            [getattr(one.drawn[i], metric) for one in points],
        )
        for i, draw in enumerate(drawn)
    ]
    return _Curve(whole, again)


def _best(curves: Sequence[_Curve]) -> _Curve:
    whole = best_of([curve.whole for curve in curves])
    return _Curve(
        whole, [best_of(fronts) for fronts in zip(*(c.drawn for c in curves), strict=True)]
    )


def _bytes_at(scored: Sequence[Scored]) -> dict[str, Any]:
    """Mean bytes a picture at shares of the mAP50 of the pixel detector on what is uncompressed.

    None where a curve never gets there; where all of it is above, the bytes of its lowest point.
    """
    clean = [one.whole.map50 for one in scored if one.point.codec == UNCOMPRESSED]
    ours, theirs = _curves(scored, "map50", False, [])
    found: dict[str, Any] = {}
    for share in SHARES if clean else ():
        target = clean[0] * share / 100
        found[str(share)] = {"map50": round(target, 4), OURS: _bytes(ours, target)} | {
            detector: {codec: _bytes(curve, target) for codec, curve in curves.items()}
            for detector, curves in theirs.items()
        }
    return found


def _bytes(curve: _Curve, accuracy: float) -> float | None:
    (rate,) = rates_at(curve.whole, np.array([accuracy]))
    return round(float(rate), 1) if np.isfinite(rate) else None
