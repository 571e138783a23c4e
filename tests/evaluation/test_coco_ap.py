import contextlib
import io
import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from faster_rcnn.evaluation.coco_ap import METRICS, coco_metrics
from faster_rcnn.evaluation.ground_truth import read_annotations
from faster_rcnn.evaluation.results import load_detections
from faster_rcnn.evaluation.tasks import CocoParameters
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

SMALL, MEDIUM, LARGE = [0, 0, 20, 20], [50, 50, 100, 100], [120, 120, 300, 300]


def published(text):
    """Read the twelve numbers of the bbox section of the demo's figures."""
    section = text.split("type=bbox")[1].split("type=")[0]
    return [float(v) for v in re.findall(r"\] = (-?\d\.\d+)", section)]


@pytest.fixture
def demo(shared):
    """The 100 images that pycocotools' demo evaluates."""
    path = shared / "data/coco_val2014_100/instances_val2014_100.json"
    data = read_annotations(path)
    results = load_detections(
        path.with_name("instances_val2014_fakebbox100_results.json"), data
    )
    figures = published(path.with_name("val2014_fake_eval_res.txt").read_text())
    return data, results, figures


@pytest.mark.parametrize("from_file", [True, False])
def test_gives_the_figures_of_the_demo(demo, from_file):
    data, results, figures = demo
    if not from_file:
        data = replace(data, annotation_file=None)
    result = coco_metrics(data, results)
    assert list(result.metrics) == list(METRICS)
    assert [round(v, 3) for v in result.metrics.values()] == figures
    known = [v for v in result.per_class.values() if not math.isnan(v)]
    assert len(known) < len(result.per_class) == 80
    assert np.mean(known) == pytest.approx(result.metrics["AP"])


@pytest.fixture
def three(record, dataset):
    """A small, a medium and a large cat, and no dog."""
    return dataset([record("x", [SMALL, MEDIUM, LARGE], [1, 1, 1]), record("y")])


def test_perfect_detections_by_hand(three, found):
    detections = [found("x", [LARGE, SMALL, MEDIUM], [0.9, 0.8, 0.7]), found("y")]
    result = coco_metrics(three, detections)
    expected = dict.fromkeys(METRICS, 1.0) | {"AR1": 1 / 3}
    assert result.metrics == pytest.approx(expected)
    assert result.per_class["cat"] == pytest.approx(1)
    assert math.isnan(result.per_class["dog"])


def test_one_object_of_three_found_by_hand(three, found):
    """Overlap .72 passes 5 of 10 thresholds, for 1/3 of the objects."""
    detections = [found("x", [[50, 50, 100, 86]], [0.9]), found("y")]
    metrics = coco_metrics(three, detections).metrics
    assert metrics["AR100"] == pytest.approx(1 / 6)
    assert metrics["ARm"] == pytest.approx(1 / 2)
    assert metrics["APs"] == metrics["APl"] == metrics["AP75"] == 0
    assert metrics["AP50"] == pytest.approx(34 / 101)  # recalls 0, .01, ... .33


def test_nothing_found_is_zero(three, found, capsys):
    result = coco_metrics(three, [found("x"), found("y")])
    assert set(result.metrics.values()) == {0}
    assert result.per_class["cat"] == 0
    assert capsys.readouterr().out == ""


def test_nothing_to_find_is_nan(dataset, record, found):
    scenes = [([], []), ([record("x")], [found("x", [SMALL], [0.9])])]
    for records, detections in scenes:
        result = coco_metrics(dataset(records), detections)
        assert list(result.metrics) == list(METRICS)
        assert all(map(math.isnan, result.metrics.values()))
        assert all(map(math.isnan, result.per_class.values()))


@pytest.mark.parametrize("flag", ["difficult", "crowd"])
def test_difficult_objects_neither_count_nor_punish(record, dataset, found, flag):
    data = dataset([record("x", [SMALL, LARGE], [1, 1], **{flag: [False, True]})])
    detections = [found("x", [LARGE, LARGE, SMALL], [0.9, 0.8, 0.7])]
    assert coco_metrics(data, detections).metrics["AP"] == pytest.approx(1)


def test_per_class_follows_names_when_category_ids_are_not_ascending(
    record, dataset, found
):
    data = dataset(
        [record("1", [SMALL, LARGE], [1, 2])], layout="coco", category_ids=(0, 9, 4)
    )
    result = coco_metrics(data, [found("1", [SMALL], [0.9], [1])])
    assert result.per_class == pytest.approx({"cat": 1, "dog": 0})


def annotated(tmp_path, dataset, record, annotations):
    """A COCO data set of one empty record whose file holds ``annotations``."""
    path = tmp_path / "instances.json"
    path.write_text(json.dumps({"annotations": annotations}))
    return dataset([record("5")], layout="coco", annotation_file=path)


def test_annotation_id_zero_and_missing_keys(tmp_path, dataset, record, found):
    """pycocotools alone fails without area, and takes id 0 for "no match"."""
    objects = [
        {"id": 0, "image_id": 5, "category_id": 1, "bbox": [0, 0, 20, 20]},
        {"id": 0, "image_id": 5, "category_id": 2, "bbox": [120, 120, 180, 180]},
    ]
    data = annotated(tmp_path, dataset, record, objects)
    detections = [found("5", [SMALL, LARGE], [0.9, 0.8], [1, 2])]
    metrics = coco_metrics(data, detections).metrics
    assert (metrics["AP"], metrics["APs"]) == pytest.approx((1, 1))


