import argparse

import pytest
from faster_rcnn.cli.arguments.evaluation import (
    add_evaluation_arguments,
    iou_list,
    split_measures,
)
from faster_rcnn.evaluation.tasks import IOU_THRESHOLDS


@pytest.mark.parametrize(
    ("text", "ious"),
    [
        ("0.5", (0.5,)),
        ("0.3,0.5,0.75", (0.3, 0.5, 0.75)),
        ("0.5:0.95", IOU_THRESHOLDS),
        ("0.2:0.4:0.1", (0.2, pytest.approx(0.3), 0.4)),
    ],
)
def test_lists_of_overlaps(text, ious):
    assert iou_list(text) == ious


@pytest.mark.parametrize(
    "text", ["", "half", "0", "1", "50", "0.5:", "0.5:0.9:0", "nan"]
)
def test_no_list_of_overlaps(text):
    with pytest.raises(argparse.ArgumentTypeError, match=f"found '{text}'"):
        iou_list(text)


def test_defaults():
    parser = argparse.ArgumentParser()
    add_evaluation_arguments(parser)
    arguments = vars(parser.parse_args([]))
    expected = {"eval": ["detection"], "evaluator": "hotcoco", "comp": None}
    assert arguments == expected


@pytest.mark.parametrize(
    ("words", "measure", "tasks"),
    [
        (None, None, None),
        (["detection"], "detection", None),
        (["proposal_fast"], "proposal_fast", None),
        (["segm"], "detection", ("segm",)),
        (["keypoints", "bbox"], "detection", ("keypoints", "bbox")),
    ],
)
def test_words_of_eval(words, measure, tasks):
    assert split_measures(words) == (measure, tasks)


@pytest.mark.parametrize(
    "words", [["proposal", "bbox"], ["detection", "proposal"], ["segm", "detection"]]
)
def test_proposals_are_measured_alone(words):
    with pytest.raises(ValueError, match=f"--eval {' '.join(words)} combines"):
        split_measures(words)
