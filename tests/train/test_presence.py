from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.train.scenes import LABELS, make_folder
from train.data import CocoFolder, Sample
from train.presence import average_precision, mean_average_precision, presence, truth

PERSON, CAR = LABELS.index("person"), LABELS.index("car")


def sample(boxes=(), labels=(), regions=(), flags=()):
    return Sample(
        1,
        np.zeros((64, 96, 3), np.uint8),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(labels, np.int64),
        np.array(regions, np.float32).reshape(-1, 4),
        np.array(flags, bool).reshape(-1, 2),
    )


def test_a_box_makes_its_class_present_and_a_crowd_makes_one_without_unknown():
    present, known = presence(sample([[0, 0, 9, 9]], [CAR], [[0, 0, 9, 9]], [[True, False]]))
    assert present.tolist() == [False, True]
    assert known.tolist() == [False, True]


def test_a_class_with_a_box_is_known_whatever_else_is_to_be_ignored():
    present, known = presence(sample([[0, 0, 9, 9]], [CAR], [[0, 0, 9, 9]], [[False, True]]))
    assert present.tolist() == [False, True]
    assert known.tolist() == [True, True]


def test_what_a_window_cuts_off_decides():
    things = sample([[0, 0, 20, 10], [60, 0, 80, 10]], [CAR, PERSON])

    def within(*window):
        return [flags.tolist() for flags in presence(things, np.array(window, np.float32))]

    assert within(0, 0, 32, 64) == [[False, True], [True, True]]
    # a fifth of the car, a tenth of the person
    assert within(16, 0, 62, 64) == [[False, False], [False, False]]
    assert within(30, 20, 50, 60) == [[False, False], [True, True]]


def test_a_region_beside_the_window_hides_nothing():
    crowd = sample(regions=[[0, 0, 10, 10]], flags=[[True, False]])
    assert presence(crowd, np.array([0, 0, 32, 32], np.float32))[1].tolist() == [False, True]
    assert presence(crowd, np.array([16, 0, 48, 32], np.float32))[1].tolist() == [True, True]


def test_an_index_says_what_its_samples_say(tmp_path):
    folder = make_folder(tmp_path / "scenes")
    data = CocoFolder(folder, "val")
    index = json.loads((folder / "val.json").read_text())
    present, known = truth(index, [s.image_id for s in data.samples])
    for i, seen in enumerate(data.samples):
        assert np.array_equal(presence(seen), (present[i], known[i]))
    assert not known[1, PERSON]  # not labelled there
    assert not known[0, PERSON]  # a crowd


def test_average_precision_of_known_rankings():
    def ap(present, scores):
        return average_precision(np.array(present, bool), np.array(scores, float))

    assert ap([1, 1, 0, 0], [4, 3, 2, 1]) == 1.0
    assert ap([0, 1, 0, 1], [4, 3, 2, 1]) == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert ap([1, 0], [5, 5]) == ap([0, 1], [5, 5]) == 0.5
    assert np.isnan(ap([0, 0], [1, 2]))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=1), st.randoms())
def test_average_precision_does_not_depend_on_order(rows, random):
    shuffled = random.sample(rows, len(rows))

    def ap(some):
        present, scores = zip(*some, strict=True)
        return average_precision(np.array(present), np.array(scores, float))

    assert ap(rows) == pytest.approx(ap(shuffled), nan_ok=True)


def test_a_class_is_not_scored_where_it_is_unknown():
    present = np.array([[1, 0], [0, 1], [0, 0]], bool)
    known = np.array([[1, 1], [1, 1], [0, 1]], bool)
    scores = np.array([[0.5, 0.1], [0.1, 0.9], [0.9, 0.5]])
    mean, each = mean_average_precision(present, known, scores)
    assert each.tolist() == [1.0, 1.0]
    assert mean == 1.0


def test_a_class_that_is_nowhere_has_no_part_in_the_mean():
    present = np.array([[1, 0], [0, 0]], bool)
    mean, each = mean_average_precision(present, np.ones_like(present), np.array([[1, 1], [2, 2]]))
    assert mean == each[0] == 0.5
    assert np.isnan(each[1])
    nobody = np.zeros((2, 2), bool)
    assert mean_average_precision(nobody, ~nobody, np.zeros((2, 2)))[0] == 0.0
