import dataclasses
import json
import math

import numpy as np
import pytest
from faster_rcnn.evaluation.coco_ap import METRICS
from faster_rcnn.evaluation.scoring import evaluate, results_table, save_results
from faster_rcnn.evaluation.tasks import CocoParameters

BOX, OTHER = [10, 10, 20, 20], [50, 50, 70, 70]


@pytest.fixture
def pets(record, dataset):
    """Two cats and a difficult one, no dog."""
    return dataset(
        [
            record("a", [BOX, OTHER], [1, 1], difficult=[False, True]),
            record("b", [BOX], [1]),
        ]
    )


@pytest.fixture
def half(found):
    """Finds one cat of two."""
    return [found("a", [BOX], [0.9]), found("b")]


@pytest.fixture
def coco_pets(record, dataset):
    return dataset([record("1", [BOX], [1])], layout="coco", category_ids=(0, 17, 18))


def test_voc_layout_gets_both_voc_metrics(pets, half):
    result = evaluate(pets, half)
    assert result.headline == ("mAP_07", pytest.approx(6 / 11))
    assert result.totals == pytest.approx({"mAP_07": 6 / 11, "mAP_all": 0.5})
    assert result.coco is None
    assert result.per_class["cat"] == pytest.approx(6 / 11)
    assert math.isnan(result.per_class["dog"])
    assert result.objects == {"cat": 2, "dog": 0}
    assert (result.images, result.detections, result.ignored) == (2, 1, 1)


def test_coco_layout_gets_the_twelve_numbers(coco_pets, found):
    result = evaluate(coco_pets, [found("1", [BOX], [0.9])])
    assert result.headline == ("AP", pytest.approx(1))
    assert list(result.totals) == list(METRICS)
    assert result.voc == {}
    assert result.per_class["cat"] == pytest.approx(1)


def test_rules_can_be_chosen(pets, half, coco_pets, found):
    both = evaluate(pets, half, rules=("voc", "coco"))
    assert list(both.totals) == ["mAP_07", "mAP_all", *METRICS]
    assert both.headline[0] == "mAP_07"
    assert list(both.class_columns) == ["AP_07", "AP_all", "AP"]
    assert evaluate(pets, half, rules=("coco",)).headline[0] == "AP"
    other = evaluate(coco_pets, [found("1", [BOX], [0.9])], rules=("voc",))
    assert other.headline == ("mAP_07", pytest.approx(1))
    for rules in ((), ("pascal",), "voc"):
        with pytest.raises(ValueError, match='expected rules "voc", "coco" or both'):
            evaluate(pets, half, rules=rules)


def test_the_threshold_reaches_the_voc_rules(pets, found):
    near = [found("a", [[10, 10, 20, 17]], [0.9]), found("b")]
    assert evaluate(pets, near).headline[1] > 0
    assert evaluate(pets, near, iou_threshold=0.75).headline[1] == 0


def test_detections_must_fit(pets, half, found):
    with pytest.raises(ValueError, match=r"no entry of detections .*first 'b'"):
        evaluate(pets, half[:1])
    with pytest.raises(ValueError, match=r"not in pets_test .*first 'c'"):
        evaluate(pets, [*half, found("c")])


def test_scalars_for_tensorboard_have_no_nan(pets, half):
    scalars = evaluate(pets, half).scalars()
    assert scalars == pytest.approx(
        {
            "mAP_07": 6 / 11,
            "mAP_all": 0.5,
            "AP_07/cat": 6 / 11,
            "AP_all/cat": 0.5,
        }
    )


def test_table_by_hand(pets, half):
    assert results_table(evaluate(pets, half)).splitlines() == [
        "class  objects   AP 07  AP all",
        "------------------------------",
        "cat          2  0.5455  0.5000",
        "dog          0       -       -",
        "------------------------------",
        "mean         2  0.5455  0.5000",
        "",
        "pets_test: images 2, detections 1, objects ignored (difficult or crowd) 1",
        "mAP_07 = 0.5455",
    ]


def test_table_has_the_twelve_numbers_and_fits_long_names(dataset, record, found):
    data = dataset(
        [record("1", [BOX], [1])],
        layout="coco",
        classes=("__background__", "a class with a long name", "dog"),
    )
    lines = evaluate(data, [found("1", [BOX], [0.9])]).table().splitlines()
    assert len({len(line) for line in lines[:6]}) == 1
    assert lines[5].split() == ["mean", "1", "1.0000"]
    assert lines[7].startswith("AP 1.0000  AP50 1.0000")
    assert lines[8].startswith("AR1 1.0000  AR10 1.0000")
    assert lines[-1] == "AP = 1.0000"


@pytest.mark.parametrize(
    ("boxes", "hint"),
    [
        ([], "mAP_07 is 0 because there are no detections: "),
        ([[200, 200, 210, 210]], "mAP_07 is 0 although there are detections: "),
    ],
)
def test_a_map_of_zero_names_the_likely_cause(pets, found, boxes, hint):
    result = evaluate(pets, [found("a", boxes, [0.9] * len(boxes)), found("b")])
    assert result.table().splitlines()[-1].startswith(hint)


def test_a_set_without_objects_is_reported(dataset, record, found):
    result = evaluate(dataset([record("a")]), [found("a", [BOX], [0.9])])
    assert "mAP_07 has no value: pets_test has no ground truth" in result.table()
    assert result.to_json()["headline"] == {"name": "mAP_07", "value": None}


