import math

import numpy as np
import pytest
import torch
from faster_rcnn.nms import nms
from pairwise import pairwise

JUNK = [math.nan, math.inf, -math.inf, 1e30]


def suppress(boxes, scores, valid=None, **changes):
    """Kept indices of each image of a batch, best first."""
    boxes, scores = torch.as_tensor(boxes), torch.as_tensor(scores)
    if valid is None:
        valid = torch.ones_like(scores, dtype=torch.bool)
    options = {"threshold": 0.5, "max_outputs": scores.shape[1]}
    index, kept = nms(boxes, scores, valid, **(options | changes))
    count = kept.sum(dim=1)
    for i in range(len(boxes)):
        # Those kept come first; the other slots hold index 0.
        assert kept[i, : count[i]].all() and not index[i, count[i] :].any()
    return [index[i, : count[i]].tolist() for i in range(len(boxes))]


def random_case(images=2, count=80, seed=0, ties=False):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 60, (images, count, 2))
    side = rng.uniform(10, 50, (images, count, 2))
    boxes = np.concatenate([corner, corner + side], axis=2)
    scores = rng.permutation(images * count).reshape(images, count) / 13.0
    if ties:
        scores = scores // 20
    return (
        torch.tensor(boxes, dtype=torch.float32),
        torch.tensor(scores, dtype=torch.float32),
    )


def iou(a, b, offset):
    width = min(a[2], b[2]) - max(a[0], b[0]) + offset
    height = min(a[3], b[3]) - max(a[1], b[1]) + offset
    inter = max(width, 0) * max(height, 0)
    area_a = (a[2] - a[0] + offset) * (a[3] - a[1] + offset)
    area_b = (b[2] - b[0] + offset) * (b[3] - b[1] + offset)
    return inter / (area_a + area_b - inter)


def slow_nms(boxes, scores, valid, groups, threshold, offset=0.0):
    order = sorted((i for i in range(len(boxes)) if valid[i]), key=lambda i: -scores[i])
    kept = []
    for i in order:
        if all(
            groups[i] != groups[k] or iou(boxes[i], boxes[k], offset) <= threshold
            for k in kept
        ):
            kept.append(i)
    return kept


# Continuous: 0 and 1 share 100 of 100, 0 and 2 share 50 of 100, 3 lies elsewhere.
BOXES = [
    [
        [0.0, 0.0, 10.0, 10.0],
        [0.0, 0.0, 10.0, 10.0],
        [0.0, 0.0, 10.0, 5.0],
        [20.0, 20.0, 30.0, 30.0],
    ]
]


def test_by_hand():
    scores = [[0.5, 0.9, 0.7, 0.8]]
    # 1 drops 0. 2 overlaps 1 by exactly 0.5, which is not more than 0.5.
    assert suppress(BOXES, scores) == [[1, 3, 2]]
    assert suppress(BOXES, scores, inclusive=True) == [[1, 3]]
    assert suppress(BOXES, scores, threshold=0.49) == [[1, 3]]
    assert suppress(BOXES, scores, threshold=0.51, inclusive=True) == [[1, 3, 2]]
    # Pixels: 11 x 11 and 11 x 6 of it, 66 / 121 = 0.545.
    assert suppress(BOXES, scores, offset=1.0) == [[1, 3]]
    assert suppress(BOXES, scores, offset=1.0, threshold=0.55) == [[1, 3, 2]]


def test_a_dropped_box_drops_no_other():
    # A chain: each overlaps the next by 6 of 14. 0 drops 1, so 2 stays, and drops 3.
    chain = [[[4.0 * i, 0.0, 4.0 * i + 10, 10.0] for i in range(4)]]
    assert suppress(chain, [[0.9, 0.8, 0.7, 0.6]], threshold=0.4) == [[0, 2]]


