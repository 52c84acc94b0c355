from __future__ import annotations

import torch

from cloud.models.detector import anchor_centres
from train.data import Batch
from train.loss import agreement, assign, detection_loss, generalised_iou, ignored

CENTRES = anchor_centres(8, 8, 8, torch.device("cpu"))  # a picture of 64 x 64


def batch_of(boxes, labels, regions=(), classes=()):
    return Batch(
        x=torch.zeros(1, 3, 64, 64, dtype=torch.uint8),
        boxes=torch.tensor([boxes], dtype=torch.float32).reshape(1, -1, 4),
        labels=torch.tensor([labels]),
        regions=torch.tensor([regions], dtype=torch.float32).reshape(1, -1, 4),
        region_classes=torch.tensor([classes], dtype=torch.bool).reshape(1, -1, 2),
    )


def predictions(box, logit=0.0):
    """Every anchor predicts this box, with equal scores for both classes."""
    return torch.full((1, 64, 2), logit), torch.tensor(box).expand(1, 64, 4).clone()


def test_a_box_is_owned_by_anchors_inside_it_and_only_there():
    batch = batch_of([[8, 8, 40, 40]], [1])
    logits, boxes = predictions([8.0, 8.0, 40.0, 40.0])
    target, owner = assign(logits.sigmoid(), boxes, CENTRES, batch)
    mine = owner[0] >= 0
    assert mine.sum() == 10  # top k
    assert ((CENTRES[mine] > 8) & (CENTRES[mine] < 40)).all()
    assert target[0, mine, 1].max() == 1.0  # a perfect box at its best anchor
    assert target[..., 0].sum() == 0


def test_a_fresh_network_that_overlaps_nothing_still_gets_an_anchor_for_each_box():
    batch = batch_of([[8, 8, 24, 24], [40, 40, 60, 60]], [0, 1])
    logits, boxes = predictions([0.0, 60.0, 1.0, 61.0])
    owner = assign(logits.sigmoid(), boxes, CENTRES, batch)[1]
    assert set(owner.flatten().tolist()) == {-1, 0, 1}


def test_padding_is_no_box():
    batch = batch_of([[8, 8, 40, 40]], [-1])
    logits, boxes = predictions([8.0, 8.0, 40.0, 40.0])
    assert (assign(logits.sigmoid(), boxes, CENTRES, batch)[1] == -1).all()


def test_no_loss_where_a_class_is_not_to_be_judged():
    everywhere = batch_of([[0, 0, 0, 0]], [-1], [[0, 0, 64, 64]], [[True, False]])
    logits, boxes = predictions([0.0, 0.0, 8.0, 8.0], logit=3.0)
    assert ignored(CENTRES, everywhere)[0].tolist() == [[True, False]] * 64
    only_second = detection_loss(logits, boxes, CENTRES, everywhere).score
    everywhere.region_classes[:] = True
    nothing = detection_loss(logits, boxes, CENTRES, everywhere).score
    assert only_second > 0
    assert nothing == 0


def test_loss_falls_towards_the_truth():
    batch = batch_of([[8, 8, 40, 40]], [1])
    _, boxes = predictions([8.0, 8.0, 40.0, 40.0])
    target = assign(torch.full((1, 64, 2), 0.5), boxes, CENTRES, batch)[0]
    right = torch.where(target > 0, 6.0, -6.0)
    good = detection_loss(right, boxes, CENTRES, batch)
    bad = detection_loss(-right, boxes + 6, CENTRES, batch)
    assert good.box < 1e-4 < bad.box
    assert good.total < 0.2 * bad.total


def test_who_agrees_with_the_teacher_has_nothing_to_learn():
    logits, boxes = predictions([8.0, 8.0, 40.0, 40.0], logit=-6.0)
    logits[0, 9] = torch.tensor([4.0, -6.0])
    same = agreement(logits, boxes, logits, boxes)
    assert same.score < 1e-6
    assert same.box < 1e-6
    blind = agreement(torch.full_like(logits, -6.0), boxes, logits, boxes)
    assert blind.score > 1  # the one thing that the teacher is sure of is not found
    assert blind.box < 1e-6


def test_boxes_follow_the_teacher_only_where_it_is_sure():
    logits, boxes = predictions([8.0, 8.0, 40.0, 40.0], logit=-6.0)
    elsewhere = boxes + 6
    assert agreement(logits, elsewhere, logits, boxes).box == 0
    logits[0, 9, 0] = 4.0
    wrong = boxes.clone()
    wrong[0, 9] += 6
    beside = boxes.clone()
    beside[0, 10] += 6
    assert agreement(logits, wrong, logits, boxes).box > 0.3
    assert agreement(logits, beside, logits, boxes).box < 1e-6


def test_a_teacher_who_sees_nothing_asks_for_nothing_to_be_found():
    quiet, boxes = predictions([8.0, 8.0, 40.0, 40.0], logit=-9.0)
    loud, _ = predictions([8.0, 8.0, 40.0, 40.0], logit=3.0)
    loud = loud.requires_grad_()
    agreement(loud, boxes, quiet, boxes).total.backward()
    assert (loud.grad > 0).all()


def test_generalised_iou_of_known_boxes():
    a = torch.tensor([0.0, 0, 10, 10])
    assert generalised_iou(a, a) == 1
    apart = torch.tensor([20.0, 0, 30, 10])
    assert generalised_iou(a, apart, plain=True) == 0
    assert torch.isclose(generalised_iou(a, apart), torch.tensor(-1 / 3))
