"""Matching against the matrix of all pairs, to the bit."""

import pytest
import torch
from box_oracles import pixel_boxes, random_mask
from faster_rcnn.kernels.library import kernels_for
from faster_rcnn.kernels.matching import match_boxes
from faster_rcnn.kernels.reference import Matches, match_by_matrix
from pairwise import pairwise


@pairwise(
    {
        "offset": [0.0, 1.0],
        "shared": [True, False],
        "with_usable": [True, False],
        "with_crowd": [True, False],
        "boxes, objects": [(1500, 20), (512, 1), (7, 3), (513, 64)],
    }
)
def test_equals_the_matrix(offset, shared, with_usable, with_crowd, boxes, objects):
    a = pixel_boxes(boxes) if shared else pixel_boxes(3, boxes)
    gt_boxes = pixel_boxes(3, objects, seed=1)
    valid = random_mask(3, objects, share=0.7, seed=2)
    usable = random_mask(3, boxes, share=0.6, seed=3) if with_usable else None
    crowd = random_mask(3, objects, share=0.3, seed=4) if with_crowd else None
    found = match_boxes(a, gt_boxes, valid, offset=offset, usable=usable, crowd=crowd)
    expected = match_by_matrix(a, gt_boxes, valid, offset, usable, crowd)
    for field, got, want in zip(Matches._fields, found, expected, strict=True):
        assert torch.equal(got, want), field


def test_by_hand():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [20, 20, 30, 30]])
    gt_boxes = torch.tensor([[[0.0, 0, 10, 10], [20, 25, 30, 35], [0, 0, 5, 10]]])
    yes = torch.tensor([[True, True, True]])
    found = match_boxes(
        boxes, gt_boxes, yes, offset=0, crowd=torch.tensor([[False, False, True]])
    )
    # The third object is a crowd: it matches nothing, and holds half of both boxes.
    torch.testing.assert_close(found.overlap, torch.tensor([[1, 0.5, 1 / 3]]))
    assert found.matched.tolist() == [[0, 0, 1]]
    assert found.is_best.tolist() == [[True, False, True]]
    assert found.crowd_share.tolist() == [[0.5, 0.5, 0]]
    first_two = match_boxes(
        boxes, gt_boxes, yes, offset=0, usable=torch.tensor([[False, True, True]])
    )
    assert first_two.is_best.tolist() == [[False, True, True]]


def test_without_objects_and_without_boxes():
    boxes = pixel_boxes(5)
    for gt_boxes in (torch.zeros(2, 0, 4), torch.full((2, 3, 4), float("nan"))):
        valid = torch.zeros(gt_boxes.shape[:2], dtype=torch.bool)
        found = match_boxes(boxes, gt_boxes, valid, offset=0)
        assert not found.overlap.any() and not found.matched.any()
        assert not found.is_best.any() and not found.crowd_share.any()
    nothing = match_boxes(
        boxes[:0], torch.ones(2, 3, 4), torch.ones(2, 3).bool(), offset=0
    )
    assert [tuple(field.shape) for field in nothing] == [(2, 0)] * 4


def test_boxes_that_are_no_numbers_match_nothing():
    boxes = torch.tensor([[float("nan"), 0, 10, 10], [0, 0, 10, 10]])
    found = match_boxes(
        boxes, torch.tensor([[[0.0, 0, 10, 10]]]), torch.tensor([[True]]), offset=0
    )
    assert found.overlap.tolist() == [[0, 1]]
    assert found.is_best.tolist() == [[False, True]]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"boxes": torch.zeros(5, 5)}, "boxes"),
        ({"boxes": torch.zeros(3, 5, 4)}, "boxes"),
        ({"gt_boxes": torch.zeros(2, 4)}, "gt_boxes"),
        ({"gt_valid": torch.zeros(2, 4, dtype=torch.bool)}, "gt_valid"),
        ({"gt_valid": torch.zeros(2, 3)}, "gt_valid"),
        ({"usable": torch.zeros(2, 6, dtype=torch.bool)}, "usable"),
        ({"crowd": torch.zeros(1, 3, dtype=torch.bool)}, "crowd"),
    ],
)
def test_bad_arguments_are_named(change, name):
    arguments = {
        "boxes": torch.zeros(5, 4),
        "gt_boxes": torch.zeros(2, 3, 4),
        "gt_valid": torch.zeros(2, 3, dtype=torch.bool),
        "offset": 0.0,
    }
    with pytest.raises(ValueError, match=rf"^{name}: expected .* found"):
        match_boxes(**(arguments | change))


@pytest.mark.parametrize("optional", [True, False])
def test_is_a_whole_operator(optional):
    inputs = (
        pixel_boxes(20),
        pixel_boxes(2, 3, seed=1),
        random_mask(2, 3, share=0.8, seed=2),
        1.0,
        random_mask(2, 20, share=0.5, seed=3) if optional else None,
        random_mask(2, 3, share=0.5, seed=4) if optional else None,
    )
    torch.library.opcheck(torch.ops.faster_rcnn.match_boxes.default, inputs)


@pytest.mark.skipif(kernels_for("match_boxes", "cpu") is None, reason="not built")
def test_number_of_threads_does_not_matter():
    inputs = (
        pixel_boxes(9000),
        pixel_boxes(3, 100, seed=1),
        torch.ones(3, 100).bool(),
    )
    one = match_boxes(*inputs, offset=1)
    torch.set_num_threads(3)
    try:
        three = match_boxes(*inputs, offset=1)
    finally:
        torch.set_num_threads(1)
    assert all(torch.equal(a, b) for a, b in zip(one, three, strict=True))
