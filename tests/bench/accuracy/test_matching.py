from __future__ import annotations

import json

import numpy as np
import pytest

from bench.accuracy.matching import Matches, Score, Truth, draws
from tests.train.scenes import make_folder
from train.evaluate import score


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Scenes of drawn cars with more boxes than that: people too, and ids out of order."""
    path = make_folder(tmp_path_factory.mktemp("scenes"), pictures=12) / "val.json"
    index = json.loads(path.read_text())
    rng = np.random.default_rng(0)
    for i, image in enumerate(index["images"]):
        for k in range(i % 3):
            box = [*rng.uniform(0, 40, 2), *rng.uniform(8, 40, 2)]
            row = {"id": 100 + 10 * i + k, "image_id": image["id"], "category_id": 1}
            area = {"area": box[2] * box[3], "iscrowd": 0}
            index["annotations"].append(row | {"bbox": box} | area)
    index["images"] = [index["images"][i] for i in rng.permutation(12)]
    path.write_text(json.dumps(index))
    return path


def guesses(truth: Truth, seed: int = 1):
    """Boxes near the true ones, some right, some off, some of nothing."""
    rng = np.random.default_rng(seed)
    found = []
    for image in truth.images:
        near = [a for a in truth.index["annotations"] if a["image_id"] == image["id"]]
        rows = []
        for a in near * 2:
            x, y, w, h = np.array(a["bbox"]) + rng.normal(0, 3, 4)
            label = truth.categories.index(a["category_id"])
            rows.append([rng.random(), label, x, y, x + max(w, 2), y + max(h, 2)])
        rows.append([rng.random(), rng.integers(2), 5, 5, 30, 30])
        found.append(np.array(rows, np.float32))
    return found


def as_rows(truth: Truth, found):
    return [
        {
            "image_id": image["id"],
            "category_id": int(label),
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": confidence,
        }
        for image, boxes in zip(truth.images, found, strict=True)
        for confidence, label, x1, y1, x2, y2 in boxes.tolist()
    ]


def test_all_pictures_score_as_in_training(dataset):
    truth = Truth(dataset)
    found = guesses(truth)
    ids = [image["id"] for image in truth.images]
    wanted = score(dataset, ids, as_rows(truth, found), truth.categories)
    got = Matches(truth, found).score()
    assert 0.05 < got.map < got.map50 < 0.95
    assert vars(got) == pytest.approx(wanted)


def test_a_draw_scores_as_the_data_set_that_it_makes(dataset, tmp_path):
    """Pictures drawn twice are two pictures: against COCO's own tool on a data set made so."""
    truth = Truth(dataset)
    found = guesses(truth)
    matches = Matches(truth, found)
    for i, draw in enumerate(draws(len(truth.images), 4)):
        index = {"categories": truth.index["categories"], "images": [], "annotations": []}
        for new_id, at in enumerate(draw.tolist(), 1):
            image = truth.images[at]
            index["images"].append(image | {"id": new_id})
            for a in truth.index["annotations"]:
                if a["image_id"] == image["id"]:
                    fresh = {"id": len(index["annotations"]) + 1, "image_id": new_id}
                    index["annotations"].append(a | fresh)
        path = tmp_path / f"{i}.json"
        path.write_text(json.dumps(index))
        drawn = Truth(path)
        rows = as_rows(drawn, [found[at] for at in draw])
        wanted = score(path, [image["id"] for image in drawn.images], rows, drawn.categories)
        # equal scores may be ranked in another order there: a picture drawn twice has each twice
        assert matches.score(draw).map == pytest.approx(wanted["map"], abs=0.02)
        assert matches.score(draw).map50 == pytest.approx(wanted["map50"], abs=0.02)
    assert matches.score() == Matches(truth, found).score()  # a draw leaves nothing behind


def test_the_first_pictures_alone(dataset):
    truth = Truth(dataset, 5)
    found = guesses(truth)
    ids = [image["id"] for image in truth.images]
    wanted = score(dataset, ids, as_rows(truth, found), truth.categories)
    assert Matches(truth, found).score().map == pytest.approx(wanted["map"])


def test_nothing_found_scores_nothing(dataset):
    truth = Truth(dataset)
    nothing = [np.zeros((0, 6), np.float32)] * 12
    assert Matches(truth, nothing).score(np.arange(12)) == Score(0.0, 0.0)


def test_draws_repeat_and_differ():
    first, again = draws(50, 3), draws(50, 3)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert not (first[0] == first[1]).all()
    assert all(d.min() >= 0 and d.max() < 50 and len(d) == 50 for d in first)
