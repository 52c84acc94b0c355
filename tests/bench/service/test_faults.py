"""Real processes, random faults: nothing is lost, nothing comes twice, and the books add up."""

from __future__ import annotations

import json
import random
from itertools import islice
from pathlib import Path

import pytest

from bench.service.faults import FAULTS, _deck, faults, holds
from bench.service.faulty import Controls, write_controls
from tests.weights import tiny_weights


def check(folder: Path, rounds: int, seed: int) -> None:
    tiny_weights(folder / "weights", detector=True)
    report = faults(None, folder, folder / "weights", rounds=rounds, seed=seed, cameras=1, fps=5.0)
    assert holds(report), report
    assert report["stored"] == report["acked"] >= 3 * rounds
    assert sum(report["faults"].values()) == rounds
    said = json.loads((folder / "faults.json").read_text())
    assert said["rounds"] == rounds
    assert (folder / "faults.png").stat().st_size > 1000


@pytest.mark.timeout(600)  # real processes: a busy machine takes minutes to start them
def test_a_short_run(tmp_path: Path) -> None:
    check(tmp_path, rounds=2, seed=4)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_each_fault(tmp_path: Path) -> None:
    check(tmp_path, rounds=10, seed=1)


def test_each_fault_comes_as_often() -> None:
    drawn = list(islice(_deck(random.Random(3), tuple(FAULTS)), 3 * len(FAULTS)))
    assert all(drawn.count(kind) == 3 for kind in FAULTS)
    assert drawn != list(islice(_deck(random.Random(4), tuple(FAULTS)), 3 * len(FAULTS)))


GOOD = {
    "adds_up": True, "refused": 0, "waiting": 0, "lost": 0, "duplicated": 0,
    "stored_beyond_acked": 0,
    "boots_out_of_order": 0, "without_boxes": 0, "boxes_different": 0,
}  # fmt: skip


def test_what_holds() -> None:
    assert holds(GOOD)
    assert not holds(GOOD | {"adds_up": False})
    for name in GOOD:
        assert name == "adds_up" or not holds(GOOD | {name: 1})


def test_controls_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.service.faulty._LOOK_S", 0.0)
    path = tmp_path / "controls.json"
    controls = Controls(path)
    assert controls["slow_s"] == 0
    write_controls(path, {"slow_s": 0.5})
    assert (controls["slow_s"], controls["shift_s"]) == (0.5, 0.0)
    path.unlink()
    assert controls["slow_s"] == 0
