"""Thresholds, confusion, calibration, breakdown, and all of it as JSON."""

import json
import math

import numpy as np
import pytest
from faster_rcnn.evaluation.analysis.breakdown import ap_by, ap_by_ratio, ap_by_size
from faster_rcnn.evaluation.analysis.error_analysis import analyse_errors
from faster_rcnn.evaluation.analysis.error_costs import KINDS
from faster_rcnn.evaluation.analysis.matches import match_detections
from faster_rcnn.evaluation.analysis.score_analysis import (
    best_thresholds,
    calibration,
    confusion_matrix,
)

BOX = [0, 0, 100, 100]
FAR = [300, 200, 400, 300]
STRAY = [200, 0, 250, 50]


def slow_f1(matches, c, threshold):
    shown = (matches.found.scores >= threshold) & ~matches.ignored
    own = shown & (matches.found.classes == c)
    hits = np.count_nonzero(matches.true & own)
    objects = matches.count_objects()[c]
    return 2 * hits / (np.count_nonzero(own) + objects)


def test_thresholds_agree_with_trying_all(random_scene):
    matches = match_detections(*random_scene)
    best = best_thresholds(matches)
    for c in (1, 2):
        own = matches.found.scores[matches.found.classes == c]
        tried = {float(t): slow_f1(matches, c, t) for t in own}
        assert best.f1[c] == pytest.approx(max(tried.values()))
        assert tried[best.scores[c]] == pytest.approx(best.f1[c])
        higher = [f for t, f in tried.items() if t > best.scores[c]]
        assert all(f < best.f1[c] for f in higher)
        p, r = best.precision[c], best.recall[c]
        assert best.f1[c] == pytest.approx(2 * p * r / (p + r))


def test_thresholds_without_hits(record, dataset, found):
    """Cat: an object, no hit. Dog: no object."""
    data = dataset([record("a", [BOX], [1])])
    best = best_thresholds(match_detections(data, [found("a", [FAR], [0.9])]))
    assert best.scores[1] == math.inf and best.f1[1] == best.recall[1] == 0
    assert np.isnan(best.precision[1]) and np.isnan(best.f1[2])
    assert np.isnan([best.scores[0], best.f1[0]]).all()


def test_confusion_by_hand(record, dataset, found):
    """A cat found, a dog taken for a cat twice, a loose dog, a cat missed."""
    records = [
        record("a", [BOX, FAR], [1, 2]),
        record("b", [BOX, FAR], [1, 1], difficult=[False, True]),
    ]
    entries = [
        found("a", [BOX, FAR, FAR, BOX], [0.9, 0.8, 0.7, 0.2], [1, 1, 1, 2]),
        found("b", [[50, 0, 150, 100], FAR], [0.6, 0.5], [2, 1]),
    ]
    matches = match_detections(dataset(records), entries)
    shown = confusion_matrix(matches, thresholds=np.array([np.nan, 0.3, 0.3]))
    assert shown.tolist() == [[0, 1, 1], [1, 1, 0], [0, 1, 0]]
    # The dog at the cat that is found already counts as background.
    every = confusion_matrix(matches, thresholds=np.zeros(3))
    assert every.tolist() == [[0, 1, 2], [1, 1, 0], [0, 1, 0]]
    none = confusion_matrix(matches, thresholds=np.full(3, np.inf))
    assert none.tolist() == [[0, 0, 0], [2, 0, 0], [1, 0, 0]]


@pytest.mark.parametrize("threshold", [0, 0.4, 0.8])
def test_confusion_adds_up(random_scene, threshold):
    matches = match_detections(*random_scene)
    matrix = confusion_matrix(matches, thresholds=np.full(3, threshold))
    shown = (matches.found.scores >= threshold) & ~matches.ignored
    detections = np.bincount(matches.found.classes[shown], minlength=3)
    assert matrix[1:].sum(axis=1).tolist() == matches.count_objects()[1:].tolist()
    assert matrix[:, 1:].sum(axis=0).tolist() == detections[1:].tolist()
    assert np.trace(matrix) == np.count_nonzero(matches.true & shown)
    assert matrix.min() >= 0


