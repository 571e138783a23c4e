"""The error analysis beside that of hotcoco, whose rules are COCO's."""

import numpy as np
import pytest
from evaluation import Size, draw
from faster_rcnn.evaluation.analysis.error_analysis import analyse_errors
from faster_rcnn.evaluation.analysis.score_analysis import confusion_matrix
from faster_rcnn.evaluation.coco_evaluators import _hotcoco
from faster_rcnn.evaluation.coco_objects import (
    coco_detections,
    coco_image_ids,
    coco_objects,
)
from faster_rcnn.evaluation.ground_truth import read_annotations
from faster_rcnn.evaluation.image_detections import flatten
from faster_rcnn.evaluation.results import load_detections

NAMES = {
    **{"classification": "Cls", "localisation": "Loc", "both": "Both"},
    **{"duplicate": "Dupe", "background": "Bkg", "missed": "Miss"},
}


def compare(dataset, found):
    """Analyse detections with this project's code and with hotcoco's."""
    images = [{"id": int(i)} for i in coco_image_ids(dataset)]
    categories = [{"id": c, "name": str(c)} for c in dataset.category_ids[1:]]
    detections = coco_detections(dataset, flatten(dataset, found))
    theirs = _hotcoco(images, categories, coco_objects(dataset), detections)
    theirs.evaluate()
    return analyse_errors(dataset, found, resamples=2), theirs


@pytest.fixture(scope="module")
def both():
    return compare(*draw(Size(300, 5, 900, 6000)))


def test_demo_of_pycocotools(shared):
    folder = shared / "data/coco_val2014_100"
    dataset = read_annotations(folder / "instances_val2014_100.json")
    results = folder / "instances_val2014_fakebbox100_results.json"
    ours, theirs = compare(dataset, load_detections(results, dataset))
    counts = dict(zip(NAMES.values(), ours.errors.counts.sum(axis=1), strict=True))
    assert counts == theirs.tide_errors()["counts"]
    assert ours.calibration.ece == pytest.approx(theirs.calibration()["ece"], rel=1e-12)


def test_calibration(both):
    ours, theirs = both[0].calibration, both[1].calibration(n_bins=10)
    assert ours.ece == pytest.approx(theirs["ece"], rel=1e-9)
    assert ours.counts.tolist() == [part["count"] for part in theirs["bins"]]
    precisions = [part["avg_accuracy"] for part in theirs["bins"]]
    np.testing.assert_allclose(ours.precisions, precisions, rtol=1e-9)


def test_kinds_of_error_and_their_costs(both):
    ours, theirs = both[0].errors, both[1].tide_errors()
    assert ours.ap == pytest.approx(theirs["ap_base"], abs=0.001)
    counts = dict(zip(ours.lost, ours.counts.sum(axis=1).tolist(), strict=True))
    for kind, name in NAMES.items():
        assert counts[kind] == pytest.approx(theirs["counts"][name], abs=2), kind
        assert ours.lost[kind] == pytest.approx(theirs["delta_ap"][name], abs=0.002)
    assert ours.lost_false_positives == pytest.approx(
        theirs["delta_ap"]["FP"], abs=0.01
    )
    assert ours.lost_false_negatives == pytest.approx(
        theirs["delta_ap"]["FN"], abs=0.002
    )


def test_confusion(both):
    ours = confusion_matrix(both[0].matches, thresholds=np.full(6, 0.5))
    theirs = both[1].confusion_matrix(min_score=0.5)["matrix"].astype(int)
    np.testing.assert_allclose(ours[1:, 1:], theirs[:-1, :-1], atol=1)
    np.testing.assert_allclose(ours[1:, 0], theirs[:-1, -1], atol=1)
