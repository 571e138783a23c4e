import pytest
from faster_rcnn.evaluation.scoring import evaluate
from faster_rcnn.evaluation.zero_cause import likely_cause

BOX, OTHER = [10, 10, 20, 20], [50, 50, 70, 70]


@pytest.fixture
def pets(record, dataset):
    return dataset([record("a", [BOX, OTHER], [1, 2]), record("b")])


def test_classes_in_another_order(pets, found):
    detections = [found("a", [OTHER, BOX, OTHER], [0.9, 0.8, 0.7], [1, 2, 1])]
    cause = likely_cause(pets, [*detections, found("b")])
    assert cause.startswith("3 of 3 lie on objects of other classes, most often 'cat' ")
    assert "on 'dog'" in cause and "their order differs" in cause


def test_boxes_of_a_resized_image(pets, found):
    boxes = [[900, 700, 1000, 780], [1, 1, 2, 2]]
    cause = likely_cause(pets, [found("a"), found("b", boxes, [0.9, 0.8])])
    assert cause.startswith(
        "1 of 2 boxes leave their images, first [900.0, 700.0, 1000.0, 780.0] in image "
        "'b' of 500 x 400 pixels"
    )


@pytest.mark.parametrize("boxes", [[[200, 200, 210, 210]], [[0, 0, 501, 401]]])
def test_nothing_in_particular(pets, found, boxes):
    cause = likely_cause(pets, [found("a", boxes, [0.9]), found("b")])
    assert cause.startswith("not one matches an object. Likely the checkpoint")


def test_a_few_confusions_are_not_the_cause(pets, found):
    boxes = [OTHER, *[[200, 200, 210, 210]] * 30]
    detections = [found("a", boxes, [0.9] * 31), found("b")]
    assert "not one matches" in likely_cause(pets, detections)


def test_a_hit_on_a_difficult_object_is_no_confusion(record, dataset, found):
    data = dataset([record("a", [BOX, OTHER], [1, 1], difficult=[True, False])])
    assert "not one matches" in likely_cause(data, [found("a", [BOX], [0.9])])


@pytest.mark.parametrize("rules", ["voc", "coco"])
def test_the_report_names_the_cause_only_at_zero(pets, found, rules):
    wrong = [found("a", [OTHER], [0.9], [1]), found("b")]
    evaluation = evaluate(pets, wrong, rules=(rules,))
    assert evaluation.cause in evaluation.table() and "'cat' on" in evaluation.cause
    right = [found("a", [OTHER], [0.9], [2]), found("b")]
    assert evaluate(pets, right, rules=(rules,)).cause == ""
    assert evaluate(pets, [found("a"), found("b")], rules=(rules,)).cause == ""
