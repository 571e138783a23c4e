import math
from dataclasses import fields, replace
from functools import partial

import numpy as np
import pytest
import torch
from box_oracles import JUNK, flip, ground_truth, random_boxes, slow_encode, slow_iou
from equality import assert_equal, check_images_alone
from faster_rcnn.layer_utils.anchor_targets import (
    AnchorCriteria,
    anchor_targets,
    dense_targets,
    match_anchors,
    sample_labels,
)
from faster_rcnn.layer_utils.anchors import base_anchors, cells_inside, grid_anchors
from faster_rcnn.layer_utils.boxes import encode

SIZE = torch.tensor([[60, 60]])
EVERYTHING = {"batch_size": 10_000, "fg_fraction": 1.0}  # nothing is left to chance


def targets(anchors, gt, sizes=SIZE, seed=0, **changes):
    rules = {field.name for field in fields(AnchorCriteria)} & changes.keys()
    changed = {rule: changes.pop(rule) for rule in rules}
    options = {
        "criteria": replace(AnchorCriteria(0.7, 0.3, border=0, offset=1), **changed),
        "batch_size": 256,
        "fg_fraction": 0.5,
        "generator": torch.Generator().manual_seed(seed),
    }
    return anchor_targets(anchors, gt, sizes, **(options | changes))


def small_anchors(offset=1, height=6, width=6):
    base = base_anchors(stride=16, ratios=(0.5, 1, 2), scales=(1, 2), offset=offset)
    return grid_anchors(base, height, width, stride=16)


def slow_labels(anchors, objects, height, width, offset):
    """Labels before sampling, and deltas of the positives, of one image."""
    far = [width - offset, height - offset]
    overlaps = []
    for a in anchors:
        inside = min(a[:2]) >= 0 and a[2] <= far[0] and a[3] <= far[1]
        overlaps.append([slow_iou(a, g, offset) if inside else None for g in objects])
    best = [
        max((row[k] for row in overlaps if row[k] is not None), default=0.0)
        for k in range(len(objects))
    ]
    labels, deltas = [], []
    for a, row in zip(anchors, overlaps, strict=True):
        label, delta = -1, [0.0] * 4
        if None not in row:
            top = max(row)
            is_best = any(o == b and b > 0 for o, b in zip(row, best, strict=True))
            if is_best or top >= 0.7:
                label = 1
                delta = slow_encode(a, objects[row.index(top)], offset)
            elif top < 0.3:
                label = 0
        labels.append(label)
        deltas.append(delta)
    return labels, deltas


def test_by_hand():
    anchors = torch.tensor(
        [
            [0.0, 0.0, 9.0, 9.0],  # the first object itself: 1
            [5.0, 0.0, 14.0, 9.0],  # 50 / 150 of it: neither
            [20.0, 20.0, 29.0, 29.0],  # 100 / 200 of the second, its best: 1
            [30.0, 20.0, 39.0, 29.0],  # 100 / 200 too, a tie: 1
            [50.0, 50.0, 59.0, 59.0],  # nothing: 0
            [55.0, 0.0, 64.0, 9.0],  # leaves the image
            [10.0, 0.0, 19.0, 9.0],  # the pixel after the first object: 0
        ]
    )
    gt = ground_truth([(1, [0, 0, 9, 9]), (2, [20, 20, 39, 29])])
    result = targets(anchors, gt)
    assert result.labels.tolist() == [[1, -1, 1, 1, 0, -1, 0]]
    # From centre 25 (or 35) and width 10 to centre 30 and width 20.
    want = torch.zeros(7, 4)
    want[2] = torch.tensor([0.5, 0.0, math.log(2), 0.0])
    want[3] = torch.tensor([-0.5, 0.0, math.log(2), 0.0])
    torch.testing.assert_close(result.target_deltas[0], want)


@pytest.mark.parametrize("offset", [0, 1])
def test_as_in_a_loop(offset):
    anchors = small_anchors(offset)
    scenes = [random_boxes(3, size=96, seed=s, whole=True) for s in range(4)]
    gt = ground_truth(*([(1, box) for box in boxes] for boxes in scenes), slots=7)
    sizes = torch.tensor([[96, 96], [96, 80], [70, 96], [96, 96]])
    result = targets(anchors, gt, sizes, offset=offset, **EVERYTHING)
    for i, (height, width) in enumerate(sizes.tolist()):
        objects = gt.boxes[i][gt.valid[i]].tolist()
        labels, deltas = slow_labels(anchors.tolist(), objects, height, width, offset)
        assert {-1, 0, 1} == set(labels)
        assert result.labels[i].tolist() == labels
        torch.testing.assert_close(
            result.target_deltas[i], torch.tensor(deltas), rtol=1e-5, atol=1e-5
        )