def test_groups_by_hand():
    scores, groups = [[0.5, 0.9, 0.7, 0.8]], torch.tensor([[4, -2, 4, -2]])
    # 0 and 1 are of different groups; 2 drops 0, sharing 50 of 100, below 0.5 only.
    assert suppress(BOXES, scores, groups=groups) == [[1, 3, 2, 0]]
    assert suppress(BOXES, scores, groups=groups, threshold=0.4) == [[1, 3, 2]]


def test_valid_by_hand():
    scores, valid = [[0.5, 0.9, 0.7, 0.8]], torch.tensor([[True, False, True, True]])
    # 1 neither appears nor drops 0.
    assert suppress(BOXES, scores, valid, threshold=0.4) == [[3, 2]]
    assert suppress(BOXES, scores, valid) == [[3, 2, 0]]


def test_equal_scores_are_ordered_by_index():
    same = [[[0.0, 0.0, 10.0, 10.0]] * 40 + [[50.0, 0.0, 60.0, 10.0]] * 40]
    assert suppress(same, [[0.5] * 80]) == [[0, 40]]
    boxes = [[[20.0 * i, 0.0, 20.0 * i + 10, 10.0] for i in range(100)]]
    assert suppress(boxes, [[0.5] * 100]) == [list(range(100))]
    assert suppress(boxes, [[0.5] * 50 + [0.6] * 50], max_outputs=60) == [
        [*range(50, 100), *range(10)]
    ]


@pairwise(
    {
        "threshold": [0.0, 0.3, 0.7, 1.0],
        "offset": [0.0, 1.0],
        "ties": [False, True],
    }
)
def test_as_in_a_loop(threshold, offset, ties):
    boxes, scores = random_case(ties=ties)
    generator = torch.Generator().manual_seed(1)
    valid = torch.rand(scores.shape, generator=generator) < 0.8
    groups = torch.randint(0, 3, scores.shape, generator=generator)
    got = suppress(
        boxes, scores, valid, groups=groups, threshold=threshold, offset=offset
    )
    for i in range(2):
        want = slow_nms(
            boxes[i].tolist(),
            scores[i].tolist(),
            valid[i].tolist(),
            groups[i].tolist(),
            threshold,
            offset,
        )
        assert got[i] == want and len(want) > 3


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_overlaps_at_the_threshold(threshold):
    # IoU k / 10 for k = 1..10, where k / 10 rounds up, down or not at all.
    for k in range(1, 11):
        boxes = [[[0.0, 0.0, 10.0, 1.0], [0.0, 0.0, float(k), 1.0]]]
        overlap = float(np.float32(k) / np.float32(10))
        for inclusive in (False, True):
            dropped = overlap > threshold or (inclusive and overlap == threshold)
            got = suppress(
                boxes, [[2.0, 1.0]], threshold=threshold, inclusive=inclusive
            )
            assert got == [[0] if dropped else [0, 1]]


def test_outputs_fewer_and_more_than_kept():
    boxes, scores = random_case(images=1)
    (full,) = suppress(boxes, scores)
    assert 5 < len(full) < 80
    for slots in (1, 5, len(full), 80, 300):
        index, kept = nms(boxes, scores, scores > -1, threshold=0.5, max_outputs=slots)
        assert index.shape == kept.shape == (1, slots)
        assert index[kept].tolist() == full[:slots]
        assert kept.sum() == min(slots, len(full))


def test_order_of_the_boxes_does_not_matter():
    boxes, scores = random_case(images=1)
    shuffled = torch.randperm(80, generator=torch.Generator().manual_seed(0))
    (plain,) = suppress(boxes, scores)
    (other,) = suppress(boxes[:, shuffled], scores[:, shuffled])
    assert [shuffled[k].item() for k in other] == plain


def test_suppressing_twice_is_suppressing_once():
    boxes, scores = random_case(images=1)
    (kept,) = suppress(boxes, scores)
    assert suppress(boxes[:, kept], scores[:, kept]) == [list(range(len(kept)))]