def test_a_set_of_difficult_objects_is_reported(dataset, record, found):
    images = [record("a", [BOX], [1], difficult=[True])]
    result = evaluate(dataset(images), [found("a", [BOX], [0.9])])
    assert "mAP_07 has no value: pets_test has no object that" in result.table()


def test_saved_results_by_hand(pets, half, tmp_path):
    path = tmp_path / "test" / "results.json"
    save_results(path, evaluate(pets, half), settings={"checkpoint": "0100.pth"})
    saved = json.loads(path.read_text())
    assert saved.pop("per_class") == {
        "cat": {
            "objects": 2,
            "AP_07": pytest.approx(6 / 11),
            "AP_all": pytest.approx(0.5),
        },
        "dog": {"objects": 0, "AP_07": None, "AP_all": None},
    }
    assert saved == {
        "dataset": "pets_test",
        "layout": "voc",
        "headline": {"name": "mAP_07", "value": pytest.approx(6 / 11)},
        "counts": {"images": 2, "objects": 2, "ignored_objects": 1, "detections": 1},
        "voc": {
            "iou_threshold": 0.5,
            "mAP_07": pytest.approx(6 / 11),
            "mAP_all": pytest.approx(0.5),
            "by_iou": {},
        },
        "coco": None,
        "coco_per_class": None,
        "coco_max_detections": None,
        **dict.fromkeys(("segm", "segm_per_class", "segm_max_detections")),
        **dict.fromkeys(("keypoints", "keypoints_per_class")),
        "keypoints_max_detections": None,
        "keypoint_sigmas": [],
        "by_frequency": {},
        "areas": None,
        "settings": {"checkpoint": "0100.pth"},
    }


def test_saved_keys_are_the_same_for_every_layout(
    pets, half, coco_pets, found, tmp_path
):
    save_results(tmp_path / "voc.json", evaluate(pets, half))
    save_results(tmp_path / "coco.json", evaluate(coco_pets, [found("1")]))
    voc, coco = (
        json.loads((tmp_path / name).read_text()) for name in ("voc.json", "coco.json")
    )
    assert list(voc) == list(coco)
    assert coco["voc"] is None
    assert list(coco["coco"]) == list(METRICS)
    assert coco["coco"]["APl"] is None  # no large object


@pytest.mark.parametrize("value", [float("nan"), {1, 2}])
def test_settings_must_be_json(pets, half, tmp_path, value):
    with pytest.raises(ValueError, match=r"r\.json: settings must be plain JSON"):
        save_results(tmp_path / "r.json", evaluate(pets, half), settings={"x": value})
    assert not (tmp_path / "r.json").exists()


def test_further_overlaps_in_table_and_json(pets, found):
    near = [found("a", [[10, 10, 20, 17]], [0.9]), found("b")]  # overlap .7
    result = evaluate(pets, near, iou_thresholds=(0.5, 0.75))
    assert result.headline == ("mAP_07", pytest.approx(6 / 11))
    assert [r["all"].mean_ap for r in result.voc_by_iou] == pytest.approx([0.5, 0])
    lines = result.table().splitlines()
    start = lines.index("IoU   mAP 07  mAP all")
    assert lines[start + 1 : start + 4] == [
        "0.5   0.5455   0.5000",
        "0.75  0.0000   0.0000",
        "mean  0.2727   0.2500",
    ]
    assert result.to_json()["voc"]["by_iou"]["0.75"] == {"mAP_07": 0, "mAP_all": 0}


def test_coco_numbers_of_each_class_in_json(coco_pets, found):
    near = [found("1", [[10, 10, 20, 17]], [0.9])]
    result = evaluate(coco_pets, near, parameters=CocoParameters((0.5, 0.6)))
    assert result.headline[1] == pytest.approx(1)
    content = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert content["coco_per_class"]["cat"]["ARs"] == pytest.approx(1)
    assert content["coco_per_class"]["cat"]["AP75"] is None
    assert content["coco_per_class"]["dog"]["AP"] is None


def test_the_table_names_the_limit_of_detections(coco_pets, found):
    boxes = np.tile([10, 10, 20, 20], (130, 1))
    detections = [found("1", boxes, np.linspace(0.9, 0.1, 130))]
    table = evaluate(coco_pets, detections).table()
    assert "100 best detections of an image and class, like COCO's: 30 were" in table
    evaluation = evaluate(
        coco_pets, detections, parameters=CocoParameters(max_detections=300)
    )
    assert "with the 300 best detections of an image and class" in evaluation.table()
    assert evaluation.to_json()["coco_max_detections"] == 300


def test_classes_by_their_frequency_in_training(record, dataset, found, tmp_path):
    pets = dataset([record("a", [BOX, OTHER], [1, 2])])
    result = evaluate(pets, [found("a", [BOX], [0.9])])
    known = dataclasses.replace(result, train_images={"cat": 11, "dog": 10})
    assert known.by_frequency == {"rare": (0, 1), "common": (1, 1)}
    expected = "mean (classes) by images in training: rare 0.0000 (1), common 1.0000"
    assert expected in known.table()
    assert known.scalars()["AP_common"] == 1
    save_results(tmp_path / "results.json", known)
    saved = json.loads((tmp_path / "results.json").read_text())
    assert saved["by_frequency"] == {"rare": 0, "common": 1}
    for counts in ({}, {"cat": 50, "dog": 11}):
        other = dataclasses.replace(result, train_images=counts)
        assert other.by_frequency == {} and "in training" not in other.table()
