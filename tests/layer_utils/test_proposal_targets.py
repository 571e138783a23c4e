import math

import pytest
import torch
from box_oracles import JUNK, ground_truth, random_boxes, slow_encode, slow_iou
from equality import assert_equal, image_of
from faster_rcnn.layer_utils.proposal_targets import (
    RoICriteria,
    foreground_of,
    match_rois,
)
from roi_samples import (
    BACKGROUND,
    EVERYTHING,
    FAR,
    FOREGROUND,
    OBJECT,
    STD,
    as_proposals,
    counts,
    drawn,
    sample,
)


def test_by_hand():
    rois = as_proposals([BACKGROUND, FOREGROUND])
    result = sample(rois, ground_truth([(5, OBJECT)]), **EVERYTHING)
    assert result.valid[0, :2].all() and result.valid.sum() == 2
    assert result.rois[0, :2].tolist() == [FOREGROUND, BACKGROUND]
    assert result.classes[0, :2].tolist() == [5, 0]
    # Centre 17.5 to 20 and height 15 to 20: 2.5 / 15 / 0.1 and log(20 / 15) / 0.2.
    torch.testing.assert_close(
        result.target_deltas[0, :2],
        torch.tensor([[0.0, 2.5 / 1.5, 0.0, math.log(4 / 3) * 5], [0.0] * 4]),
    )
    assert result.matched[0, 0] == 3  # the slot that holds the object


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("add_ground_truth", [False, True])
def test_as_in_a_loop(offset, add_ground_truth):
    scenes = [random_boxes(3, seed=s, whole=True).tolist() for s in (1, 2)]
    boxes = [random_boxes(60, seed=s, whole=True).tolist() for s in (3, 4)]
    for scene, rows in zip(scenes, boxes, strict=True):
        rows += [[a + d for a, d in zip(g, (2, 1, -1, 3), strict=True)] for g in scene]
    gt = ground_truth(
        *([(k + 1, box) for k, box in enumerate(scene)] for scene in scenes), slots=7
    )
    rules = {"add_ground_truth": add_ground_truth, "offset": offset, **EVERYTHING}
    rules |= {"bg_overlap_low": 0.1, "bg_overlap_high": 0.4}
    result = sample(as_proposals(*boxes), gt, **rules)
    for i, (scene, rows) in enumerate(zip(scenes, boxes, strict=True)):
        want = []
        for box in rows + (scene if add_ground_truth else []):
            overlaps = [slow_iou(box, g, offset) for g in scene]
            top = max(overlaps)
            k = overlaps.index(top)
            if top >= 0.5:
                delta = slow_encode(box, scene[k], offset)
                scaled = [d / s for d, s in zip(delta, STD, strict=True)]
                want.append((*box, k + 1, *scaled))
            elif 0.1 <= top < 0.4:
                want.append((*box, 0, 0.0, 0.0, 0.0, 0.0))
        got = drawn(result, i)
        assert len(got) == len(want)
        assert {row[4] for row in want} >= {0, 1}
        torch.testing.assert_close(
            torch.tensor(got), torch.tensor(sorted(want)), rtol=1e-4, atol=1e-4
        )


def test_limits_of_the_overlaps():
    # 10 of 20 rows: IoU exactly 0.5 is foreground; 2 of 20, exactly 0.1, background.
    half, tenth = [10.0, 10.0, 29.0, 19.0], [10.0, 10.0, 29.0, 11.0]
    gt = ground_truth([(5, OBJECT)])
    result = sample(as_proposals([half]), gt)
    assert counts(result) == [(1, 0)]
    result = sample(as_proposals([tenth, FAR]), gt, bg_overlap_low=0.1)
    assert drawn(result) == [(*tenth, 0, 0.0, 0.0, 0.0, 0.0)]
    # Between the limits of background and foreground: neither.
    result = sample(as_proposals([BACKGROUND]), gt, bg_overlap_high=0.25)
    assert counts(result) == [(0, 0)]


def test_candidates_before_the_draw():
    # FAR lies in a crowd; the first RoI, on the object itself, is not valid.
    gt = ground_truth([(5, OBJECT), (0, FAR)], slots=4)
    rois = torch.tensor([[OBJECT, FOREGROUND, BACKGROUND, FAR]])
    valid = torch.tensor([[False, True, True, True]])
    found = match_rois(rois, valid, gt, RoICriteria(0.5, 0.5, 0.0, offset=1))
    assert found.foreground[0].tolist() == [False, True, False, False]
    assert found.background[0].tolist() == [False, False, True, True]
    assert gt.classes[0, found.matched[0, :3]].tolist() == [5, 5, 5]
    criteria = RoICriteria(0.5, 0.5, 0.0, offset=1, crowd_overlap=0.5)
    found = match_rois(rois, valid, gt, criteria)
    assert found.background[0].tolist() == [False, False, True, False]
    found = match_rois(rois, valid, gt, RoICriteria(0.5, 0.5, 0.1, offset=1))
    assert found.background[0].tolist() == [False, False, True, False]