def test_batch_is_its_images_one_by_one():
    boxes, scores = random_case(images=3)
    valid = torch.rand(3, 80, generator=torch.Generator().manual_seed(0)) < 0.6
    valid[1] = False
    together = suppress(boxes, scores, valid)
    for i in range(3):
        pick = slice(i, i + 1)
        assert suppress(boxes[pick], scores[pick], valid[pick]) == [together[i]]
    assert together[1] == []


@pytest.mark.parametrize("junk", JUNK)
def test_unused_boxes_never_matter(junk):
    boxes, scores = random_case()
    valid = torch.rand(2, 80, generator=torch.Generator().manual_seed(0)) < 0.6
    want = suppress(boxes, scores, valid)
    boxes, scores = boxes.clone(), scores.clone()
    boxes[~valid], scores[~valid] = junk, junk
    groups = torch.zeros_like(valid, dtype=torch.int64).masked_fill(~valid, 10**15)
    assert suppress(boxes, scores, valid, groups=groups) == want


def test_inputs_stay_as_they_are():
    boxes, scores = random_case()
    copies = boxes.clone(), scores.clone()
    suppress(boxes, scores, offset=1.0)
    assert torch.equal(boxes, copies[0]) and torch.equal(scores, copies[1])


@pytest.mark.parametrize(("images", "count"), [(0, 5), (2, 0), (0, 0)])
def test_no_boxes(images, count):
    index, kept = nms(
        torch.zeros(images, count, 4),
        torch.zeros(images, count),
        torch.zeros(images, count, dtype=torch.bool),
        threshold=0.5,
        max_outputs=7,
    )
    assert index.shape == kept.shape == (images, 7) and not kept.any()
    assert index.dtype == torch.int64 and kept.dtype == torch.bool


def bad(boxes=(2, 5, 4), scores=(2, 5), valid=(2, 5), groups=None):
    return nms(
        torch.zeros(boxes),
        torch.zeros(scores),
        torch.zeros(valid, dtype=torch.bool),
        threshold=0.5,
        max_outputs=3,
        groups=None if groups is None else torch.zeros(groups, dtype=torch.int64),
    )


@pytest.mark.parametrize(
    "shapes",
    [
        {"boxes": (5, 4)},
        {"boxes": (2, 5, 5)},
        {"scores": (2, 6)},
        {"scores": (2, 5, 1)},
    ],
)
def test_bad_boxes_or_scores(shapes):
    with pytest.raises(ValueError, match=r"expects boxes \(N, R, 4\)") as error:
        bad(**shapes)
    assert str(*shapes.values()) in str(error.value)


@pytest.mark.parametrize("shapes", [{"valid": (2, 4)}, {"groups": (1, 5)}])
def test_bad_valid_or_groups(shapes):
    with pytest.raises(ValueError, match=r"valid and groups .* \(2, 5\)") as error:
        bad(**shapes)
    assert str(*shapes.values()) in str(error.value)


@pytest.mark.slow
def test_operator_is_registered_correctly():
    # Schema, fake implementation, and tracing with fixed and with free shapes.
    boxes, scores = random_case(count=10)
    valid, groups = scores > 3, torch.zeros_like(scores, dtype=torch.int64)
    torch.library.opcheck(
        torch.ops.faster_rcnn.nms, (boxes, scores, valid, groups, 0.5, 4, 1.0, True)
    )


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
@pytest.mark.parametrize(
    ("kind", "options"),
    [("head", {}), ("plus1_ge", {"offset": 1.0, "inclusive": True})],
)
def test_golden_keeps(shared, threshold, kind, options):
    data = np.load(shared / "golden" / "nms.npz")
    (kept,) = suppress(
        data["boxes"][None], data["scores"][None], threshold=threshold, **options
    )
    np.testing.assert_array_equal(kept, data[f"keep_{kind}_{threshold}"])
