import argparse

import pytest
from faster_rcnn.cli.evaluation_options import add_evaluation_arguments, iou_list
from faster_rcnn.evaluation.coco_evaluators import IOU_THRESHOLDS


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
    expected = {"eval": "detection", "evaluator": "hotcoco", "comp": None}
    assert arguments == expected
