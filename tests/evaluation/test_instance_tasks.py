"""Masks and keypoints against pycocotools as it comes, to the bit."""

import contextlib
import io
import json
import math
from dataclasses import replace

import hotcoco.mask
import numpy as np
import pytest
from drawn_instances import box_mask
from faster_rcnn.datasets.records import KeypointNames, RunLengths
from faster_rcnn.evaluation.coco_ap import KEYPOINT_METRICS, METRICS, coco_metrics
from faster_rcnn.evaluation.coco_objects import coco_objects
from faster_rcnn.evaluation.ground_truth import read_annotations
from faster_rcnn.evaluation.results import load_detections
from faster_rcnn.evaluation.scoring import evaluate
from faster_rcnn.evaluation.tasks import (
    COCO_SIGMAS,
    SIGMA,
    CocoParameters,
    keypoint_sigmas,
)
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval, Params

FILES = {"bbox": "instances", "segm": "instances", "keypoints": "person_keypoints"}
HEIGHT, WIDTH, POINTS = 120, 160, 5


def oracle(path, results, task, *, sigmas=None, max_detections=None, areas=None):
    """The numbers of pycocotools for a file of annotations and a result list."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        evaluation = COCOeval(truth, truth.loadRes(str(results)), task)
        if sigmas is not None:
            evaluation.params.kpt_oks_sigmas = np.array(sigmas)
        if max_detections is not None:
            evaluation.params.maxDets = [1, 10, max_detections]
        if areas is not None:
            low, high = areas[0] ** 2, areas[1] ** 2
            ranges = [[0, 1e10], [0, low], [low, high], [high, 1e10]]
            evaluation.params.areaRng = ranges
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return np.where(evaluation.stats < 0, np.nan, evaluation.stats)


def ours(path, results, task, evaluator="hotcoco", **parameters):
    data = read_annotations(path)
    found = load_detections(results, data)
    parameters = CocoParameters(**parameters)
    return coco_metrics(
        data, found, task=task, evaluator=evaluator, parameters=parameters
    )


@pytest.mark.parametrize("evaluator", ["hotcoco", "pycocotools"])
@pytest.mark.parametrize("task", FILES)
def test_recorded_numbers(shared, task, evaluator):
    part, golden = "train2017", shared / "golden/family"
    expected = json.loads((golden / f"coco2017_mini_{part}_expected.json").read_text())
    root = shared / "data/coco2017_mini/annotations"
    path = root / f"{FILES[task]}_{part}.json"
    results = golden / f"coco2017_mini_{part}_fake_{task}_results.json"
    result = ours(path, results, task, evaluator=evaluator)
    names = KEYPOINT_METRICS if task == "keypoints" else METRICS
    assert tuple(result.metrics) == names
    np.testing.assert_array_equal(
        list(result.metrics.values()), expected[task]["stats"]
    )
    if task == "keypoints":
        same = ours(path, results, task, evaluator=evaluator, sigmas=[0.05])
        stats = expected["keypoints_sigma_0.05"]["stats"]
        np.testing.assert_array_equal(list(same.metrics.values()), stats)
    else:
        by_class = expected[task]["per_category_ap"].values()
        known = [math.nan if ap < 0 else ap for ap in by_class]
        np.testing.assert_array_equal(list(result.per_class.values()), known)


def test_the_demo_of_pycocotools(shared):
    folder = shared / "data/coco_val2014_100"
    path = folder / "instances_val2014_100.json"
    results = folder / "instances_val2014_fakesegm100_results.json"
    result = ours(path, results, "segm")
    np.testing.assert_array_equal(
        list(result.metrics.values()), oracle(path, results, "segm")
    )
    text = (folder / "val2014_fake_eval_res.txt").read_text()
    assert f"= {result.metrics['AP']:.3f}" in text.split("type=segm")[1][:400]


def polygon(rng, centre, radius):
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 12)))
    ray = np.stack([np.cos(angles), np.sin(angles)], 1) * radius
    return (centre + ray).round(2).reshape(-1).tolist()  # some reach out of the image


def scene(seed):
    """COCO annotations and results of masks and keypoints, with ties and crowds."""
    rng = np.random.default_rng(seed)
    truth, masks, points = [], [], []
    for number in range(40):
        centre, radius = rng.uniform(0, (WIDTH, HEIGHT)), rng.uniform(4, 60)
        parts = [polygon(rng, centre, radius) for _ in range(rng.integers(1, 3))]
        rle = coco_mask.merge(coco_mask.frPyObjects(parts, HEIGHT, WIDTH))
        crowd = number % 7 == 0
        bits = hotcoco.mask.decode(rle).reshape(-1, order="F")
        ends = np.flatnonzero(np.diff(bits)) + 1
        counts = np.diff([0, *ends, len(bits)]).tolist()
        counts = [0, *counts] if bits[0] else counts
        places = rng.uniform(-radius, radius, (POINTS, 2)) / 2 + centre
        seen = rng.integers(0, 3, POINTS) * (number % 5 > 0)
        places = np.column_stack([places.round(1), seen])
        box = coco_mask.toBbox(rle).tolist()
        common = {
            "image_id": int(rng.integers(1, 7)),
            "category_id": int(rng.choice([3, 8])),
        }
        uncompressed = {"size": [HEIGHT, WIDTH], "counts": counts}
        truth.append(
            {
                **common,
                "id": number,
                "iscrowd": int(crowd),
                "segmentation": uncompressed if crowd else parts,
                "area": float(coco_mask.area(rle)),
                "bbox": box,
                "keypoints": places.reshape(-1).tolist(),
                "num_keypoints": int((seen > 0).sum()),
            }
        )
        for _ in range(rng.integers(0, 5)):
            moved = [polygon(rng, centre + rng.normal(0, 2, 2), radius) for _ in "ab"]
            found = coco_mask.merge(coco_mask.frPyObjects(moved, HEIGHT, WIDTH))
            own = common | {"score": int(rng.integers(1, 9)) / 8}
            text = {"size": [HEIGHT, WIDTH], "counts": found["counts"].decode()}
            masks.append(own | {"segmentation": text})
            near = places + np.append(rng.normal(0, radius / 9, 2), 0)
            points.append(own | {"keypoints": near.round(3).reshape(-1).tolist()})
    names = [f"point {k}" for k in range(POINTS)]
    content = {
        "images": [{"id": i, "height": HEIGHT, "width": WIDTH} for i in range(1, 8)],
        "categories": [{"id": i, "name": str(i), "keypoints": names} for i in (3, 8)],
        "annotations": [row | {"id": row["id"] + 1} for row in truth],
    }
    return content, {"segm": masks, "keypoints": points}


@pytest.fixture(params=range(4))
def files(request, tmp_path):
    content, results = scene(request.param)
    (tmp_path / "truth.json").write_text(json.dumps(content))
    for task, rows in results.items():
        (tmp_path / f"{task}.json").write_text(json.dumps(rows))
    return tmp_path


def test_random_scenes(files):
    path, segm, keypoints = (
        files / f"{n}.json" for n in ("truth", "segm", "keypoints")
    )
    result = ours(path, segm, "segm")
    expected = oracle(path, segm, "segm")
    assert 0 < result.metrics["AP"] < 1 and result.metrics["APm"] > 0
    np.testing.assert_array_equal(list(result.metrics.values()), expected)
    for sigmas in ([0.05] * POINTS, [0.02, 0.05, 0.08, 0.1, 0.2]):
        result = ours(path, keypoints, "keypoints", sigmas=sigmas)
        expected = oracle(path, keypoints, "keypoints", sigmas=sigmas)
        assert 0 < result.metrics["AP"] < 1
        np.testing.assert_array_equal(list(result.metrics.values()), expected)


def test_limits_and_areas_as_pycocotools_takes_them(files):
    path, results = files / "truth.json", files / "segm.json"
    options = {"max_detections": 30, "areas": (20.0, 50.0)}
    result = ours(path, results, "segm", **options)
    expected = oracle(path, results, "segm", **options)
    # Its summary finds AP only at 100 detections.
    np.testing.assert_array_equal(list(result.metrics.values())[1:], expected[1:])
    assert "AR30" in result.metrics and result.max_detections == 30
    assert not result.usual


@pytest.fixture
def instances(record, dataset, found):
    """A cat with a mask and keypoints, found, and a dog with neither."""
    cat, dog = [10, 10, 50, 40], [60, 10, 90, 40]
    corners = np.array([[10, 10], [50, 10], [50, 40], [10, 40]], np.float32)
    points = np.array([[[20.5, 20.5, 2], [30.5, 20.5, 1]], [[0, 0, 0]] * 2])
    objects = replace(
        record("a", [cat, dog], [1, 2]),
        masks=((corners,), ()),
        keypoints=points.astype(np.float32),
    )
    names = KeypointNames(("left", "right"))
    mask = box_mask(10, 10, 50, 40)
    entry = replace(
        found("a", [cat], [0.9], [1]), masks=(mask,), keypoints=points[:1].astype("f")
    )
    return dataset([objects], has_masks=True, keypoints=names), [entry]


def test_ground_truth_of_records(instances):
    objects = coco_objects(instances[0], ("bbox", "segm", "keypoints"))
    assert objects.masks == [
        [[10, 10, 50, 10, 50, 40, 10, 40]],
        [[60, 10, 90, 10, 90, 40, 60, 40]],  # the box of the dog, which has no mask
    ]
    assert objects.crowd.tolist() == [False, True]
    assert objects.keypoints[0].tolist() == [[20, 20, 2], [30, 20, 1]]
    assert coco_objects(instances[0]).masks is None


def test_all_tasks_that_there_are(instances, found):
    data, detections = instances
    evaluation = evaluate(data, detections)
    assert evaluation.headline[0] == "mAP_07"
    assert [*evaluation.instances] == ["segm", "keypoints"]
    one = pytest.approx(1)
    assert evaluation.totals["segm/AP"] == one
    assert evaluation.totals["keypoints/AP"] == one
    assert math.isnan(evaluation.class_columns["keypoints/AP"]["dog"])
    assert evaluation.scalars()["segm/AP/cat"] == one
    table = evaluation.table().splitlines()
    assert table[0].endswith("AP 07  AP all  segm AP  keypoints AP")
    assert "segm:" in table and "keypoints:" in table
    assert "sigmas of OKS (keypoint.sigmas): 0.05" in table
    content = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert content["keypoints"]["AR50"] == one and content["segm"]["AP"] == one
    assert content["segm_per_class"]["cat"]["APm"] == one
    assert content["keypoint_sigmas"] == [0.05, 0.05]
    assert content["keypoints_max_detections"] == 20
    alone = evaluate(data, detections, tasks=("keypoints",))
    assert alone.headline == ("keypoints/AP", one) and not alone.voc
    assert [*evaluate(data, [found("a")]).instances] == []
    boxes = replace(data, has_masks=False, keypoints=None)
    assert [*evaluate(boxes, detections).instances] == []


def test_what_cannot_be_measured(instances, found):
    data, detections = instances
    with pytest.raises(ValueError, match="segm: found no masks in the detections"):
        evaluate(data, [found("a")], tasks=("bbox", "segm"))
    boxes = replace(data, keypoints=None)
    with pytest.raises(ValueError, match="found no keypoints in pets_test"):
        evaluate(boxes, detections, tasks=("keypoints",))
    with pytest.raises(ValueError, match=r"tasks bbox, segm, keypoints, found \['m'\]"):
        evaluate(data, detections, tasks=("m",))
    (entry,) = detections
    small = RunLengths(entry.masks[0].counts, (400, 499))
    for change, message in (
        ({"masks": ()}, "image a: expected 1 masks, found 0"),
        ({"masks": (small,)}, r"expected \[400, 500\], found \[400, 499\]"),
        ({"keypoints": entry.keypoints[:, :, :2]}, "finite keypoints"),
        ({"keypoints": entry.keypoints * np.nan}, "finite: False"),
        ({"keypoints": entry.keypoints[:, :1]}, "2 keypoints, found 1"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate(data, [replace(entry, **change)])


def test_sigmas():
    assert Params("keypoints").kpt_oks_sigmas.tolist() == list(COCO_SIGMAS)
    assert keypoint_sigmas(17) == COCO_SIGMAS and keypoint_sigmas(2) == (SIGMA,) * 2
    assert keypoint_sigmas(3, [0.1]) == (0.1,) * 3
    assert keypoint_sigmas(2, [0.1, 0.2]) == (0.1, 0.2)
    for bad in ([0.1, 0.1], [0.0], [0.1, 0.1, -1.0]):
        with pytest.raises(ValueError, match="expected 3 positive sigmas or one"):
            keypoint_sigmas(3, bad)