def test_limits_of_the_overlaps():
    # 7 and 3 of 10 pixels, exactly the limits: positive at 0.7, not negative at 0.3.
    gt = ground_truth([(1, [0, 0, 9, 0])])
    anchors = torch.tensor(
        [[0.0, 0.0, 9.0, 0.0], [0.0, 0.0, 6.0, 0.0], [0.0, 0.0, 2.0, 0.0]]
    )
    assert targets(anchors, gt).labels.tolist() == [[1, 1, -1]]


def test_clobbering_by_hand():
    # The best anchor of the object overlaps it by 2 of 10 pixels, below 0.3.
    gt = ground_truth([(1, [0, 0, 9, 0])])
    anchors = torch.tensor([[0.0, 0.0, 1.0, 0.0], [0.0, 20.0, 1.0, 20.0]])
    assert targets(anchors, gt).labels.tolist() == [[1, 0]]
    clobbered = targets(anchors, gt, clobber_positives=True)
    assert clobbered.labels.tolist() == [[0, 0]]
    assert not clobbered.target_deltas.any()


def test_anchors_in_a_crowd_are_not_negative():
    anchors = torch.tensor(
        [
            [0.0, 0.0, 9.0, 9.0],  # the object itself, in the crowd
            [20.0, 0.0, 29.0, 9.0],  # 8 of 10 columns in the crowd
            [21.0, 0.0, 30.0, 9.0],  # 7 of 10
            [40.0, 40.0, 49.0, 49.0],  # nowhere near
        ]
    )
    gt = ground_truth([(1, [0, 0, 9, 9]), (0, [0, 0, 27, 9])])
    assert targets(anchors, gt).labels.tolist() == [[1, 0, 0, 0]]
    for limit, labels in ((0.7, [1, -1, 0, 0]), (0.6, [1, -1, -1, 0])):
        result = targets(anchors, gt, crowd_overlap=limit)
        assert result.labels.tolist() == [labels]
        assert not result.target_deltas.any()
    # An image without crowds does not mind, nor a batch that knows of none.
    alone = ground_truth([(1, [0, 0, 9, 9])])
    for truth in (alone, alone._replace(crowd=None)):
        result = targets(anchors, truth, crowd_overlap=0)
        assert result.labels.tolist() == [[1, 0, 0, 0]]


def test_matches_are_what_is_drawn_from():
    anchors, sizes = small_anchors(), torch.tensor([[96, 96], [60, 80]])
    gt = ground_truth(
        [(1, [10, 10, 50, 40]), (2, [30, 5, 60, 70])], [(1, [0, 0, 20, 9])]
    )
    for clobber in (False, True):
        criteria = AnchorCriteria(0.5, 0.4, 0, offset=1, clobber_positives=clobber)
        matches = match_anchors(anchors, gt, sizes, criteria)
        assert not (matches.positive & matches.negative).any()
        drawn = targets(anchors, gt, sizes, criteria=criteria, **EVERYTHING)
        assert torch.equal(drawn.labels == 1, matches.positive)
        assert torch.equal(drawn.labels == 0, matches.negative)


def test_every_anchor_has_a_class_or_none():
    # 5, 4 and 3 of 10 pixels of the first object, 2 of 10 of the second.
    gt = ground_truth([(3, [0, 0, 9, 0]), (2, [30, 0, 39, 0])], slots=2)
    ends = ([0, 4], [0, 3], [0, 2], [30, 31])
    anchors = torch.tensor([[left, 0, right, 0] for left, right in ends]).float()
    for best, last in (True, 2), (False, 0):
        criteria = AnchorCriteria(0.5, 0.4, -1, offset=1, best_positive=best)
        matches = match_anchors(anchors, gt, SIZE, criteria)
        classes, boxes = dense_targets(matches, gt)
        assert classes.tolist() == [[3, -1, 0, last]]
        assert torch.equal(boxes[0], gt.boxes[0][[0, 0, 0, 1]])


