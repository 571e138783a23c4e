"""How many RoIs of either kind are drawn from what there is."""

import pytest
import torch
from box_oracles import JUNK, ground_truth, random_boxes
from equality import assert_equal
from pairwise import pairwise
from roi_samples import (
    BACKGROUND,
    FAR,
    FOREGROUND,
    OBJECT,
    as_proposals,
    counts,
    drawn,
    sample,
)


@pytest.mark.parametrize("replacement", [False, True])
def test_counts_where_both_suffice(replacement):
    # Defect 1 of the golden data's README: no background was drawn at all.
    boxes = [FOREGROUND] * 40 + [BACKGROUND] * 100 + [FAR] * 60
    gt = ground_truth([(5, OBJECT)], [(6, OBJECT)])
    options = {"batch_size": 64, "replacement": replacement}
    result = sample(as_proposals(boxes, boxes), gt, **options)
    assert counts(result) == [(16, 48), (16, 48)]
    assert set(result.classes[1].tolist()) == {0, 6}
    # Foreground first.
    assert (result.classes[:, :16] > 0).all() and result.valid.all()
    # Both kinds of background.
    rows = [row[:4] for row in drawn(result)]
    assert rows.count(tuple(BACKGROUND)) > 10 and rows.count(tuple(FAR)) > 5


@pytest.mark.parametrize("replacement", [False, True])
def test_none_is_drawn_twice_where_enough(replacement):
    boxes = [[0.0, 0.0, 19.0, 10.0 + 0.01 * k] for k in range(100)]
    far = [[60.0, 0.0, 79.0, 10.0 + 0.01 * k] for k in range(100)]
    gt = ground_truth([(1, [0.0, 0.0, 19.0, 10.0])])
    result = sample(
        as_proposals(boxes + far), gt, batch_size=80, replacement=replacement
    )
    assert counts(result) == [(20, 60)]
    assert len({row[:4] for row in drawn(result)}) == 80


def test_share_of_foreground_is_rounded():
    boxes = [FOREGROUND] * 20 + [FAR] * 20
    gt = ground_truth([(1, OBJECT)])
    for batch, fraction, fg in [(10, 0.25, 2), (7, 0.25, 2), (10, 0.0, 0), (5, 1, 5)]:
        result = sample(as_proposals(boxes), gt, batch_size=batch, fg_fraction=fraction)
        assert counts(result) == [(fg, batch - fg)]


def test_too_few_without_replacement():
    # Two of two foreground, three of three background: the other slots stay empty.
    result = sample(
        as_proposals([FOREGROUND] * 2 + [FAR] * 3),
        ground_truth([(1, OBJECT)]),
        batch_size=20,
    )
    assert counts(result) == [(2, 3)]
    assert result.valid[0, :5].all()
    assert not result.rois[0, 5:].any() and not result.classes[0, 5:].any()
    assert not result.target_deltas[0, 5:].any()


def test_too_few_with_replacement():
    # One foreground for five slots stays alone; the three kinds of background fill up
    # and each of them is there.
    rows = [BACKGROUND, FAR, [61.0, 60.0, 79.0, 79.0]]
    result = sample(
        as_proposals([FOREGROUND, *rows]),
        ground_truth([(1, OBJECT)]),
        batch_size=20,
        replacement=True,
    )
    assert counts(result) == [(1, 19)]
    assert {row[:4] for row in drawn(result) if row[4] == 0} == set(map(tuple, rows))


@pytest.mark.parametrize(("replacement", "count"), [(False, 3), (True, 8)])
def test_only_foreground_or_only_background(replacement, count):
    gt = ground_truth([(4, OBJECT)])
    rois = as_proposals([FOREGROUND, OBJECT, FOREGROUND])
    result = sample(rois, gt, replacement=replacement)
    assert counts(result) == [(count, 0)]
    assert {row[:4] for row in drawn(result)} == {tuple(FOREGROUND), tuple(OBJECT)}
    assert counts(sample(as_proposals([FOREGROUND] * 30), gt)) == [(8, 0)]
    result = sample(as_proposals([FAR, BACKGROUND, FAR]), gt, replacement=replacement)
    assert counts(result) == [(0, count)] and not result.target_deltas.any()


@pairwise(
    {
        "replacement": [False, True],
        "junk": JUNK,
        "case": ["too far", "no proposal"],
    }
)
def test_neither_foreground_nor_background(case, replacement, junk):
    rows = as_proposals([FAR, FAR] if case == "too far" else [], junk=junk)
    gt = ground_truth([(4, OBJECT)], junk=junk)
    result = sample(rows, gt, bg_overlap_low=0.1, replacement=replacement)
    assert not result.valid.any()
    # What is pooled for nothing is at least a box.
    assert not result.rois.any() and not result.classes.any()
    assert not result.target_deltas.any()


@pairwise({"replacement": [False, True], "junk": JUNK})
def test_image_without_objects(replacement, junk):
    options = {"add_ground_truth": True, "replacement": replacement}
    rows = as_proposals([FAR] * 5, junk=junk)
    result = sample(rows, ground_truth([], junk=junk), **options)
    assert counts(result) == [(0, 8 if replacement else 5)]
    assert result.rois[result.valid].unique(dim=0).tolist() == [FAR]


def test_generator_decides():
    boxes = random_boxes(200).tolist()
    gt = ground_truth([(1, boxes[3]), (2, boxes[8])])
    first, again, other = (
        sample(as_proposals(boxes), gt, seed=seed, batch_size=32, replacement=True)
        for seed in (1, 1, 2)
    )
    assert_equal(first, again)
    assert not torch.equal(first.rois, other.rois)


def test_every_background_gets_its_turn():
    # 30 out of 60, 40 times: that one is never drawn has probability 60 * 0.5 ** 40.
    rows = [[60.0, 0.0, 79.0, 10.0 + k] for k in range(60)]
    batch = as_proposals(*([rows] * 40))
    result = sample(batch, ground_truth(*([[]] * 40)), batch_size=30)
    assert counts(result) == [(0, 30)] * 40
    assert {tuple(roi) for roi in result.rois.flatten(0, 1).tolist()} == set(
        map(tuple, rows)
    )