def test_calibration_by_hand(record, dataset, found):
    """Scores .9 and .7: both true, .2 too low; .3: none true, .3 too high."""
    data = dataset([record("a", [BOX, FAR], [1, 1])])
    entry = found("a", [BOX, FAR, STRAY], [0.9, 0.7, 0.3])
    result = calibration(match_detections(data, [entry]), bins=2)
    assert result.edges.tolist() == [0, 0.5, 1]
    assert result.counts.tolist() == [1, 2]
    assert result.scores.tolist() == pytest.approx([0.3, 0.8])
    assert result.precisions.tolist() == [0, 1]
    assert result.ece == pytest.approx((0.3 + 2 * 0.2) / 3)


def test_calibration_bins_hold_their_upper_edge(record, dataset, found):
    data = dataset([record("a")])
    entry = found("a", [BOX] * 3, [1, 0.5, 0])
    result = calibration(match_detections(data, [entry]), bins=2)
    assert result.counts.tolist() == [2, 1]


def test_calibration_of_nothing(record, dataset, found):
    matches = match_detections(dataset([record("a")]), [found("a")])
    assert np.isnan(calibration(matches).ece)
    with pytest.raises(ValueError, match="one bin or more, found 0"):
        calibration(matches, bins=0)


def test_sizes_by_hand(record, dataset, found):
    """A small object with a stray of its size before it, a large one without.

    The small one is found by a box of medium size.
    """
    small, stray, medium = [0, 0, 30, 30], [50, 50, 70, 70], [0, 0, 36, 36]
    large = [100, 100, 300, 300]
    data = dataset([record("a", [small, large], [1, 1])])
    entry = found("a", [stray, large, medium, large], [0.9, 0.8, 0.7, 0.6])
    groups = ap_by_size(match_detections(data, [entry]), edges=(0, 32, 96, 999))
    assert [g.objects for g in groups] == [1, 0, 1]
    assert groups[0].ap == 0.5 and groups[2].ap == 1
    assert np.isnan(groups[1].ap)


def test_ratios_by_hand(record, dataset, found):
    """The wide object is found; the tall one is not, and a square stray misleads."""
    tall, wide = [0, 0, 10, 50], [100, 0, 300, 20]
    data = dataset([record("a", [tall, wide], [1, 1])])
    entry = found("a", [wide, BOX, [5, 5, 5, 5]], [0.5, 0.9, 0.8])
    groups = ap_by_ratio(match_detections(data, [entry]))
    assert [g.objects for g in groups] == [1, 0, 0, 0, 1]
    assert groups[0].ap == 0 and groups[4].ap == 1


def test_one_group_is_the_whole(random_scene):
    matches = match_detections(*random_scene)
    whole = ap_by(
        matches,
        np.zeros(len(matches.objects.classes)),
        np.zeros(len(matches.true)),
        edges=(0, 1),
    )
    analysis = analyse_errors(*random_scene, resamples=2)
    assert whole[0].ap == pytest.approx(analysis.errors.ap)
    assert whole[0].objects == matches.count_objects().sum()


def test_summary_as_json(random_scene):
    dataset, detections = random_scene
    analysis = analyse_errors(dataset, detections, resamples=20)
    content = json.loads(json.dumps(analysis.to_json(), allow_nan=False))
    assert content["mAP"] == pytest.approx(analysis.errors.ap)
    assert content["mAP_interval"][0] < content["mAP"] < content["mAP_interval"][1]
    assert set(content["lost_AP"]) == {*KINDS, "false_positives", "false_negatives"}
    assert set(content["per_class"]) == {"cat", "dog"}
    cat = content["per_class"]["cat"]
    assert cat["best_score"] == analysis.thresholds.scores[1]
    assert sum(cat["errors"].values()) == analysis.errors.counts[:, 1].sum()
    pairs = {(p["object"], p["detection"]): p["count"] for p in content["confusion"]}
    assert pairs["cat", "cat"] == analysis.confusion[1, 1]
    assert sum(pairs.values()) == analysis.confusion.sum()
    assert content["by_size"][-1]["below"] is None


def test_summary_of_nothing(dataset):
    content = analyse_errors(dataset([]), [], resamples=2).to_json()
    assert content["mAP"] is None and content["mAP_interval"] == [None, None]
    json.dumps(content, allow_nan=False)
