"""What video.json says of a clip: points, savings of inter layers, bytes at equal detection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.accuracy.bdrate import Front
from bench.accuracy.matching import Matches, Score, Truth
from bench.video.clips import Clip, boxes_by_class
from bench.video.codecs import VIDEO_CODECS
from bench.video.equal import equal_detection, ratio_at
from bench.video.points import INTER, INTRA, Rated

BEST = "best video"  # at each rate the best of all video codecs

Row = dict[str, Any]
Scores = Mapping[str, Score]
"""By each truth, `pixel` and `own`."""

Scored = Sequence[tuple[Rated, Scores]]


def clip_row(clip: Clip, rated: Sequence[Rated], truths: Mapping[str, Truth], fps: float) -> Row:
    """All about one clip."""
    scored = [
        (one, {name: Matches(truth, one.found).score() for name, truth in truths.items()})
        for one in rated
    ]
    width, height = clip.size
    return {
        "clip": clip.name,
        "size": f"{width}x{height}",
        "start_s": round(clip.start, 2),
        "pictures": len(clip.pictures),
        "truth_boxes": {name: boxes_by_class(truth) for name, truth in truths.items()},
        "round_trip_mismatches": sum(one.mismatches for one in rated),
        "inter_over_intra": _savings(rated),
        "equal_detection": {name: _against(scored, name) for name in truths},
        "our_points": [
            _placed(one, scores, scored) for one, scores in scored if one.codec == INTER
        ],
        "points": [_row(one, scores, fps) for one, scores in scored],
    }


def _savings(rated: Sequence[Rated]) -> list[Row]:
    """Bytes a picture with inter layers and without, at each side and quality."""
    intra = {(one.side, one.quality): one.bytes for one in rated if one.codec == INTRA}
    return [
        {
            "side": one.side,
            "quality": one.quality,
            "intra_bytes": round(intra[one.side, one.quality], 1),
            "inter_bytes": round(one.bytes, 1),
            "ratio": round(one.bytes / intra[one.side, one.quality], 3),
            "inter_layers_over_the_same_alone": _rounded(one.chain_share),
        }
        for one in rated
        if one.codec == INTER
    ]


def _front(scored: Scored, codecs: Sequence[str], truth: str, metric: str, *, mp4: bool) -> Front:
    chosen = [(one, scores) for one, scores in scored if one.codec in codecs]
    return Front.of(
        [(one.file_bytes if mp4 else None) or one.bytes for one, _ in chosen],
        [getattr(scores[truth], metric) for _, scores in chosen],
    )


def _rivals(scored: Scored) -> dict[str, list[str]]:
    """The codecs of each curve that we are compared with."""
    videos = sorted({one.codec for one, _ in scored if one.codec in VIDEO_CODECS})
    return {name: [name] for name in videos} | {BEST: videos}


def _against(scored: Scored, truth: str) -> Row:
    """How many times our bytes theirs are at equal detection; intra layers against the best too."""

    def compared(ours: str, theirs: Sequence[str]) -> Row:
        return {
            name: equal_detection(
                _front(scored, [ours], truth, metric, mp4=False),
                _front(scored, theirs, truth, metric, mp4=mp4),
            )
            for name, metric, mp4 in (
                ("map", "map", False),
                ("map50", "map50", False),
                ("map_mp4", "map", True),
            )
        }

    rivals = _rivals(scored)
    found = {name: compared(INTER, codecs) for name, codecs in rivals.items()}
    return {INTER: found, INTRA: {BEST: compared(INTRA, rivals[BEST])}}


def _placed(one: Rated, scores: Scores, scored: Scored) -> Row:
    """One of our points, and how many times its bytes the best video takes for its mAP."""
    videos = _rivals(scored)[BEST]
    times = {}
    for truth, score in scores.items():
        theirs = _front(scored, videos, truth, "map", mp4=False)
        ratio, why_not = ratio_at(one.bytes, score.map, theirs)
        times[truth] = why_not if ratio is None else ratio
    about = {"side": one.side, "quality": one.quality, "bytes": round(one.bytes, 1)}
    return about | {"times_best_video": times}


def _row(one: Rated, scores: Scores, fps: float) -> Row:
    mp4 = {} if one.file_bytes is None else {"mp4_bytes": round(one.file_bytes, 1)}
    return {
        "codec": one.codec,
        "setting": one.setting,
        "side": one.side,
        "bytes": round(one.bytes, 1),
        **mp4,
        "kbit_s": round(one.bytes * 8 * fps / 1000, 3),
        **{
            name: {"map": round(score.map, 4), "map50": round(score.map50, 4)}
            for name, score in scores.items()
        },
    }


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 3)
