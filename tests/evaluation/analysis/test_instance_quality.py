from dataclasses import replace

import numpy as np
import pytest
from drawn_instances import box_mask
from faster_rcnn.datasets.records import KeypointNames
from faster_rcnn.evaluation.analysis.instance_quality import (
    keypoint_quality,
    mask_overlaps,
)
from faster_rcnn.evaluation.analysis.matches import match_detections

CAT, OTHER = [10, 10, 110, 60], [200, 200, 260, 300]


@pytest.fixture
def scene(record, dataset, found):
    """Two cats, of which one is found, in the second image."""
    square = np.array([[10, 10], [110, 10], [110, 60], [10, 60]], np.float32)
    points = np.array([[[20, 20, 2], [60, 20, 1], [0, 0, 0]]], np.float32)
    truth = replace(
        record("b", [OTHER, CAT], [1, 1]),
        masks=((), (square,)),
        keypoints=np.concatenate([points * 0, points]),
    )
    empty = replace(record("a"), masks=(), keypoints=points[:0])
    near = points.copy()
    near[0, 0, 0] += 4  # within .05 of the side of 100
    near[0, 1, 1] += 15
    hit = replace(
        found("b", [CAT], [0.9]),
        masks=(box_mask(10, 10, 60, 60),),
        keypoints=near,
    )
    names = KeypointNames(("a", "b", "c"))
    data = dataset([empty, truth], has_masks=True, keypoints=names)
    return data, [found("a"), hit]


def test_overlap_of_masks(scene):
    matches = match_detections(*scene)
    overlaps = mask_overlaps(scene[0], matches)
    assert overlaps.ious.tolist() == [0.5]
    assert (overlaps.detections.tolist(), overlaps.objects.tolist()) == ([0], [1])
    assert overlaps.to_json(matches) == {
        "mean": 0.5,
        "per_class": {"cat": 0.5, "dog": None},
    }


def test_accuracy_of_keypoints_by_hand(scene):
    quality = keypoint_quality(scene[0], match_detections(*scene), (0.05,) * 3)
    assert quality.labelled.tolist() == [1, 1, 0]
    np.testing.assert_equal(
        quality.correct, [[1, 0, np.nan], [1, 0, np.nan], [1, 1, np.nan]]
    )
    # COCO: exp(-d^2 / (2 s^2 (2 sigma)^2)), s^2 being the area of 5000.
    expected = np.exp(-np.array([16, 225]) / (2 * 5000 * 0.1**2))
    assert quality.oks[:2] == pytest.approx(expected) and np.isnan(quality.oks[2])
    assert quality.distances[:2].tolist() == [4, 15]
    assert quality.to_json()["c"]["PCK@0.1"] is None


def test_boxes_alone(scene):
    data, detections = scene
    boxes = [replace(entry, masks=None, keypoints=None) for entry in detections]
    matches = match_detections(data, boxes)
    assert mask_overlaps(data, matches) is None
    assert keypoint_quality(data, matches, ()) is None
