"""Reference pictures: which frames become one, and what they are."""

from __future__ import annotations

import asyncio
import io

import numpy as np
import pytest
from PIL import Image

from common.bitstream import RECOGNISE
from common.codec import MachineCodec
from edge.capture.picture import Pixels
from edge.pictures.still import Schedule, Stills, likeness, make_still, thumbnail
from tests.common.latents import drawn, scene_model
from tests.weights import photograph

HOUR = 3600.0


def scene(seed: int) -> Pixels:
    picture: Pixels = photograph(np.random.default_rng(seed), 96, 128)
    return picture


def due(schedule: Schedule, picture: Pixels, moments: list[float]) -> list[float]:
    return [now for now in moments if schedule.is_due(picture, now)]


def every_second(first: float, last: float) -> list[float]:
    return [float(now) for now in np.arange(first, last, 1.0)]


def test_the_first_frame_and_then_one_an_hour() -> None:
    schedule = Schedule(HOUR)
    found = due(schedule, scene(1), every_second(100, 100 + 2.5 * HOUR))
    assert found == [100, 100 + HOUR, 100 + 2 * HOUR]


def test_another_scene_that_stays_is_due_and_not_too_often() -> None:
    schedule = Schedule(HOUR)
    assert due(schedule, scene(1), [0.0]) == [0.0]
    assert due(schedule, scene(2), every_second(1, 4)) == []  # a bus goes by
    assert due(schedule, scene(1), every_second(4, 600)) == []
    assert due(schedule, scene(2), every_second(600, 700)) == [604]
    assert due(schedule, scene(1), every_second(700, 604 + HOUR / 6)) == []
    assert due(schedule, scene(1), every_second(604 + HOUR / 6, 1300)) == [604 + HOUR / 6]


def test_light_and_what_moves_make_no_other_scene() -> None:
    first = scene(1)
    darker = (first * 0.4).astype(np.uint8) + np.uint8(9)
    crossed = first.copy()
    crossed[40:80, 20:60] = 250
    for picture in (darker, crossed):
        assert likeness(thumbnail(first), thumbnail(picture)) > 0.5
    assert likeness(thumbnail(first), thumbnail(scene(2))) < 0.5
    dark = np.zeros_like(first)
    assert likeness(thumbnail(first), thumbnail(dark)) < 0.5
    assert likeness(thumbnail(dark), thumbnail(dark)) == pytest.approx(1)


def test_a_still_is_an_avif_file_of_the_working_size() -> None:
    small, large = (make_still(scene(1), (64, 48), quality) for quality in (20, 90))
    assert len(small) < len(large)
    with Image.open(io.BytesIO(small)) as picture:
        assert (picture.format, picture.size) == ("AVIF", (64, 48))
        shown = np.asarray(picture.convert("RGB")).astype(float)
    scaled = np.asarray(Image.fromarray(scene(1)).resize((64, 48), Image.Resampling.BILINEAR))
    assert np.abs(shown - scaled).mean() < 20


async def test_one_is_made_of_a_frame_with_a_latent_and_given_on() -> None:
    given: list[tuple[int, bytes]] = []
    stills = Stills(Schedule(HOUR), side=64, quality=50, give=lambda *one: given.append(one))
    y = np.zeros((8, 6, 8), np.int16)
    size = {"width": 128, "height": 96, "side": 128, "quality": 90}
    presence = MachineCodec(drawn(8), 1).encode(y, profile=RECOGNISE, **size)
    detect = MachineCodec(scene_model(8), 1).encode(y, **size)
    stills.offer(3, scene(1), presence)
    await asyncio.sleep(0)
    assert given == []
    for seq in (4, 5):
        stills.offer(seq, scene(1), detect)
    await stills.close()
    [(seq, data)] = given
    assert seq == 4
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.size == (64, 48)