def test_annotations_that_reading_drops_are_left_out(tmp_path, dataset, record, found):
    good = {"id": 1, "image_id": 5, "category_id": 1, "bbox": [0, 0, 20, 20]}
    bad = [
        {"image_id": 6},
        {"image_id": [5]},
        {"category_id": 7},
        {"bbox": [0, 0, 20]},
        {"bbox": [0, 0, 20, math.nan]},
        {"bbox": None},
    ]
    data = annotated(tmp_path, dataset, record, [good, *(good | b for b in bad)])
    result = coco_metrics(data, [found("5", [SMALL], [0.9])])
    assert result.metrics["AR100"] == pytest.approx(1)


@pytest.mark.parametrize("text", [None, "{", "[]", '{"images": []}'])
def test_unreadable_annotation_file(tmp_path, dataset, record, found, text):
    path = tmp_path / "instances.json"
    if text is not None:
        path.write_text(text)
    data = dataset([record("5")], layout="coco", annotation_file=path)
    with pytest.raises(
        ValueError, match=r"instances\.json: expected .*put the file back"
    ):
        coco_metrics(data, [found("5")])


# Against pycocotools as it comes, and by class and size.


def test_all_digits_of_the_demo_are_those_of_pycocotools(demo):
    data, results, _ = demo
    path = data.annotation_file
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        found = path.with_name("instances_val2014_fakebbox100_results.json")
        evaluation = COCOeval(truth, truth.loadRes(str(found)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    for evaluator in ("hotcoco", "pycocotools"):
        result = coco_metrics(data, results, evaluator=evaluator)
        np.testing.assert_array_equal(list(result.metrics.values()), evaluation.stats)
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    recall = evaluation.eval["recall"]
    for k, (name, numbers) in enumerate(result.class_metrics.items()):
        own, large = precision[:, :, k], recall[:, k, 3, -1]
        expected = [own.mean(), own[0].mean(), large.mean()]
        expected = [math.nan if v < 0 else v for v in expected]
        got = [numbers[metric] for metric in ("AP", "AP50", "ARl")]
        np.testing.assert_array_equal(got, expected)
        assert numbers["AP"] == result.per_class[name] or math.isnan(numbers["AP"])


def test_numbers_of_each_class_by_size(record, dataset, found):
    data = dataset([record("x", [SMALL, MEDIUM, LARGE], [1, 1, 2])])
    detections = [found("x", [SMALL, LARGE], [0.9, 0.8], [1, 2])]
    result = coco_metrics(data, detections).class_metrics
    cat, dog = result["cat"], result["dog"]
    assert (cat["APs"], cat["APm"], cat["ARm"]) == pytest.approx((1, 0, 0))
    assert math.isnan(cat["APl"]) and math.isnan(dog["APs"])
    assert cat["AR100"] == pytest.approx(0.5)
    assert (dog["APl"], dog["AR1"]) == pytest.approx((1, 1))


def test_other_overlaps(three, found):
    """Overlap .72 passes one of two thresholds, for 1/3 of the objects."""
    detections = [found("x", [[50, 50, 100, 86]], [0.9]), found("y")]
    result = coco_metrics(three, detections, parameters=CocoParameters((0.7, 0.75)))
    assert result.iou_thresholds == (0.7, 0.75)
    assert result.metrics["AR100"] == pytest.approx(1 / 6)
    assert math.isnan(result.metrics["AP50"]) and result.metrics["AP75"] == 0


def test_a_threshold_in_decimals_is_recognised(three, found):
    detections = [found("x", [LARGE], [0.9]), found("y")]
    metrics = coco_metrics(
        three, detections, parameters=CocoParameters((0.5, 0.75))
    ).metrics
    assert metrics["AP50"] == metrics["AP75"] > 0


@pytest.fixture
def crowded(dataset, record, found):
    """An object that the 121st best of 150 detections finds; another class has 100."""
    boxes = [[5 * i % 400, 380, 5 * i % 400 + 4, 390] for i in range(150)]
    boxes[120] = LARGE
    others = [[5 * i % 400, 360, 5 * i % 400 + 4, 370] for i in range(100)]
    scores = [*np.linspace(0.9, 0.5, 150), *np.linspace(0.4, 0.3, 100)]
    detections = found("x", [*boxes, *others], scores, [1] * 150 + [2] * 100)
    return dataset([record("x", [LARGE], [1])]), [detections]


@pytest.mark.parametrize("evaluator", ["hotcoco", "pycocotools"])
def test_a_hundred_detections_of_an_image_and_class(crowded, evaluator):
    plain = coco_metrics(*crowded, evaluator=evaluator)
    assert plain.metrics["AP"] == plain.metrics["AR100"] == 0
    assert (plain.left_out, plain.max_detections) == (50, 100)
    result = coco_metrics(
        *crowded, evaluator=evaluator, parameters=CocoParameters(max_detections=300)
    )
    assert result.metrics["AP"] == pytest.approx(1 / 121)
    assert result.metrics["AR300"] == result.metrics["ARl"] == 1
    names = ["AR300" if name == "AR100" else name for name in METRICS]
    assert [*result.metrics] == [*result.class_metrics["cat"]] == names
    assert result.left_out == 0


def test_fewer_than_a_hundred_detections(three, found):
    detections = [found("x", [LARGE, SMALL, MEDIUM], [0.9, 0.8, 0.7]), found("y")]
    result = coco_metrics(
        three, detections, parameters=CocoParameters(max_detections=2)
    )
    assert result.metrics["AR2"] == result.metrics["AR10"] == pytest.approx(2 / 3)
    assert result.metrics["AR1"] == pytest.approx(1 / 3)
    assert result.left_out == 1
    with pytest.raises(ValueError, match="1 or more, found 0"):
        CocoParameters(max_detections=0)
