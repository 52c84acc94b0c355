"""Reference pictures: which frames become one, and what they are."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from common.bitstream import RECOGNISE
from common.codec import Coded, MachineCodec
from common.stills import EXIF_IFD, MAKER_NOTE
from edge.capture.picture import Picture, Pixels
from edge.pictures.still import Lately, Schedule, Stills, likeness, make_still, median, thumbnail
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


def test_who_passes_is_not_in_the_picture_of_a_place() -> None:
    place = scene(1)
    pictures = [place.copy() for _ in range(9)]
    for n, picture in enumerate(pictures):
        picture[40:80, 10 * n : 10 * n + 30] = 250  # three or four of the nine see it at a place
    assert np.array_equal(median(pictures), place)
    assert np.array_equal(median(pictures[:1]), pictures[0])


def test_of_the_last_seconds_a_few_pictures_are_kept() -> None:
    lately = Lately(16.0)
    kept: list[float] = []
    for now in np.arange(100, 140, 0.2):
        assert lately.enough == (len(kept) >= 9)
        if lately.is_next(float(now)):
            kept.append(float(now))
            lately.add(np.full((2, 2, 3), len(kept), np.uint8))
    assert np.diff(kept) == pytest.approx(2.0)
    assert [p[0, 0, 0] for p in lately.pictures] == [*range(len(kept) - 8, len(kept) + 1)]
    lately.add(np.zeros((4, 2, 3), np.uint8))  # of another size: the source is another one
    assert not lately.enough
    lately.clear()
    assert lately.is_next(140.0)


def test_without_a_window_a_still_is_a_frame() -> None:
    lately = Lately(0.0)
    for shade in (1, 2):
        assert lately.is_next(5.0)
        lately.add(np.full((2, 2, 3), shade, np.uint8))
        assert lately.enough
        assert [p[0, 0, 0] for p in lately.pictures] == [shade]


def test_a_still_is_an_avif_file_that_carries_its_layer() -> None:
    layer = bytes(range(256))
    small, large = (make_still(scene(1), quality, layer) for quality in (20, 90))
    assert len(small) < len(large)
    with Image.open(io.BytesIO(small)) as picture:
        assert (picture.format, picture.size) == ("AVIF", (128, 96))
        assert picture.getexif().get_ifd(EXIF_IFD)[MAKER_NOTE] == layer
        shown = np.asarray(picture.convert("RGB")).astype(float)
    assert np.abs(shown - scene(1)).mean() < 20


class Site:
    """Stills of a camera whose clock is moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, window: float, every: float = HOUR) -> None:
        self.given: list[tuple[int, Pixels, bytes]] = []
        self.now, self.seq = 1000.0, 0
        clock = SimpleNamespace(monotonic=lambda: self.now)
        monkeypatch.setattr("edge.pictures.still.time", clock)
        self.stills = Stills(
            Schedule(every), Lately(window), layer=self._layer, side=64, quality=90, give=self._give
        )

    def _layer(self, picture: Picture, quality: int) -> bytes:
        assert (picture.width, picture.height, quality) == (128, 96, 90)
        return b"layer of %d" % round(picture.pixels.mean())

    def _give(self, seq: int, data: bytes) -> None:
        with Image.open(io.BytesIO(data)) as picture:
            layer = picture.getexif().get_ifd(EXIF_IFD)[MAKER_NOTE]
            self.given.append((seq, np.asarray(picture.convert("RGB")), layer))

    async def see(self, pictures: Iterator[Pixels], coded: Coded, seconds: float) -> None:
        """A frame a second."""
        for _ in range(round(seconds)):
            self.stills.offer(self.seq, next(pictures), coded)
            self.now += 1.0
            self.seq += 1
            if self.stills._making is not None:
                await asyncio.wait([self.stills._making])


def latent(profile: int = 0) -> Coded:
    model = drawn(8) if profile else scene_model(8)
    size = {"width": 128, "height": 96, "side": 128, "quality": 90, "profile": profile}
    return MachineCodec(model, 1).encode(np.zeros((8, 6, 8), np.int16), **size)


def passing(place: Pixels) -> Iterator[Pixels]:
    """Something bright crosses, over and over: at each place for a fifth of the time."""
    n = 0
    while True:
        picture = place.copy()
        at = n * 24 % 128
        picture[20:80, at : at + 24] = 255
        yield picture
        n += 1


async def test_a_still_waits_for_its_window_and_shows_the_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = Site(monkeypatch, window=16.0)
    place = (scene(1) // 2).astype(np.uint8)
    await site.see(passing(place), latent(), 16)
    assert site.given == []
    await site.see(passing(place), latent(), HOUR / 60)
    [(seq, shown, layer)] = site.given
    assert seq == 16  # the frame that completed it
    assert shown.shape == (48, 64, 3)
    assert shown.max() < 160  # nothing of what crossed
    assert layer == b"layer of %d" % round(shown.mean())


async def test_of_another_scene_a_still_shows_that_one_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = Site(monkeypatch, window=16.0, every=120.0)
    for number in (1, 2):
        await site.see(passing((scene(number) // 2).astype(np.uint8)), latent(), 60)
    (_, first, _), (seq, second, _) = site.given
    assert 80 <= seq <= 82  # five looks, then a window of it
    wanted = np.asarray(Image.fromarray(scene(2) // 2).resize((64, 48)))
    assert np.abs(second.astype(int) - wanted).mean() < 10
    assert np.abs(second.astype(int) - first).mean() > 20


async def test_at_the_end_a_still_that_is_due_is_made_of_what_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = Site(monkeypatch, window=16.0)
    await site.see(passing(scene(1)), latent(), 3)
    assert site.given == []
    await site.stills.close()
    assert [seq for seq, _, _ in site.given] == [2]
    await site.stills.close()  # once


async def test_frames_without_a_latent_are_nothing_to_compare_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = Site(monkeypatch, window=0.0)
    await site.see(passing(scene(1)), latent(RECOGNISE), 3)
    assert site.given == []
    await site.see(passing(scene(1)), latent(), 3)
    assert [seq for seq, _, _ in site.given] == [3]
