from __future__ import annotations

from pathlib import Path

import pytest

from bench.service.link import TRACES, Trace, _steady_fps
from cloud.folder import data_files
from cloud.store.sqlite import SqliteFrameStore
from common.types import FrameId, Layer
from edge.settings import read_settings


def test_steady_frames_are_those_after_the_first_third(tmp_path: Path) -> None:
    store = SqliteFrameStore(data_files(tmp_path)[0])
    # None for ten seconds after the first, as if connecting were paid for; then 5 a second.
    moments = [0.0, *(10 + n / 5 for n in range(100))]
    frames = [Layer(FrameId("camera", "b", n), 1e9 + at, b"x") for n, at in enumerate(moments)]
    store.put(frames)
    store.close()
    assert _steady_fps(tmp_path, 30.0) == 5.0


def test_no_frame_at_all(tmp_path: Path) -> None:
    SqliteFrameStore(data_files(tmp_path)[0]).close()
    assert _steady_fps(tmp_path, 30.0) == 0.0


@pytest.mark.parametrize("trace", TRACES, ids=lambda trace: trace.name)
def test_what_a_trace_asks_of_the_camera_is_possible(trace: Trace) -> None:
    words = [word for word in trace.options if not word.startswith("--no-")]
    names = {"--coalesce": "coalesce_s", "--gather": "gather_s"}
    names["--latency-target"] = "latency_target_s"
    options = dict(zip(words[::2], map(float, words[1::2]), strict=True))
    flags = {names[name]: value for name, value in options.items()}
    assert read_settings(budget=trace.budget, **flags).limits().gather <= 10
