import math

import numpy as np
import pytest
import torch
from faster_rcnn.kernels.library import kernels_for
from faster_rcnn.kernels.reference import soft_nms_by_steps
from faster_rcnn.nms import GaussianDecay, LinearDecay, nms, soft_nms
from pairwise import pairwise

BOXES = torch.tensor(
    [[[0.0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 8], [50, 50, 60, 60]]]
)
SCORES = torch.tensor([[0.9, 0.8, 0.7, 0.3]])
ALL = torch.ones(1, 4, dtype=torch.bool)


def random_candidates(images=2, count=120, seed=0):
    rng = np.random.default_rng(seed)
    centre, sides = rng.uniform(0, 200, (images, count, 2)), rng.uniform(20, 90, 2)
    boxes = np.concatenate((centre - sides / 2, centre + sides / 2), axis=2)
    return (
        torch.tensor(boxes, dtype=torch.float32),
        torch.tensor(
            rng.permutation(images * count).reshape(images, count) / 300.0
        ).float(),
        torch.tensor(rng.random((images, count)) < 0.9),
        torch.tensor(rng.integers(0, 3, (images, count))),
    )


def test_linear_by_hand():
    # IoU with the first: 0.5, 0.8, 0: 0.8 * 0.5 = 0.4, 0.7 * 0.2 = 0.14. Then the
    # second meets the third by 5 / 8: 0.14 * 3 / 8.
    found = soft_nms(
        BOXES, SCORES, ALL, max_outputs=5, decay=LinearDecay(), min_score=0.1
    )
    assert found.picked.tolist() == [[0, 1, 3, 0, 0]]
    assert found.kept.tolist() == [[True, True, True, False, False]]
    torch.testing.assert_close(found.scores, torch.tensor([[0.9, 0.4, 0.3, 0, 0]]))
    lower = soft_nms(
        BOXES, SCORES, ALL, max_outputs=4, decay=LinearDecay(), min_score=0.05
    )
    assert lower.picked.tolist() == [[0, 1, 3, 2]]
    torch.testing.assert_close(lower.scores[0, 3], torch.tensor(0.14 * 3 / 8))


def test_gaussian_by_hand():
    found = soft_nms(BOXES, SCORES, ALL, max_outputs=4, decay=GaussianDecay(0.5))
    second = 0.8 * math.exp(-0.25 / 0.5)
    third = 0.7 * math.exp(-0.64 / 0.5) * math.exp(-((5 / 8) ** 2) / 0.5)
    assert found.picked.tolist() == [[0, 1, 3, 2]]
    torch.testing.assert_close(found.scores, torch.tensor([[0.9, second, 0.3, third]]))


def test_groups_and_masks():
    groups = torch.tensor([[0, 1, 0, 0]])
    found = soft_nms(
        BOXES, SCORES, ALL, max_outputs=2, groups=groups, decay=LinearDecay()
    )
    torch.testing.assert_close(found.scores, torch.tensor([[0.9, 0.8]]))
    valid = torch.tensor([[False, True, True, True]])
    found = soft_nms(BOXES, SCORES, valid, max_outputs=1)
    assert found.picked.tolist() == [[1]]


@pairwise(
    {
        "gaussian": [False, True],
        "offset": [0.0, 1.0],
        "slots": [1, 30, 300],
    }
)
@pytest.mark.skipif(kernels_for("soft_nms", "cpu") is None, reason="not built")
def test_kernel_equals_the_steps(gaussian, offset, slots):
    candidates = random_candidates()
    options = (slots, gaussian, 0.5, 0.3, 0.01, offset)
    found = kernels_for("soft_nms", "cpu").soft_nms(*candidates, *options)
    expected = soft_nms_by_steps(*candidates, *options)
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])
    torch.testing.assert_close(found[2], expected[2])
    assert (found[2][:, 1:] <= found[2][:, :-1]).all()


def test_narrow_gaussian_of_certain_overlaps_is_suppression():
    """Copies of boxes: those of a picked one lose everything, others nothing."""
    apart = 100.0 * torch.arange(20)
    boxes = torch.stack((apart, apart, apart + 10, apart + 10), dim=1)
    boxes = boxes[torch.arange(60) % 20][None]
    scores = torch.rand(1, 60, generator=torch.Generator().manual_seed(0)) + 0.01
    valid = torch.ones(1, 60, dtype=torch.bool)
    soft = soft_nms(boxes, scores, valid, max_outputs=60, decay=GaussianDecay(1e-3))
    hard, kept = nms(boxes, scores, valid, threshold=0.5, max_outputs=60)
    assert torch.equal(soft.picked, hard) and torch.equal(soft.kept, kept)


@pytest.mark.parametrize("steps", [False, True])
def test_equal_scores_are_picked_in_order(steps):
    boxes = 100.0 * torch.arange(70)[None, :, None] + torch.tensor([0.0, 0, 9, 9])
    scores = torch.full((1, 70), 0.5)
    valid = torch.ones(1, 70, dtype=torch.bool)
    if steps:
        groups = torch.zeros(1, 70, dtype=torch.int64)
        index = soft_nms_by_steps(
            boxes, scores, valid, groups, 70, True, 0.5, 0.3, 0.0, 0.0
        )[0]
    else:
        index = soft_nms(boxes, scores, valid, max_outputs=70).picked
    assert index[0].tolist() == list(range(70))


@pytest.mark.parametrize("count", [0, 3])
def test_nothing_to_pick(count):
    boxes, scores = torch.zeros(2, count, 4), torch.full((2, count), float("nan"))
    for s in (scores, torch.zeros(2, count)):
        found = soft_nms(boxes, s, torch.ones(2, count).bool(), max_outputs=4)
        assert (
            not found.kept.any() and not found.picked.any() and not found.scores.any()
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": torch.zeros(1, 4)}, r"soft_nms expects boxes \(N, R, 4\)"),
        ({"boxes": BOXES.long()}, "soft_nms expects floating point boxes"),
        ({"valid": torch.ones(1, 4)}, "soft_nms expects valid as torch.bool"),
        ({"groups": torch.zeros(1, 3).long()}, "soft_nms expects valid and groups"),
        ({"decay": GaussianDecay(0.0)}, "sigma > 0"),
        ({"min_score": -1.0}, "min_score >= 0"),
    ],
)
def test_bad_arguments(change, message):
    arguments = {"boxes": BOXES, "scores": SCORES, "valid": ALL, "max_outputs": 3}
    with pytest.raises(ValueError, match=message):
        soft_nms(**(arguments | change))


def test_is_a_whole_operator():
    candidates = random_candidates(count=10)
    torch.library.opcheck(
        torch.ops.faster_rcnn.soft_nms.default,
        (*candidates, 5, True, 0.5, 0.3, 0.001, 0.0),
    )
