from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.pictures import reference as bench
from bench.pictures.reference import _is_in
from common.errors import BadPicture
from tests.bench.films import make_film, make_run
from tests.human import tiny_human
from tests.weights import tiny_weights


def test_a_film_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_GRID", {192: (51, 30), 96: (40,)})
    film = make_film(tmp_path / "yard.mkv", 24, 224, 176)
    tiny_weights(tmp_path / "weights", detector=True)
    tiny_human(tmp_path / "weights", prior=False)
    run = make_run(tmp_path / "run")
    figures = bench.reference([film], tmp_path, tmp_path / "weights", run, fps=5, every=2)
    assert json.loads((tmp_path / "reference.json").read_text())["clips"] == figures["clips"]
    least, row = figures["clips"]
    assert (least["quality"], row["quality"]) == (0.0, 0.4)
    assert least["points"][0]["bytes"] < row["points"][0]["bytes"]
    assert [p["psnr"] for p in least["points"][4:]] == [p["psnr"] for p in row["points"][4:]]
    ours, asked, alone, still, *peers = row["points"]
    assert len(peers) == 3
    assert ours["bytes"] == pytest.approx(alone["bytes"] + row["still_bytes"] / 18000, abs=0.2)
    with Image.open(tmp_path / "reference_yard.jpg") as sheet:
        assert sheet.size == (2 * 224, 2 * 176)
    more = row["auxiliary_bytes"] / (60 * 5)
    assert more > 0
    assert asked["bytes"] == pytest.approx(ours["bytes"] + more, abs=0.2)
    assert asked["psnr"] > still["psnr"]  # the picture of the frame itself
    for point in row["points"]:
        assert point["kbit_s"] == pytest.approx(point["bytes"] * 40 / 1000, abs=0.01)
        assert 0 <= point["agreement"] <= 1
    assert still["psnr"] > alone["psnr"]  # nothing was learned: the still is the better picture
    fine = max(peers, key=lambda p: p["bytes"])
    assert fine["psnr"] == max(p["psnr"] for p in peers)
    affordable = [p for p in peers if p["bytes"] <= 4 * ours["bytes"]]
    best = row["best_x265_at_four_times"]["psnr"]
    assert best == max((p["psnr"] for p in affordable), default=None)


def test_a_box_is_found_again_by_class_and_place() -> None:
    box = np.array([0.9, 1, 10, 10, 30, 30], np.float32)
    assert _is_in(box, np.array([[0.5, 1, 12, 12, 31, 31]], np.float32))
    assert not _is_in(box, np.array([[0.5, 0, 12, 12, 31, 31]], np.float32))
    assert not _is_in(box, np.array([[0.5, 1, 25, 25, 60, 60]], np.float32))
    assert not _is_in(box, np.empty((0, 6), np.float32))


def test_a_file_that_is_no_clip(tmp_path: Path) -> None:
    (tmp_path / "x.avi").write_bytes(b"x")
    with pytest.raises(BadPicture, match=r"x\.avi"):
        bench.reference([tmp_path / "x.avi"], tmp_path, tmp_path, None)
