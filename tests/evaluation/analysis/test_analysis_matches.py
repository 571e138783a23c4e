"""Detections are judged as the devkit does, and meet the objects that they should."""

import numpy as np
import pytest
from faster_rcnn.evaluation.analysis.matches import match_detections
from faster_rcnn.evaluation.analysis.precision import (
    average_precisions,
    mean_of_known,
    precision_curves,
)
from faster_rcnn.evaluation.voc_ap import voc_average_precision
from faster_rcnn.evaluation.voc_matching import nearest_objects, paired_iou

BOX = [10, 10, 20, 20]


def slow_nearest(boxes, keys, gt_boxes, gt_keys, labels):
    """The nearest object of each box by comparing all pairs."""
    best = []
    for d, box in enumerate(boxes):
        found = (0.0, -1)
        for g, gt_box in enumerate(gt_boxes):
            if keys[d] == gt_keys[g] and (
                labels is None or labels[0][d] != labels[1][g]
            ):
                iou = float(paired_iou(box[None], gt_box[None])[0])
                found = (iou, g) if iou > found[0] else found
        best.append(found)
    return [b[0] for b in best], [b[1] for b in best]


@pytest.mark.parametrize("labelled", [False, True])
def test_nearest_objects(labelled):
    rng = np.random.default_rng(3)
    low = rng.integers(0, 30, (90, 2))
    boxes = np.concatenate([low, low + rng.integers(0, 20, (90, 2))], 1).astype(float)
    keys, classes = rng.integers(0, 6, 90), rng.integers(1, 4, 90)
    labels = (classes[:60], classes[60:]) if labelled else None
    wanted = slow_nearest(boxes[:60], keys[:60], boxes[60:], keys[60:], labels)
    got = nearest_objects(boxes[:60], keys[:60], boxes[60:], keys[60:], labels=labels)
    np.testing.assert_allclose(got[0], wanted[0])
    assert got[1].tolist() == wanted[1]
    assert min(wanted[1]) == -1 and max(wanted[0]) > 0.3


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.75])
def test_average_precision_is_that_of_the_evaluation(random_scene, threshold):
    dataset, detections = random_scene
    matches = match_detections(dataset, detections, foreground=threshold)
    kept, found, objects = ~matches.ignored, matches.found, matches.count_objects()
    judged = found.scores[kept], found.classes[kept], matches.true[kept], objects
    wanted = voc_average_precision(
        dataset, detections, iou_threshold=threshold, metric="all"
    )
    aps = average_precisions(*judged)
    assert np.isnan(aps[0])
    assert aps[1:].tolist() == pytest.approx([c.ap for c in wanted.per_class.values()])
    assert mean_of_known(aps) == pytest.approx(wanted.mean_ap)
    assert objects[1:].tolist() == [c.objects for c in wanted.per_class.values()]
    curves = precision_curves(*judged)
    for curve, result in zip(curves[1:], wanted.per_class.values(), strict=True):
        for step in range(101):
            reached = result.recall >= step / 100
            best = result.precision[reached].max() if reached.any() else 0
            assert curve[step] == pytest.approx(best)


def test_hit_by_and_ignored(record, dataset, found):
    """A difficult object takes its detections out; a second hit is no true one."""
    other = [30, 30, 50, 50]
    data = dataset([record("a", [BOX, other], [1, 1], difficult=[False, True])])
    entry = found("a", [BOX, BOX, other], [0.9, 0.8, 0.7])
    matches = match_detections(data, [entry])
    assert matches.true.tolist() == [True, False, False]
    assert matches.ignored.tolist() == [False, False, True]
    assert matches.false.tolist() == [False, True, False]
    assert matches.hit_by.tolist() == [0, -1]
    assert matches.counted_nearest.tolist() == [0, 0, -1]
    assert matches.other_nearest.tolist() == [-1, -1, -1]
    assert matches.count_objects().tolist() == [0, 1, 0]


@pytest.mark.parametrize("objects", [0, 1])
@pytest.mark.parametrize("detections", [0, 1])
def test_little_or_nothing(record, dataset, found, objects, detections):
    data = dataset([record("a", [BOX] * objects, [1] * objects)])
    entry = found("a", [BOX] * detections, [0.9] * detections)
    matches = match_detections(data, [entry])
    assert matches.true.tolist() == [bool(objects)] * detections
    assert len(matches.hit_by) == objects


def test_bad_threshold(dataset):
    with pytest.raises(ValueError, match=r"foreground IoU in \[0, 1\), found 1"):
        match_detections(dataset([]), [], foreground=1)


def test_a_class_without_objects():
    none = np.zeros(0)
    aps = average_precisions(
        np.array([0.5], np.float32),
        np.array([2]),
        np.array([False]),
        np.array([0, 0, 0]),
    )
    assert np.isnan(aps[:2]).all() and aps[2] == 0
    assert np.isnan(mean_of_known(none))
