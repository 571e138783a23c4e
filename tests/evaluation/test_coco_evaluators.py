"""hotcoco against pycocotools, to the bit, where COCO's rules are easy to miss."""

import contextlib
import io

import numpy as np
import pytest
from faster_rcnn.evaluation import coco_evaluators
from faster_rcnn.evaluation.coco_ap import METRICS, _averages
from faster_rcnn.evaluation.coco_evaluators import _pycocotools, coco_curves
from faster_rcnn.evaluation.coco_objects import CocoDetections, CocoImages, CocoObjects
from faster_rcnn.evaluation.tasks import IOU_THRESHOLDS, CocoParameters

SIDES = [0, 0.5, 8, 31.99, 32, 33, 64, 95.99, 96, 96.01, 128, 300]
AREAS = [0, 1023.99, 1024, 1024.01, 9215.99, 9216, 9216.01, 1e10, 2e10]


def draw(seed, *, most=120, empty_objects=False, empty_found=False):
    """Objects and detections full of ties, of areas on the borders, and of crowds."""
    rng = np.random.default_rng(seed)
    images = np.sort(rng.choice(1000, rng.integers(1, 9), replace=False))
    categories = np.sort(rng.choice(np.arange(1, 91), rng.integers(2, 6), False))
    objects = 0 if empty_objects else int(rng.integers(15, 60))
    found = 0 if empty_found else int(rng.integers(most // 2, most))

    def boxes(count):
        corners = rng.integers(0, 200, (count, 2))
        return np.hstack([corners, rng.choice(SIDES, (count, 2))]).astype(float)

    true = CocoObjects(
        rng.choice(images, objects),
        rng.choice(categories[:-1], objects),  # the last one has no object
        boxes(objects),
        rng.choice(AREAS, objects),
        rng.random(objects) < 0.15,
    )
    detections = CocoDetections(
        rng.choice(images, found),
        rng.choice(categories, found),
        boxes(found),
        rng.integers(0, 9, found) / 8,
    )
    if objects:
        near = np.flatnonzero(rng.random(found) < 0.7)
        rows = rng.integers(objects, size=len(near))
        moved = true.boxes[rows] + rng.choice([0, 0, 0, 1, 5, -5], (len(near), 4))
        detections.boxes[near] = np.maximum(moved, 0)
        detections.image_ids[near] = true.image_ids[rows]
        detections.category_ids[near] = true.category_ids[rows]
    return CocoImages(images.tolist()), categories.tolist(), true, detections


CASES = {f"seed {seed}": {"seed": seed} for seed in range(12)} | {
    "more than 100 an image": {"seed": 20, "most": 3000},
    "more than 100 of a class": {"seed": 21, "most": 2500},
    "no detections": {"seed": 22, "empty_found": True},
    "no objects": {"seed": 23, "empty_objects": True},
    "nothing": {"seed": 24, "empty_found": True, "empty_objects": True},
}


OPTIONS = {
    "as COCO": {},
    "as proposals": {"limits": (5, 30, 150, 400)},
    "other IoUs": {"parameters": CocoParameters((0.1, 0.5, 1.0))},
}


@pytest.mark.parametrize(
    ("case", "way"),
    [
        (case, way)
        for place, case in enumerate(CASES)
        for turn, way in enumerate(OPTIONS)
        if place >= 12 or place % 3 == turn  # each drawn scene in one way
    ],
)
def test_hotcoco_gives_the_bits_of_pycocotools(case, way):
    scene, options = draw(**CASES[case]), OPTIONS[way]
    if way == "as proposals":
        scene = scene[0], None, *scene[2:]
    ours = coco_curves(*scene, evaluator="hotcoco", **options)
    oracle = coco_curves(*scene, evaluator="pycocotools", **options)
    np.testing.assert_array_equal(ours.precision, oracle.precision)
    np.testing.assert_array_equal(ours.recall, oracle.recall)
    if "empty_objects" in CASES[case]:
        assert np.all(ours.recall == -1)
    elif "empty_found" not in CASES[case]:
        assert ours.recall.max() > 0.1


@pytest.mark.parametrize("seed", range(4))
def test_twelve_numbers_are_those_of_summarize(seed):
    images, categories, objects, found = draw(seed)
    rows = [
        [{"id": i, "name": str(i)} for i in ids] for ids in (images.ids, categories)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = _pycocotools(*rows, objects, found)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    ours = _averages(coco_curves(images, categories, objects, found), IOU_THRESHOLDS)
    expected = [np.nan if v < 0 else v for v in evaluation.stats]
    np.testing.assert_array_equal(list(ours.values()), expected)
    assert tuple(ours) == METRICS


def test_nothing_is_printed_or_warned(capfd, recwarn):
    coco_curves(*draw(0), parameters=CocoParameters((0.3,)))
    assert capfd.readouterr() == ("", "") and not recwarn.list


def test_bad_options():
    scene = draw(0)
    with pytest.raises(ValueError, match="expected the evaluator hotcoco or pycoco"):
        coco_curves(*scene, evaluator="mine")
    for thresholds in ((), (0.0, 0.5), (1.5,)):
        with pytest.raises(ValueError, match=r"expected IoUs in \(0, 1\], found"):
            CocoParameters(thresholds)


def test_sizes_and_thresholds_are_those_of_pycocotools():
    from pycocotools.cocoeval import Params

    assert Params("bbox").areaRngLbl == list(coco_evaluators.SIZES)
    assert Params("bbox").iouThrs.tolist() == list(IOU_THRESHOLDS)
