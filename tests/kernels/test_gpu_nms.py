"""Suppression in Triton against the operator on CPUs, to the index."""

import math

import numpy as np
import pytest
import torch
from faster_rcnn.nms import nms
from faster_rcnn.nms.nms import _float32_limit

pytestmark = [pytest.mark.slow, pytest.mark.gpu]


@pytest.fixture
def check(gpu, monkeypatch):
    """Compares both; panels and blocks are small so that there are several of each."""
    from faster_rcnn.kernels.gpu import suppression as gpu_nms

    for name, value in [("PANEL", 64), ("TILE", 64), ("BLOCK", 32), ("SHARES", 2)]:
        monkeypatch.setattr(gpu_nms, name, value)
    monkeypatch.setattr(gpu_nms, "AT_ONCE", 1)

    def check(boxes, scores, valid=None, groups=None, *, threshold=0.5, **changes):
        boxes, scores = torch.as_tensor(boxes), torch.as_tensor(scores)
        if valid is None:
            valid = torch.ones_like(scores, dtype=torch.bool)
        if groups is None:
            groups = torch.zeros_like(valid, dtype=torch.int64)
        slots = changes.pop("max_outputs", scores.shape[1])
        offset = changes.get("offset", 0.0)
        want = nms(
            boxes, scores, valid, threshold=threshold, groups=groups,
            max_outputs=slots, **changes,
        )  # fmt: skip
        limit = _float32_limit(threshold, inclusive=changes.get("inclusive", False))
        inputs = [t.to(gpu) for t in (boxes, scores, valid, groups)]
        index, kept = gpu_nms.nms(*inputs, limit, slots, offset)
        assert torch.equal(kept.cpu(), want[1])
        assert torch.equal(index.cpu(), want[0])
        return [index[i][kept[i]].tolist() for i in range(len(boxes))]

    return check


def clusters(count, *, images=2, seed=0):
    """Boxes that overlap much, in whole pixels, so that equal overlaps are common."""
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 40, (images, count, 2))
    sides = rng.integers(10, 30, (images, count, 2))
    boxes = np.concatenate((corner, corner + sides), axis=2)
    return (
        torch.tensor(boxes, dtype=torch.float32),
        torch.tensor(rng.normal(size=(images, count)), dtype=torch.float32),
        torch.tensor(rng.random((images, count)) < 0.9),
        torch.tensor(rng.integers(-1, 2, (images, count))),
    )


def test_by_hand(check):
    boxes = [[[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 5], [20, 20, 30, 30]]]
    scores = [[0.5, 0.9, 0.7, 0.8]]
    assert check(boxes, scores) == [[1, 3, 2]]
    assert check(boxes, scores, inclusive=True) == [[1, 3]]
    assert check(boxes, scores, offset=1.0) == [[1, 3]]
    assert check(boxes, scores, max_outputs=2) == [[1, 3]]


@pytest.mark.parametrize(
    ("threshold", "offset", "slots"),
    [(0.0, 1.0, 9), (0.0, 0.0, 200), (0.3, 0.0, 40), (0.7, 1.0, 50), (0.7, 1.0, 200)],
)
def test_several_panels_and_groups(check, threshold, offset, slots):
    kept = check(*clusters(130), threshold=threshold, offset=offset, max_outputs=slots)
    assert min(len(best) for best in kept) >= 9


def test_kept_boxes_of_earlier_panels_suppress(check):
    # All alike but the last; and a chain in which each overlaps the next.
    same = torch.tensor([[0.0, 0, 10, 10]]).repeat(100, 1)
    same[99] = torch.tensor([50.0, 0, 60, 10])
    assert check(same[None], torch.arange(100, 0, -1.0)[None]) == [[0, 99]]
    at = 4.0 * torch.arange(100)
    chain = torch.stack((at, 0 * at, at + 10, 0 * at + 10), dim=1)
    kept = check(chain[None], torch.arange(100, 0, -1.0)[None], threshold=0.4)
    assert kept == [list(range(0, 100, 2))]


def test_ties_zeros_and_nan(check):
    boxes, scores, valid, groups = clusters(70)
    scores = (scores * 2).round() / 2
    scores[0, ::7], scores[0, 3::7] = -0.0, 0.0
    scores[1, ::5], scores[1, 1::5] = math.nan, -math.inf
    scores[1, 2::5] = math.inf
    check(boxes, scores, valid, groups)
    boxes[0, ::9, 2] = boxes[0, ::9, 0]  # no area
    boxes[0, 1::9] = boxes[0, 1::9].flip(1)  # inverted
    boxes[0, 2::9, 2] = boxes[0, 2::9, 0] - 30  # negative area
    boxes[1, ::9, 1] = math.nan
    boxes[1, 1::9, 2] = math.inf
    boxes[1, 2::9] = 1e30
    check(boxes, scores, valid, groups, threshold=0.0)
    check(boxes, scores, valid, groups, threshold=0.5, inclusive=True)


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_overlaps_at_the_threshold(check, threshold):
    # IoU k / 10, where k / 10 rounds up, down or not at all, each in its own group.
    pairs = [[[0.0, 0, 10, 1], [0, 0, float(k), 1]] for k in range(1, 11)]
    groups = torch.arange(10).repeat_interleave(2)[None]
    boxes = torch.tensor(pairs).reshape(1, 20, 4)
    scores = torch.arange(20, 0, -1.0)[None]
    for inclusive in (False, True):
        check(boxes, scores, None, groups, threshold=threshold, inclusive=inclusive)


def test_no_division_decides_as_a_division():
    """The kernel's test for `inter / both > limit`, one float32 to both sides."""
    from faster_rcnn.kernels.gpu.suppression import _rounding

    rng = np.random.default_rng(0)
    for limit in map(np.float32, (0.3, 0.5, 0.7, 0.999, 1.0, 0.0012, 1 / 3)):
        half_step, divide = _rounding(float(limit))
        assert not divide
        both = (2.0 ** rng.uniform(-60, 60, 20000)).astype(np.float32)
        inter = (both * limit).astype(np.float32)
        for _ in range(3):
            # float64 holds the product exactly, and the difference as far as a fused
            # multiply-add does.
            product = np.float64(limit) * both.astype(np.float64)
            rest = (inter.astype(np.float64) - product).astype("f4")
            over = rest > np.float32(half_step) * both
            assert np.array_equal(over, inter / both > limit)
            inter = np.nextafter(inter, np.float32(np.inf))
        assert over.any()


@pytest.mark.parametrize("count", [0, 1, 31, 64, 65])
def test_any_number_of_boxes(check, count):
    check(*clusters(count), max_outputs=40)


def test_other_types_and_strides(check):
    boxes, scores, valid, groups = (x.repeat_interleave(2, 1) for x in clusters(35))
    boxes, scores = boxes.double(), scores.bfloat16()
    check(*(x[:, ::2] for x in (boxes, scores, valid, groups)), max_outputs=1)
    check(*(x[:0] for x in (boxes, scores, valid, groups)), max_outputs=1)


def test_nothing_valid_and_no_slots(check):
    boxes, scores, valid, groups = clusters(70)
    check(boxes, scores, valid & False, groups)
    valid[1] = False
    check(boxes, scores, valid, groups)
    check(boxes, scores, valid, groups, max_outputs=0)


def test_constants_that_the_kernels_are_written_for():
    """Tiles hold whole blocks, panels whole tiles; words have 32 bits."""
    from faster_rcnn.kernels.gpu import suppression as g

    assert g.BLOCK % 32 == g.TILE % g.BLOCK == g.PANEL % g.TILE == 0
