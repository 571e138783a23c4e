"""Matching in Triton against the operator on CPUs, to the bit."""

import math

import pytest
import torch
from box_oracles import pixel_boxes, random_mask
from faster_rcnn.kernels.library import kernels_for
from faster_rcnn.kernels.matching import match_boxes
from faster_rcnn.kernels.reference import Matches
from pairwise import pairwise

pytestmark = [
    pytest.mark.slow,
    pytest.mark.gpu,
    pytest.mark.skipif(
        kernels_for("match_boxes", "cpu") is None,
        reason="the compiled kernels are not built",
    ),
]


@pytest.fixture
def check(gpu, monkeypatch):
    from faster_rcnn.kernels.gpu import matching as gpu_matching

    monkeypatch.setattr(gpu_matching, "TILE", 32)  # so that there are several

    def check(boxes, gt_boxes, gt_valid, *, offset=0.0, usable=None, crowd=None):
        want = match_boxes(
            boxes, gt_boxes, gt_valid, offset=offset, usable=usable, crowd=crowd
        )
        inputs = (boxes, gt_boxes, gt_valid, offset, usable, crowd)
        got = gpu_matching.match_boxes(
            *(i.to(gpu) if isinstance(i, torch.Tensor) else i for i in inputs)
        )
        for field, mine, theirs in zip(Matches._fields, got, want, strict=True):
            assert mine.dtype == theirs.dtype
            assert torch.equal(mine.cpu(), theirs), field
        return want

    return check


@pairwise(
    {
        "offset": [0.0, 1.0],
        "shared": [True, False],
        "masks": [True, False],
    }
)
def test_equals_the_operator(check, offset, shared, masks):
    boxes = pixel_boxes(100) if shared else pixel_boxes(2, 100)
    found = check(
        boxes,
        pixel_boxes(2, 12, seed=1),
        random_mask(2, 12, share=0.8, seed=2),
        offset=offset,
        usable=random_mask(2, 100, share=0.6, seed=3) if masks else None,
        crowd=random_mask(2, 12, share=0.3, seed=4) if masks else None,
    )
    assert found.is_best.sum() > 5 and found.overlap.max() > 0.5
    assert found.crowd_share.any() == masks


def test_boxes_that_are_no_numbers(check):
    boxes, gt_boxes = pixel_boxes(70), pixel_boxes(1, 16, seed=1)
    for k, value in enumerate([math.nan, math.inf, -math.inf, 1e30]):
        for side in range(4):
            boxes[4 * k + side, side] = value
            gt_boxes[0, 4 * k + side, side] = value
    gt_boxes[0, 3] = boxes[20]
    valid = torch.ones(1, 16, dtype=torch.bool)
    for crowd in (None, random_mask(1, 16, share=0.5, seed=5)):
        check(boxes, gt_boxes, valid, crowd=crowd)


def test_nothing_to_match(check):
    boxes, gt_boxes = pixel_boxes(40), pixel_boxes(2, 3, seed=1)
    check(boxes, gt_boxes, torch.zeros(2, 3, dtype=torch.bool))
    check(boxes, gt_boxes[:, :0], torch.zeros(2, 0, dtype=torch.bool))
    check(boxes[:0], gt_boxes, torch.ones(2, 3, dtype=torch.bool))
    check(boxes[:1], gt_boxes[:, :1].contiguous(), torch.ones(2, 1, dtype=torch.bool))
    check(boxes, gt_boxes[:0], torch.ones(0, 3, dtype=torch.bool))
    nothing_usable = torch.zeros(2, 40, dtype=torch.bool)
    check(boxes, gt_boxes, torch.ones(2, 3, dtype=torch.bool), usable=nothing_usable)
