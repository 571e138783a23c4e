import numpy as np
from faster_rcnn.evaluation.image_detections import ImageDetections
from faster_rcnn.weights.class_names import (
    COCO_CLASSES,
    class_places,
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