def test_ground_truth_joins_the_proposals():
    other = [40.0, 40.0, 59.0, 59.0]
    gt = ground_truth([(4, OBJECT), (2, other)], junk=math.nan)
    proposals = as_proposals([FAR, FAR])
    result = sample(proposals, gt, add_ground_truth=True)
    nothing = (0.0, 0.0, 0.0, 0.0)
    assert drawn(result) == [
        (*OBJECT, 4, *nothing),
        (*other, 2, *nothing),
        (*FAR, 0, *nothing),
        (*FAR, 0, *nothing),
    ]
    assert counts(sample(proposals, gt)) == [(0, 2)]


def test_rois_in_a_crowd_are_not_background():
    # The object is foreground, crowd or not; FAR lies in the crowd by half.
    x1, y1, x2, y2 = FAR
    half = [x1, y1, x1 + (x2 - x1 + 1) / 2 - 1, y2]
    gt = ground_truth([(5, OBJECT), (0, OBJECT), (0, half)], slots=6)
    proposals = as_proposals([FOREGROUND, FAR])
    assert counts(sample(proposals, gt)) == [(1, 1)]
    assert counts(sample(proposals, gt, crowd_overlap=0.5)) == [(1, 1)]
    assert counts(sample(proposals, gt, crowd_overlap=0.49)) == [(1, 0)]
    # A crowd is no object to learn, and its box joins no proposals.
    result = sample(proposals, gt, crowd_overlap=0.49, add_ground_truth=True)
    assert [row[4] for row in drawn(result)] == [5, 5]


def test_deltas_are_normalised():
    inputs = as_proposals([FOREGROUND]), ground_truth([(1, OBJECT)])
    plain = sample(*inputs, delta_std=(1, 1, 1, 1))
    scaled = sample(*inputs, delta_std=(2, 4, 8, 16))
    torch.testing.assert_close(
        plain.target_deltas, scaled.target_deltas * torch.tensor([2.0, 4.0, 8.0, 16.0])
    )
    assert plain.target_deltas.any()


def test_class_and_target_of_the_best_object():
    near = [12.0, 10.0, 31.0, 29.0]  # 18 of 22 columns of the object: IoU 0.82
    rows = [[11.0, 10.0, 30.0, 29.0], [10.5, 10.0, 29.5, 29.0], near]
    gt = ground_truth([(3, OBJECT), (9, near)])
    result = sample(as_proposals(rows), gt, **EVERYTHING)
    fields = (result.rois, result.classes, result.matched)
    rows = (field[0, :3].tolist() for field in fields)
    for roi, label, slot in zip(*rows, strict=True):
        assert gt.valid[0, slot] and gt.classes[0, slot] == label
        overlaps = {k: slow_iou(roi, b, 1) for k, b in ((3, OBJECT), (9, near))}
        assert overlaps[label] == max(overlaps.values())
    assert result.classes[0, :3].sort().values.tolist() in ([3, 3, 9], [3, 9, 9])


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("junk", JUNK)
def test_unused_rows_never_matter(junk, replacement):
    boxes = random_boxes(40).tolist()
    objects = [(1, boxes[3]), (2, boxes[8])]
    options = {"add_ground_truth": True, "replacement": replacement, "batch_size": 32}
    plain, padded = (
        sample(
            as_proposals(boxes, slots=50, junk=value),
            ground_truth(objects, slots=6, junk=value),
            **options,
        )
        for value in (0.0, junk)
    )
    assert_equal(plain, padded)


def test_batch_is_its_images_one_by_one():
    rows = [random_boxes(50, seed=s).tolist() for s in range(3)]
    gt = ground_truth([(1, rows[0][3])], [], [(2, rows[2][8]), (3, rows[2][9])])
    proposals = as_proposals(*rows)
    together = sample(proposals, gt, **EVERYTHING)
    for i in range(3):
        alone = sample(image_of(proposals, i), image_of(gt, i), **EVERYTHING)
        assert drawn(together, i) == drawn(alone)


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("rows", [[], [FAR], [FOREGROUND], [FOREGROUND, FAR] * 20])
def test_shapes_and_types_are_always_the_same(rows, replacement):
    options = {"batch_size": 64, "replacement": replacement}
    result = sample(
        as_proposals(rows, slots=45), ground_truth([(1, OBJECT)]), **options
    )
    assert [(tuple(f.shape), f.dtype) for f in result] == [
        ((1, 64, 4), torch.float32),
        ((1, 64), torch.int64),
        ((1, 64, 4), torch.float32),
        ((1, 64), torch.int64),
        ((1, 64), torch.bool),
    ]


def test_foreground_of_the_samples():
    # Two RoIs may be foreground; without background, it fills all eight slots.
    gt = ground_truth([(5, OBJECT)], [(5, OBJECT)], [(5, OBJECT)])
    rows = [FOREGROUND, FOREGROUND, FOREGROUND]
    samples = sample(as_proposals([*rows, FAR], rows, [FAR]), gt, replacement=True)
    samples.rois.requires_grad_()
    found = foreground_of(samples, 2)
    assert found.valid.tolist() == [[True, True], [True, True], [False, False]]
    assert found.classes.tolist() == [[5, 5], [5, 5], [0, 0]]
    assert torch.equal(found.rois, samples.rois[:, :2]) and not found.rois.requires_grad
    assert torch.equal(found.target_deltas, samples.target_deltas[:, :2])
