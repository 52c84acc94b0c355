"""What each frame is coded for: the setting, or what the server and the view say."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.bitstream import DETECT, RECOGNISE, is_inter, unpack
from common.errors import BadSettings
from common.session.events import Detected, Outcome, Verdict
from common.types import Box, FrameId, Layer, Presence
from edge.coding.encoder import Analysis, Encoder
from edge.coding.profile import Policy, ProfileSetting
from edge.coding.task import Task
from edge.coding.weights import load_weights
from edge.rate import Plan
from tests.edge.server import Server, serving, until
from tests.recogniser import add_recogniser
from tests.weights import photograph

CAR = Box("car", 0.75, 1.0, 2.0, 30.0, 40.0)
PLAN = Plan(best=100, least=20, most=500)


@pytest.fixture(scope="module")
def folder(weights_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("recognise") / "weights"
    add_recogniser(weights_folder, made)
    return made


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    return Encoder(load_weights(folder), threads=1)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def task(encoder: Encoder, setting: ProfileSetting, clock: Clock | None = None) -> Task:
    return Task(
        encoder,
        setting,
        quality=200,
        score=0.5,
        policy=Policy(linger=2.0),
        boot="b1",
        clock=clock or Clock(),
    )


def view(thing: float = 0.0) -> Analysis:
    y = np.zeros((16, 12, 16), np.float32)
    y[:, 4:8, 4:8] = thing
    return Analysis(y, 256, 192, 640)


def verdict(seq: int, *presences: Presence, boxes: tuple[Box, ...] | None = ()) -> Verdict:
    return Verdict(FrameId("gate", "b1", seq), Outcome.STORED, "", boxes, presences)


class Film:
    """Frames a second apart; each is planned, numbered and, if told so, answered."""

    def __init__(self, encoder: Encoder) -> None:
        self.clock = Clock()
        self.task = task(encoder, "adaptive", self.clock)
        self.seq = -1

    def frame(self, thing: float = 0.0) -> int:
        self.clock.now += 1
        self.seq += 1
        profile, _ = self.task.plan(view(thing), PLAN)
        self.task.sent(self.seq)
        return profile

    def quiet(self) -> None:
        """Until layers are recognise layers."""
        for _ in range(4):
            self.frame()
            self.task.answered(verdict(self.seq))
        assert self.frame() == RECOGNISE


@pytest.mark.parametrize(("setting", "profile"), [("detect", DETECT), ("recognise", RECOGNISE)])
def test_a_profile_that_is_set_stays(
    encoder: Encoder, setting: ProfileSetting, profile: int
) -> None:
    fixed = task(encoder, setting)
    for seq in range(5):
        planned, plan = fixed.plan(view(float(seq % 2) * 9), PLAN)
        assert planned == profile
        assert plan == (PLAN if profile == DETECT else Plan(best=200, least=20, most=500))
        fixed.sent(seq)
        fixed.answered(verdict(seq, boxes=(CAR,)))
    assert fixed.planned == {profile: 5}


def test_rate_controls_floor_is_above_the_quality_that_is_set(encoder: Encoder) -> None:
    _, plan = task(encoder, "recognise").plan(view(), Plan(best=255, least=230))
    assert plan == Plan(best=230, least=230)


@pytest.mark.parametrize("setting", ["recognise", "adaptive"])
def test_weights_without_the_profile_are_refused(
    weights_folder: Path, setting: ProfileSetting
) -> None:
    plain = Encoder(load_weights(weights_folder), threads=1)
    task(plain, "detect")
    with pytest.raises(BadSettings, match="recognise"):
        task(plain, setting)


def test_answers_and_changes_move_it(encoder: Encoder) -> None:
    film = Film(encoder)
    assert film.frame() == DETECT
    film.quiet()
    film.task.answered(verdict(film.seq, Presence("car", 0.49)))
    assert film.frame() == RECOGNISE
    film.task.answered(verdict(film.seq, Presence("car", 0.5)))
    assert film.frame() == DETECT
    film.quiet()
    assert film.frame(thing=2.0) == DETECT
    film.quiet()
    film.task.answered(verdict(film.seq, boxes=(CAR,)))
    assert film.frame() == DETECT


def test_what_is_no_answer_moves_nothing(encoder: Encoder) -> None:
    film = Film(encoder)
    for _ in range(6):
        film.frame()
        film.task.answered(verdict(film.seq, boxes=None))  # it could not be read
        film.task.answered(Verdict(FrameId("gate", "b1", film.seq), Outcome.REFUSED))
        film.task.answered(Verdict(FrameId("gate", "b0", film.seq), Outcome.STORED, "", ()))
        film.task.answered(verdict(film.seq + 1000))
    assert film.frame() == DETECT


class Street(Server):
    """Nothing is in view but in the second dozen of frames."""

    def look(self, layer: Layer) -> Detected:
        if not 12 <= layer.frame.seq < 24:
            return Detected(layer.frame, ())
        if profile_of(self, layer) == DETECT:
            return Detected(layer.frame, (CAR,))
        return Detected(layer.frame, (), "", (Presence("car", 0.9),))


def profile_of(server: Server, layer: Layer) -> int:
    """Of a layer of a chain: that of the intra layer before it."""
    mine = sorted(server.stored.values(), key=lambda stored: -stored.frame.seq)
    begun = (one.data for one in mine if one.frame.seq <= layer.frame.seq)
    return unpack(next(data for data in begun if not is_inter(data)), None)[0].profile


async def test_an_adaptive_camera_follows_what_is_in_view(folder: Path, tmp_path: Path) -> None:
    """A real process; a photograph that never changes, so that only the server's answers count."""
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(photograph(np.random.default_rng(5), 120, 160)).save(photos / "a.png")
    async with serving(Street(load_weights(folder).manifest.model_id)) as server:
        own = {name: v for name, v in os.environ.items() if not name.startswith("GLIMPSE_")}
        command = [sys.executable, "-m", "edge.main", "run", "--server", server.address]
        command += ["--insecure", "--source", str(photos), "--loop", "--fps", "10"]
        command += ["--profile", "adaptive", "--json", str(tmp_path / "summary.json")]
        own |= {"GLIMPSE_EDGE_WEIGHTS": str(folder), "GLIMPSE_EDGE_QUIET_AFTER_S": "0.3"}
        process = await asyncio.create_subprocess_exec(
            *command, cwd=Path(__file__).parents[3], env=own,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        await until(lambda: len(server.stored) > 50)
        process.send_signal(signal.SIGTERM)
        _, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        layers = sorted(server.stored.values(), key=lambda layer: layer.frame.seq)
        profiles = [profile_of(server, layer) for layer in layers]
    runs = [profile for profile, _ in itertools.groupby(profiles)]
    assert runs == [DETECT, RECOGNISE, DETECT, RECOGNISE]
    assert profiles.index(RECOGNISE) < 12
    assert profiles[12:].index(DETECT) < 12
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["profile"] == "adaptive"
    assert summary["recognise_layers"] == profiles.count(RECOGNISE)
    headers = [unpack(layer.data, None)[0] for layer in layers if not is_inter(layer.data)]
    assert {(header.profile, header.quality) for header in headers} == {
        (DETECT, 102),
        (RECOGNISE, 255),
    }