@pytest.mark.parametrize("best", [True, False])
def test_golden_matches_of_a_dense_head(shared, best):
    data = np.load(shared / "golden" / "family" / "retina_anchors.npz")
    objects = zip(data["gt_classes"] + 1, data["gt_boxes"].tolist(), strict=True)
    gt = ground_truth([(int(label), box) for label, box in objects], slots=9)
    anchors = torch.from_numpy(data["d2_anchors_offset0.0"])
    matches = match_anchors(
        anchors,
        gt,
        torch.from_numpy(data["image_size"])[None],
        AnchorCriteria(0.5, 0.4, border=-1, offset=0, best_positive=best),
    )
    labels = matches.positive.long() - (~matches.positive & ~matches.negative).long()
    key = "retina_label" if best else "retina_label_no_low_quality"
    assert np.array_equal(labels[0], data[key])
    classes, boxes = dense_targets(matches, gt)
    positive = torch.from_numpy(data["retina_label"]) == 1
    want = data["retina_match"][positive]
    assert np.array_equal(matches.matched[0][positive], want)
    if best:
        assert np.array_equal(classes[0][positive], data["gt_classes"][want] + 1)
        deltas = encode(anchors[positive], boxes[0][positive], offset=0)
        np.testing.assert_allclose(deltas, data["positive_deltas"], atol=1e-5)
    theirs = torch.from_numpy(data["tv_anchors"])
    # torchvision: -1 background, -2 in between.
    matches = match_anchors(
        theirs,
        gt,
        torch.from_numpy(data["image_size"])[None],
        AnchorCriteria(0.5, 0.4, border=-1, offset=0),
    )
    got = matches.matched[0].where(matches.positive[0], -2)
    assert np.array_equal(
        got.masked_fill(matches.negative[0], -1), data["tv_retina_match"]
    )


def test_object_that_no_inside_anchor_touches():
    # In tf-faster-rcnn its best overlap, 0, made every anchor positive that does not
    # touch it, here both. The third anchor touches it but leaves the image.
    anchors = torch.tensor(
        [[0.0, 0.0, 9.0, 9.0], [20.0, 0.0, 29.0, 9.0], [50.0, 50.0, 69.0, 69.0]]
    )
    gt = ground_truth([(1, [52, 52, 59, 59])])
    result = targets(anchors, gt)
    assert result.labels.tolist() == [[0, 0, -1]]
    assert not result.target_deltas.any()


def test_crossing_anchors_are_ignored_up_to_the_border():
    anchors = small_anchors()
    gt = ground_truth([(1, [0, 0, 15, 15]), (1, [50, 50, 59, 59])])
    x1, y1, x2, y2 = anchors.unbind(1)
    beyond = torch.stack((-x1, -y1, x2 - 59, y2 - 59)).amax(dim=0)
    for border in (0, 3, 11):
        labels = targets(anchors, gt, border=border, **EVERYTHING).labels[0]
        assert (labels[beyond > border] == -1).all()
        assert (labels[beyond <= border] >= 0).any()
    labels = targets(anchors, gt, border=-1, **EVERYTHING).labels[0]
    assert (labels[beyond > 11] == 0).any()


def test_padding_cells_are_ignored_whatever_the_border():
    anchors = small_anchors(height=6, width=6)
    bare = small_anchors(height=4, width=3)
    inside = cells_inside(6, 6, torch.tensor([[4, 3]]), anchors_per_cell=6)
    gt = ground_truth([(1, [3, 3, 30, 40])])
    size = torch.tensor([[60, 45]])
    for border in (-1, 0, 40):
        options = {"border": border, **EVERYTHING}
        padded = targets(anchors, gt, size, usable=inside, **options)
        want = targets(bare, gt, size, **options)
        assert torch.equal(padded.labels[inside], want.labels[0])
        assert torch.equal(padded.target_deltas[inside], want.target_deltas[0])
        assert (padded.labels[~inside] == -1).all()


