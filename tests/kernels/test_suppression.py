"""The compiled suppression against torchvision's, to the index."""

import numpy as np
import pytest
import torch
from faster_rcnn.kernels.library import kernels_for
from faster_rcnn.kernels.reference import nms_by_torchvision
from pairwise import pairwise

KERNELS = kernels_for("nms", "cpu")

pytestmark = pytest.mark.skipif(
    KERNELS is None, reason="the compiled kernels are not built"
)


def proposals(count, *, images=1, seed=0, spread=25.0):
    """Boxes in clusters, as an RPN gives them, with scores and masks."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(0, 800, (max(count // 40, 1), 2))
    centre = centres[rng.integers(0, len(centres), (images, count))]
    centre = centre + rng.normal(0, spread, (images, count, 2))
    sides = rng.uniform(30, 200, (images, count, 2))
    boxes = np.concatenate((centre - sides / 2, centre + sides / 2), axis=2)
    return (
        torch.tensor(boxes.clip(0, 800), dtype=torch.float32),
        torch.tensor(rng.normal(size=(images, count)), dtype=torch.float32),
        torch.tensor(rng.random((images, count)) < 0.9),
        torch.tensor(rng.integers(0, 4, (images, count))),
    )


def both(boxes, scores, valid, groups, limit, slots, offset=0.0):
    inputs = (boxes, scores, valid, groups, float(np.float32(limit)), slots, offset)
    index, kept = KERNELS.nms(*inputs)
    expected = nms_by_torchvision(*inputs)
    assert torch.equal(kept, expected[1])
    assert torch.equal(index, expected[0])
    return index, kept


@pairwise(
    {
        "limit": [0.0, 0.3, 0.5, 0.7, 0.95, 1.0],
        "offset": [0.0, 1.0],
        "slots": [1, 50, 3000],
    }
)
def test_keeps_what_torchvision_keeps(limit, offset, slots):
    _, kept = both(*proposals(1500, images=2), limit, slots, offset)
    assert kept.any()


@pairwise(
    {
        "limit": [0.4, 0.7],
        "sides": [(4, 8), (1, 700), (300, 310)],
        "place": [0, 1e4, -1e7],
        "unit": [1e-3, 1, 1e6],
    }
)
def test_boxes_of_any_size_at_any_place(limit, sides, place, unit):
    """Kept boxes are looked for near a box only; none must be overlooked."""
    rng = np.random.default_rng(0)
    sides = rng.uniform(*sides, (1, 700, 2))
    corner = rng.uniform(0, 800, (1, 700, 2)) + place
    # Some twice, slightly apart: overlaps on both sides of the limit.
    corner[:, 1::2] = corner[:, ::2] + sides[:, ::2] * rng.uniform(-0.3, 0.3, 2)
    sides[:, 1::2] = sides[:, ::2] * rng.uniform(0.8, 1.25, 2)
    boxes = unit * np.concatenate((corner, corner + sides), axis=2)
    _, scores, valid, groups = proposals(700)
    both(torch.tensor(boxes, dtype=torch.float32), scores, valid, groups, limit, 600)


@pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 65, 127, 129])
def test_any_number_of_boxes(count):
    both(*proposals(count, images=3), 0.5, 40)


def test_many_equal_scores_and_boxes():
    boxes, scores, valid, groups = proposals(900, images=2)
    scores = (scores * 3).round() / 3
    scores[0, ::7] = -0.0
    scores[0, 3::7] = 0.0
    boxes = (boxes / 20).round() * 20
    index, kept = both(boxes, scores, valid, groups, 0.5, 300)
    chosen = scores.gather(1, index)
    assert ((chosen[:, 1:] <= chosen[:, :-1]) | ~kept[:, 1:]).all()


@pytest.mark.parametrize("third", [1 / 3, 1 / 7, 2 / 3, 0.6])
def test_overlaps_at_the_limit(third):
    """Boxes whose IoU is the limit, or one rounding beside it."""
    limit = np.float32(third)
    rng = np.random.default_rng(0)
    left = rng.uniform(0, 1e4, 1000).astype(np.float32)
    width = rng.uniform(1, 300, 1000).astype(np.float32)
    shift = width * np.float32((1 - third) / (1 + third))
    first = np.stack((left, left * 0, left + width, left * 0 + 10), axis=1)
    second = first + np.stack((shift, shift * 0, shift, shift * 0), axis=1)
    pairs = torch.tensor(np.stack((first, second), axis=1))  # (1000, 2, 4)
    scores = torch.tensor([1.0, 0.5]).expand(1000, 2)
    valid = torch.ones(1000, 2, dtype=torch.bool)
    _, kept = both(pairs, scores, valid, torch.zeros(1000, 2).long(), limit, 2)
    assert 0 < kept[:, 1].sum() < 1000  # both sides of the limit do occur


def test_limit_below_zero_and_areas_too():
    """The limit that a threshold of 0, inclusive, becomes."""
    boxes = torch.tensor([[[0.0, 0, 10, 10], [40, 0, 10, 10], [90, 0, 95, 10]]])
    both(
        boxes,
        torch.tensor([[3.0, 2, 1]]),
        torch.ones(1, 3, dtype=torch.bool),
        torch.zeros(1, 3, dtype=torch.int64),
        np.nextafter(np.float32(0), np.float32(-1)),
        3,
    )


def test_sorted_and_unsorted_scores_agree():
    boxes, scores, valid, groups = proposals(700)
    index, kept = both(boxes, scores, valid, groups, 0.6, 200)
    order = scores[0].argsort(descending=True)
    again, _ = both(
        boxes[:, order], scores[:, order], valid[:, order], groups[:, order], 0.6, 200
    )
    assert torch.equal(order[again[0]][kept[0]], index[0][kept[0]])


def test_boxes_that_are_no_numbers_meet_nothing():
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 9], [1, 0, 10, 10]]])
    for bad in (float("nan"), float("inf"), -float("inf")):
        for column in range(4):
            junk = boxes.clone()
            junk[0, 1, column] = bad
            index, kept = KERNELS.nms(
                junk,
                torch.tensor([[1.0, 3.0, 2.0]]),
                torch.ones(1, 3, dtype=torch.bool),
                torch.zeros(1, 3, dtype=torch.int64),
                0.5,
                3,
                0.0,
            )
            assert set(index[0, kept[0]].tolist()) >= {1, 2}, (bad, column)


def test_scores_that_are_no_numbers_come_first():
    boxes = torch.tensor(
        [[[0.0, 0, 1, 1], [5, 0, 6, 1], [9, 0, 10, 1], [20, 0, 21, 1]]]
    )
    scores = torch.tensor([[1.0, float("inf"), float("nan"), -float("inf")]])
    ones = torch.ones(1, 4, dtype=torch.bool)
    index, _ = both(boxes, scores, ones, torch.zeros(1, 4).long(), 0.5, 4)
    assert index.tolist() == [[2, 1, 0, 3]]


def test_number_of_threads_does_not_matter():
    inputs = proposals(600, images=5)
    one = both(*inputs, 0.5, 100)
    torch.set_num_threads(3)
    try:
        three = both(*inputs, 0.5, 100)
    finally:
        torch.set_num_threads(1)
    assert torch.equal(one[0], three[0])
