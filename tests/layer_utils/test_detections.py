import math

import numpy as np
import pytest
import torch
import torchvision
from box_oracles import JUNK, random_boxes, slow_clip, slow_decode
from equality import assert_equal, check_images_alone
from faster_rcnn.layer_utils.boxes import BoxCoder
from faster_rcnn.layer_utils.detections import detect
from faster_rcnn.layer_utils.structures import Proposals, tensors_of
from faster_rcnn.nms import Suppression

SIZE = torch.tensor([[100, 100]])


def detections(
    rois,
    scores,
    deltas,
    valid=None,
    sizes=SIZE,
    *,
    offset=1,
    max_log_size=None,
    min_size=0.0,
    nms_threshold=0.3,
    nms_inclusive=False,
    **changes,
):
    if valid is None:
        valid = torch.ones(rois.shape[:2], dtype=torch.bool)
    return detect(
        Proposals(rois, scores[:, :, 0], valid),
        scores,
        deltas,
        sizes,
        coder=BoxCoder(offset, max_log_size, min_size=min_size),
        suppression=Suppression(nms_threshold, 0, nms_inclusive),
        **({"score_threshold": 0.0, "max_detections": 10} | changes),
    )


def random_outputs(images=2, rois=40, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    # Scores without ties, whose sums over the classes are not needed.
    scores = rng.permutation(images * rois * classes) / (images * rois * classes)
    deltas = rng.normal(0, 0.2, (images, rois, classes, 4))
    return (
        random_boxes(images * rois, seed=seed).view(images, rois, 4),
        torch.tensor(scores.reshape(images, rois, classes), dtype=torch.float32),
        torch.tensor(deltas, dtype=torch.float32),
    )


def disjoint(count):
    """``(1, count, 4)`` boxes of 4 x 4 px that do not meet."""
    x = 10.0 * torch.arange(count)
    return torch.stack((x, x, x + 3, x + 3), dim=1)[None]


def test_by_hand():
    rois = torch.tensor(
        [[[0.0, 0.0, 9.0, 9.0], [0.0, 0.0, 9.0, 8.0], [50.0, 50.0, 59.0, 59.0]]]
    )
    scores = torch.tensor([[[0.1, 0.6, 0.3], [0.1, 0.7, 0.2], [0.2, 0.0, 0.8]]])
    deltas = torch.zeros(1, 3, 3, 4)
    deltas[0, 2, 2] = torch.tensor([1.0, 0.0, math.log(2), 0.0])
    # Class 1: the first is suppressed by the second, the third scores 0, not more.
    # Class 2: the second is suppressed by the first. The third's delta moves its centre
    # from 55 to 65 and makes it 20 wide.
    result = detections(rois, scores, deltas, max_detections=5)
    assert result.boxes[0].tolist() == [
        [55, 50, 75, 60],
        [0, 0, 10, 9],
        [0, 0, 10, 10],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
    ]
    torch.testing.assert_close(result.scores, torch.tensor([[0.8, 0.7, 0.3, 0.0, 0.0]]))
    assert result.classes.tolist() == [[2, 1, 2, 0, 0]]
    assert result.valid.tolist() == [[True, True, True, False, False]]


def slow_detect(rois, scores, deltas, size, offset, threshold, cap):
    """Detections (score, class, box) of one image, class by class."""
    height, width = size
    found = []
    for label in range(1, scores.shape[1]):
        boxes = [
            slow_clip(slow_decode(roi, delta, offset), height, width, offset)
            for roi, delta in zip(rois.tolist(), deltas[:, label].tolist(), strict=True)
        ]
        boxes = torch.tensor(boxes)
        above = (scores[:, label] > threshold).nonzero()[:, 0]
        keep = torchvision.ops.nms(boxes[above], scores[above, label], 0.3)
        found += [
            (scores[r, label].item(), label, boxes[r].tolist()) for r in above[keep]
        ]
    return sorted(found, reverse=True)[:cap]


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize(("threshold", "cap"), [(0.0, 200), (0.5, 200), (0.0, 15)])
def test_as_in_a_loop(offset, threshold, cap):
    rois, scores, deltas = random_outputs()
    sizes = torch.tensor([[100, 100], [70, 80]])
    options = {"score_threshold": threshold, "max_detections": cap, "offset": offset}
    result = detections(rois, scores, deltas, sizes=sizes, **options)
    for i, size in enumerate(sizes.tolist()):
        want = slow_detect(rois[i], scores[i], deltas[i], size, offset, threshold, cap)
        count = len(want)
        assert result.valid[i].tolist() == [True] * count + [False] * (cap - count)
        assert result.scores[i, :count].tolist() == [row[0] for row in want]
        assert result.classes[i, :count].tolist() == [row[1] for row in want]
        torch.testing.assert_close(
            result.boxes[i, :count],
            torch.tensor([row[2] for row in want]),
            rtol=1e-5,
            atol=1e-4,
        )
        assert count == cap if cap == 15 else count < cap


def test_exactly_the_cap_where_scores_tie():
    # tf-faster-rcnn keeps all that tie at the last place. Here the first ones stay:
    # RoI by RoI, class by class.
    rois, scores = disjoint(6), torch.full((1, 6, 3), 0.25)
    scores[0, 4, 1] = 0.5
    deltas = torch.zeros(1, 6, 3, 4)
    result = detections(rois, scores, deltas, max_detections=4)
    assert result.valid.all()
    assert result.scores.tolist() == [[0.5, 0.25, 0.25, 0.25]]
    assert result.classes.tolist() == [[1, 1, 2, 1]]
    assert result.boxes[0, :, 0].tolist() == [40, 0, 0, 10]


def test_threshold_is_strict():
    scores = torch.tensor([[[0.0, 0.5], [0.0, 0.5000001], [0.0, 0.4]]])
    deltas = torch.zeros(1, 3, 2, 4)
    result = detections(disjoint(3), scores, deltas, score_threshold=0.5)
    assert result.valid.sum() == 1 and result.boxes[0, 0, 0] == 10


@pytest.mark.parametrize(("inclusive", "kept"), [(False, 2), (True, 1)])
def test_suppression_at_the_threshold(inclusive, kept):
    # 8 of 10 x 10 px, 4 of which are shared: an IoU of exactly 1/3.
    rois = torch.tensor([[[0.0, 0.0, 8.0, 10.0], [4.0, 0.0, 12.0, 10.0]]])
    scores = torch.tensor([[[0.0, 0.9], [0.0, 0.8]]])
    options = {"nms_threshold": float(np.float32(1 / 3)), "nms_inclusive": inclusive}
    result = detections(rois, scores, torch.zeros(1, 2, 2, 4), offset=0, **options)
    assert result.valid.sum() == kept


def test_smallest_side_by_hand():
    rois = torch.tensor([[[0.0, 0.0, 2.0, 9.0], [20.0, 0.0, 23.0, 3.0]]])
    scores = torch.tensor([[[0.0, 0.9], [0.0, 0.8]]])
    deltas = torch.zeros(1, 2, 2, 4)
    for offset, min_size, first in [(0, 2, 0), (0, 3, 20), (1, 3, 0), (1, 4, 20)]:
        # The decoded legacy boxes are 0..2 and 20..23: 3 and 4 pixels wide.
        bare = rois - torch.tensor([0, 0, offset, offset])
        options = {"offset": offset, "min_size": min_size}
        result = detections(bare, scores, deltas, **options)
        assert result.boxes[0, 0, 0] == first, (offset, min_size)
    assert not detections(rois, scores, deltas, min_size=50).valid.any()


def test_shared_deltas_are_those_of_every_class():
    rois, scores, deltas = random_outputs()
    sizes = SIZE.expand(2, -1)
    shared = detections(rois, scores, deltas[:, :, :1], sizes=sizes)
    repeated = deltas[:, :, :1].expand(-1, -1, 4, -1)
    assert_equal(shared, detections(rois, scores, repeated, sizes=sizes))


def test_background_is_no_detection():
    rois, scores, deltas = random_outputs(images=1)
    scores[:, :, 0] = 100.0
    deltas[:, :, 0] = math.nan
    result = detections(rois, scores, deltas, max_detections=200)
    assert result.scores.max() <= 1
    assert result.classes[result.valid].unique().tolist() == [1, 2, 3]


@pytest.mark.parametrize("junk", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("column", range(4))
def test_deltas_that_are_not_finite_are_dropped(junk, column):
    deltas = torch.zeros(1, 4, 3, 4)
    deltas[0, 1, 2, column] = junk
    result = detections(disjoint(4), torch.full((1, 4, 3), 0.5), deltas)
    found = set(
        zip(result.boxes[0, :, 0].tolist(), result.classes[0].tolist(), strict=True)
    )
    everything = {(10.0 * r, c) for r in range(4) for c in (1, 2)}
    assert result.valid.sum() == 7
    assert found - {(0.0, 0)} == everything - {(10.0, 2)}


def test_large_deltas_are_limited():
    rois, deltas = disjoint(1), torch.zeros(1, 1, 2, 4)
    deltas[..., 2] = 50.0
    scores = torch.full((1, 1, 2), 0.5)
    result = detections(rois + 40, scores, deltas, max_log_size=math.log(2))
    # 4 px about 42, doubled.
    assert result.boxes[0, 0].tolist() == pytest.approx([38, 40, 46, 44])
    # Unlimited, the clip makes it as wide as the image.
    result = detections(rois + 40, scores, deltas)
    assert result.boxes[0, 0].tolist() == [0, 40, 99, 44]


@pytest.mark.parametrize("junk", JUNK)
def test_unused_rois_never_matter(junk):
    rois, scores, deltas = random_outputs()
    sizes = SIZE.expand(2, -1)
    keep = torch.arange(40) % 3 > 0
    want = detections(
        rois[:, keep], scores[:, keep], deltas[:, keep], sizes=sizes, max_detections=90
    )
    valid = keep.expand(2, -1)
    for value in (rois, scores, deltas):
        value[:, ~keep] = junk
    got = detections(rois, scores, deltas, valid, sizes, max_detections=90)
    assert_equal(got, want)


@pytest.mark.parametrize("case", ["no valid roi", "low scores"])
def test_nothing_found(case):
    rois, scores, deltas = random_outputs()
    valid = torch.full((2, 40), case != "no valid roi")
    if case == "low scores":
        scores[:] = 0
    result = detections(rois, scores, deltas, valid, SIZE.expand(2, -1))
    assert not result.valid.any()
    assert not any(field.any() for field in tensors_of(result))


def test_batch_is_its_images_one_by_one():
    rois, scores, deltas = random_outputs(images=3)
    valid = torch.rand(3, 40, generator=torch.Generator().manual_seed(0)) < 0.7
    sizes = torch.tensor([[100, 100], [60, 80], [90, 50]])
    check_images_alone(detections, rois, scores, deltas, valid, sizes, images=3)


def test_classes_do_not_suppress_each_other():
    rois = torch.tensor([[[0.0, 0.0, 9.0, 9.0]] * 2])
    scores = torch.tensor([[[0.0, 0.9, 0.0], [0.0, 0.0, 0.8]]])
    result = detections(rois, scores, torch.zeros(1, 2, 3, 4))
    assert result.classes[0, :2].tolist() == [1, 2] and result.valid.sum() == 2


def test_types_and_shapes():
    rois, scores, deltas = random_outputs()
    result = detections(
        rois, scores.bfloat16(), deltas.bfloat16(), sizes=SIZE.expand(2, -1)
    )
    assert [(tuple(field.shape), field.dtype) for field in tensors_of(result)] == [
        ((2, 10, 4), torch.float32),
        ((2, 10), torch.float32),
        ((2, 10), torch.int64),
        ((2, 10), torch.bool),
    ]


@pytest.mark.parametrize("boxes", [1, 200])
@pytest.mark.parametrize("threshold", [0.05, 0.3])
def test_likely_classes_of_many(boxes, threshold, monkeypatch):
    """Choosing those that can exceed the threshold changes nothing, ties included."""
    rois, _, _ = random_outputs(images=2, rois=30)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 30, 200, generator=generator).mul(3).round()  # with ties
    logits[0, 0] = -50
    logits[0, 0, 3:23] = 0  # twenty of 0.05 each
    scores = logits.softmax(2)
    deltas = torch.randn(2, 30, boxes, 4, generator=generator) * 0.2
    sizes = torch.tensor([[100, 100], [80, 60]])
    results = []
    for many in (8, 10**9):
        monkeypatch.setattr("faster_rcnn.layer_utils.detections._MANY", many)
        found = detections(rois, scores, deltas, sizes=sizes, score_threshold=threshold)
        results.append(found)
    assert results[0].valid.sum() > 5
    assert_equal(*results)
