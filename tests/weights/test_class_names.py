import numpy as np
import pytest
from faster_rcnn.datasets.records import RunLengths
from faster_rcnn.evaluation.image_detections import ImageDetections
from faster_rcnn.weights.checkpoint import CheckpointError
from faster_rcnn.weights.class_names import (
    COCO_CLASSES,
    class_places,
    coco_category_ids,
    in_places,
    read_classes,
)


def test_places_of_torchvisions_classes_among_cocos():
    known = read_classes(None, 91)
    wanted = read_classes(None, 81)
    places = class_places(known, wanted)
    assert places is not None and len(places) == 91
    assert places[:13] == [*range(12), 0] and places[13] == 12
    assert places[90] == 80 == wanted.index(COCO_CLASSES[-1])
    assert sorted(place for place in places if place) == list(range(1, 81))
    assert class_places(wanted, known) is None
    assert class_places(["__background__", "cat"], ["__background__", "dog"]) is None


def test_detections_in_places():
    found = ImageDetections(
        image_id="7",
        boxes=np.arange(12, dtype=np.float32).reshape(3, 4),
        scores=np.array([0.9, 0.5, 0.25], np.float32),
        classes=np.array([3, 1, 2]),
    )
    got = in_places(found, [0, 0, 2, 1])
    assert got.image_id == "7" and got.classes.tolist() == [1, 2]
    assert got.scores.tolist() == found.scores[[0, 2]].tolist()
    assert got.boxes[:, 0].tolist() == [0, 8]
    nothing = in_places(found, [0, 0, 0, 0])
    assert nothing.boxes.shape == (0, 4) and len(nothing.classes) == 0


def test_category_ids():
    of_coco = coco_category_ids(["__background__", *COCO_CLASSES])
    assert of_coco[:2] == [0, 1] and of_coco[12] == 13 and of_coco[-1] == 90
    assert len(set(of_coco)) == 81
    assert coco_category_ids(["__background__", "zebra", "person"]) == [0, 1, 2]


def test_a_detector_of_persons_keypoints():
    assert read_classes(None, 2, persons=True) == ["__background__", "person"]
    with pytest.raises(CheckpointError, match="the detector has 1 class"):
        read_classes(None, 2)


def test_masks_and_keypoints_stay_with_their_boxes():
    found = ImageDetections(
        "a",
        np.arange(12, dtype=np.float32).reshape(3, 4),
        np.array([0.9, 0.8, 0.7], np.float32),
        np.array([1, 2, 1]),
        tuple(RunLengths(bytes([48 + i]), (1, i)) for i in range(3)),
        np.arange(9, dtype=np.float32).reshape(3, 1, 3),
    )
    kept = in_places(found, [0, 2, 0])
    assert kept.masks == (found.masks[0], found.masks[2])
    assert kept.keypoints.tolist() == [[[0, 1, 2]], [[6, 7, 8]]]
    assert kept.classes.tolist() == [2, 2]