def test_counts_are_exact():
    # A hundred positives and three hundred negatives per image.
    positive = torch.zeros(2, 500, dtype=torch.bool)
    negative = torch.zeros(2, 500, dtype=torch.bool)
    positive[:, 50:150] = True
    negative[:, 200:] = True
    for batch, fraction, fg, bg in [
        (64, 0.5, 32, 32),
        (64, 0.25, 16, 48),
        (256, 0.5, 100, 156),  # too few positives: negatives fill up
        (450, 0.5, 100, 300),  # too few of both
        (64, 0.0, 0, 64),
        (64, 1.0, 64, 0),
        (1, 0.5, 0, 1),
    ]:
        labels = sample_labels(
            positive,
            negative,
            batch_size=batch,
            fg_fraction=fraction,
            generator=torch.Generator().manual_seed(0),
        )
        assert (labels == 1).sum(dim=1).tolist() == [fg, fg]
        assert (labels == 0).sum(dim=1).tolist() == [bg, bg]
        assert positive[labels == 1].all() and negative[labels == 0].all()


def real_grid():
    gt = ground_truth([(1, box) for box in random_boxes(4, size=300)], slots=8)
    return small_anchors(height=20, width=20), gt, torch.tensor([[320, 320]])


def test_counts_of_a_real_grid():
    anchors, gt, size = real_grid()
    every = targets(anchors, gt, size, **EVERYTHING)
    some = targets(anchors, gt, size, batch_size=16, fg_fraction=0.25)
    assert (every.labels == 1).sum() > 4
    assert (some.labels == 1).sum() == 4 and (some.labels == 0).sum() == 12
    # Those drawn keep their label, those not drawn become -1 and never negatives.
    drawn = some.labels >= 0
    assert torch.equal(some.labels[drawn], every.labels[drawn])
    positive = some.labels == 1
    assert torch.equal(some.target_deltas[positive], every.target_deltas[positive])
    assert not some.target_deltas[~positive].any()


def test_generator_decides():
    anchors, gt, size = real_grid()
    first, again, other = (
        targets(anchors, gt, size, seed=seed, batch_size=64) for seed in (1, 1, 2)
    )
    assert_equal(first, again)
    assert not torch.equal(first.labels, other.labels)


@pytest.mark.parametrize("junk", JUNK)
def test_image_without_objects(junk):
    anchors = small_anchors(height=20, width=20)
    gt = ground_truth([], junk=junk)
    result = targets(anchors, gt, torch.tensor([[320, 320]]))
    assert (result.labels == 0).sum() == 256 and (result.labels == 1).sum() == 0
    assert torch.equal(result.target_deltas, torch.zeros(1, len(anchors), 4))


@pytest.mark.parametrize("junk", JUNK)
def test_unused_rows_never_matter(junk):
    anchors = small_anchors()
    objects = [(1, [0, 0, 20, 20]), (3, [30, 30, 59, 59])]
    plain = targets(anchors, ground_truth(objects, slots=2))
    assert_equal(targets(anchors, ground_truth(objects, slots=9, junk=junk)), plain)


def test_batch_is_its_images_one_by_one():
    anchors = small_anchors()
    gt = ground_truth(
        [(1, [0, 0, 20, 20])], [], [(1, [9, 9, 30, 50]), (2, [60, 3, 90, 50])]
    )
    sizes = torch.tensor([[60, 60], [96, 96], [64, 96]])
    run = partial(targets, anchors, **EVERYTHING)
    check_images_alone(run, gt, sizes, images=3)


def test_mirrored_image_has_mirrored_targets():
    anchors = small_anchors()
    gt = ground_truth([(1, [2, 5, 30, 40]), (2, [60, 3, 90, 50])])
    size = torch.tensor([[96, 96]])
    plain = targets(anchors, gt, size, **EVERYTHING)
    mirrored = targets(
        flip(anchors, 96, 1),
        gt._replace(boxes=flip(gt.boxes, 96, 1)),
        size,
        **EVERYTHING,
    )
    assert torch.equal(plain.labels, mirrored.labels)
    torch.testing.assert_close(
        mirrored.target_deltas,
        plain.target_deltas * torch.tensor([-1.0, 1.0, 1.0, 1.0]),
        rtol=1e-5,
        atol=1e-5,
    )


def test_few_anchors_and_none_inside():
    gt = ground_truth([(1, [0, 0, 9, 9])])
    anchors = torch.tensor([[0.0, 0.0, 9.0, 9.0], [30.0, 30.0, 39.0, 39.0]])
    assert targets(anchors, gt).labels.tolist() == [[1, 0]]
    result = targets(torch.tensor([[-5.0, 0.0, 9.0, 9.0]]), gt)
    assert result.labels.tolist() == [[-1]] and not result.target_deltas.any()
    assert [x.dtype for x in result] == [torch.int64, torch.float32]
