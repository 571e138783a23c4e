import numpy as np
import pytest
from faster_rcnn.evaluation.scoring import evaluate
from faster_rcnn.evaluation.selection import (
    above_score,
    best_of_image,
    only_classes,
    suppress,
    suppress_softly,
)
from faster_rcnn.nms import GaussianDecay, LinearDecay

BOX, NEAR, OTHER = [10, 10, 20, 20], [10, 10, 20, 18], [50, 50, 70, 70]


@pytest.fixture
def several(found):
    """A box, two near it (IoU .8) of its own and of the other class, and one apart."""
    boxes, classes = [BOX, NEAR, NEAR, OTHER], [1, 1, 2, 1]
    return [found("a", boxes, [0.9, 0.8, 0.7, 0.6], classes), found("b")]


def test_scores_above(several):
    kept, empty = above_score(several, 0.7)
    assert kept.scores == pytest.approx([0.9, 0.8]) and len(empty.scores) == 0
    assert len(above_score(several, 0)[0].scores) == 4


def test_best_of_each_image(several, found):
    kept, empty = best_of_image(several, 2)
    assert kept.classes.tolist() == [1, 1] and empty.image_id == "b"
    (unsorted,) = best_of_image([found("a", [BOX, NEAR], [0.1, 0.2])], 1)
    assert unsorted.boxes.tolist() == [NEAR]


def test_hard_suppression_within_each_class(several):
    kept, empty = suppress(several, threshold=0.5)
    assert kept.boxes.tolist() == [BOX, NEAR, OTHER]
    assert kept.classes.tolist() == [1, 2, 1] and empty.boxes.shape == (0, 4)
    assert len(suppress(several, threshold=0.85)[0].scores) == 4


def test_soft_suppression_by_hand(several):
    kept, empty = suppress_softly(several, GaussianDecay(0.5))
    fallen = 0.8 * np.exp(-(0.8**2) / 0.5)
    assert kept.scores == pytest.approx([0.9, 0.7, 0.6, fallen], abs=1e-6)
    assert kept.boxes.tolist() == [BOX, NEAR, OTHER, NEAR]
    assert len(empty.scores) == 0
    kept, _ = suppress_softly(several, LinearDecay(0.3))
    assert kept.scores == pytest.approx([0.9, 0.7, 0.6, 0.8 * 0.2], abs=1e-6)
    kept, _ = suppress_softly(several, LinearDecay(0.9))
    assert kept.scores == pytest.approx([0.9, 0.8, 0.7, 0.6])


@pytest.mark.parametrize("rules", ["voc", "coco"])
def test_one_class_alone_has_the_ap_it_has_among_all(random_scene, rules):
    dataset, detections = random_scene
    whole = evaluate(dataset, detections, rules=(rules,))
    pets, found = only_classes(dataset, detections, ["dog"])
    alone = evaluate(pets, found, rules=(rules,))
    assert alone.per_class == {"dog": whole.per_class["dog"]}
    assert alone.headline[1] == whole.per_class["dog"] > 0
    assert alone.objects == {"dog": whole.objects["dog"]}


def test_classes_keep_the_order_of_the_data_set(random_scene):
    dataset, detections = random_scene
    same, found = only_classes(dataset, detections, ["dog", "cat", "dog"])
    assert same.classes == dataset.classes
    assert same.category_ids == dataset.category_ids
    assert evaluate(same, found).to_json() == evaluate(dataset, detections).to_json()


def test_unknown_class(random_scene):
    with pytest.raises(ValueError, match=r"no class 'dgo' \(did you mean 'dog'\?\); "):
        only_classes(*random_scene, ["cat", "dgo"])
