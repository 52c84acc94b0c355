from __future__ import annotations

import numpy as np
import pytest

from bench.accuracy.matching import Matches
from bench.video.clips import Clip, boxes_by_class, pseudo_truth, read_clip
from common.errors import BadPicture
from tests.bench.films import make_film

LABELS = ("person", "car", "motorcycle", "bus", "truck")
PERSON, CAR = 0, 1


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return make_film(tmp_path_factory.mktemp("film") / "yard.mkv", 20)


def test_a_clip_is_read_at_its_rate(path):
    clip = read_clip(path, 5.0, 60.0)
    assert (clip.name, clip.start, clip.size) == ("yard.mkv", 0.0, (192, 144))
    assert len(clip.pictures) == 10
    assert len(read_clip(path, 5.0, 1.0).pictures) == 5
    assert len(read_clip(path, 10.0, 60.0).pictures) == 20


def test_of_the_second_half_no_picture_is_of_the_first(path):
    clip, whole = read_clip(path, 10.0, 60.0, second_half=True), read_clip(path, 10.0, 60.0)
    assert clip.start == pytest.approx(1.0)
    assert len(clip.pictures) == 10
    for seen, there in zip(clip.pictures, whole.pictures[10:], strict=True):
        assert np.array_equal(seen, there)


def test_what_is_no_clip_is_said_by_name(path, tmp_path):
    with pytest.raises(BadPicture, match=r"gone\.mkv: no such file"):
        read_clip(tmp_path / "gone.mkv", 5.0, 60.0)
    (tmp_path / "text.mkv").write_text("not a video")
    with pytest.raises(BadPicture, match=r"text\.mkv"):
        read_clip(tmp_path / "text.mkv", 5.0, 60.0)
    with pytest.raises(BadPicture, match=r"text\.mkv"):
        read_clip(tmp_path / "text.mkv", 5.0, 60.0, second_half=True)
    with pytest.raises(BadPicture, match="1 pictures"):
        read_clip(path, 0.4, 2.0)


def seen(*boxes):
    return np.array(boxes, np.float32).reshape(-1, 6)


def clip_named(name, pictures=4):
    return Clip(name, 0.0, [np.zeros((100, 200, 3), np.uint8)] * pictures)


def test_what_the_detector_is_sure_of_is_the_truth():
    sure, unsure = (0.9, PERSON, 10, 10, 30, 60), (0.3, PERSON, 50, 10, 70, 60)
    found = [seen(sure, unsure)] * 4
    truth = pseudo_truth(found, clip_named("yard.mkv"), LABELS)
    assert boxes_by_class(truth) == {"person": 4}
    assert truth.index["annotations"][0]["bbox"] == [10, 10, 20, 50]
    assert Matches(truth, [boxes[:1] for boxes in found]).score().map == pytest.approx(1)
    assert Matches(truth, [boxes[1:] for boxes in found]).score().map == 0


def test_a_class_that_is_seen_now_and_then_is_not_scored():
    person, car = (0.9, PERSON, 10, 10, 30, 60), (0.9, CAR, 80, 10, 170, 60)
    found = [seen(person)] * 19 + [seen(person, car)]
    truth = pseudo_truth(found, clip_named("yard.mkv", 20), LABELS)
    assert boxes_by_class(truth) == {"person": 20}
    assert Matches(truth, [seen(person)] * 20).score().map == pytest.approx(1)


def test_on_a_known_clip_its_classes_are_scored():
    found = [seen((0.9, PERSON, 10, 10, 30, 60), (0.8, CAR, 80, 10, 170, 60))] * 4
    people = pseudo_truth(found, clip_named("vtest.avi"), LABELS)
    cars = pseudo_truth(found, clip_named("traffic.mp4"), LABELS)
    assert boxes_by_class(people) == {"person": 4}
    assert boxes_by_class(cars) == {"car": 4}


def test_a_detector_that_sees_nothing_is_no_truth():
    with pytest.raises(BadPicture, match=r"yard\.mkv: the detector is sure of too little"):
        pseudo_truth([seen()] * 4, clip_named("yard.mkv"), LABELS)
