"""Masks and keypoints in files of detections."""

import json
from dataclasses import replace

import numpy as np
import pytest
from drawn_instances import box_mask
from faster_rcnn.datasets.records import KeypointNames
from faster_rcnn.evaluation.results import (
    load_detections,
    save_coco_upload,
    save_detections,
)
from faster_rcnn.evaluation.selection import best_of_image, only_classes, suppress

BOXES = [[10, 20, 50, 60], [15, 25, 55, 65], [100, 0, 120, 9]]


@pytest.fixture
def data(record, dataset):
    points = KeypointNames(("left", "right"))
    records = [record("a", BOXES[:1], [1]), record("b")]
    return dataset(records, has_masks=True, keypoints=points)


@pytest.fixture
def detections(found):
    points = np.random.default_rng(0).uniform(0, 400, (3, 2, 3)).astype(np.float32)
    entry = found("a", BOXES, [0.9, 0.8, 0.7], [1, 1, 2])
    none = np.zeros((0, 2, 3), np.float32)
    return [
        replace(entry, masks=tuple(box_mask(*box) for box in BOXES), keypoints=points),
        replace(found("b"), masks=(), keypoints=none),
    ]


def same(first, second):
    return first.masks == second.masks and np.array_equal(
        first.keypoints, second.keypoints
    )


def test_they_come_back_to_the_bit(data, detections, tmp_path):
    path = tmp_path / "d.json"
    save_detections(path, detections, data)
    assert all(map(same, load_detections(path, data), detections))
    (row, *_) = json.loads(path.read_text())
    assert row["segmentation"]["size"] == [400, 500]
    # A whole number is the centre of a pixel in COCO's files.
    assert row["keypoints"][0] == pytest.approx(detections[0].keypoints[0, 0, 0] - 0.5)
    assert row["keypoints"][2] == pytest.approx(detections[0].keypoints[0, 0, 2])


def test_rows_without_boxes(data, tmp_path):
    """The forms in which COCO's server takes masks and keypoints."""
    row = {"image_id": "a", "category_id": 1, "score": 0.5}
    mask = box_mask(*BOXES[0])
    corners = [10, 20, 50, 20, 50, 60, 10, 60]
    counts = [10 * 400 + 20, *[40, 360] * 39, 40, 500 * 400 - 49 * 400 - 60]
    for segmentation in (
        {"size": [400, 500], "counts": mask.counts.decode()},
        {"size": [400, 500], "counts": counts},
        [corners],
    ):
        (tmp_path / "d.json").write_text(
            json.dumps([row | {"segmentation": segmentation}])
        )
        first, second = load_detections(tmp_path / "d.json", data)
        assert first.boxes.tolist() == BOXES[:1]
        assert first.masks == (mask,) and second.masks == ()
    points = [12, 30, 1, 22, 35, 1]
    (tmp_path / "d.json").write_text(json.dumps([row | {"keypoints": points}]))
    first, _ = load_detections(tmp_path / "d.json", data)
    assert first.boxes.tolist() == [[12, 30, 22, 35]]
    assert first.keypoints.tolist() == [[[12.5, 30.5, 1], [22.5, 35.5, 1]]]


MASK = {"size": [400, 500], "counts": box_mask(*BOXES[0]).counts.decode()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"segmentation": None}, "row 1: expected run lengths of height 400"),
        ({"segmentation": MASK | {"size": [500, 400]}}, r"size \[500, 400\]"),
        ({"segmentation": MASK | {"counts": MASK["counts"] * 2}}, "exceed h"),
        ({"segmentation": MASK | {"counts": "PPPPPPPPPPPPPP0"}}, "continuation"),
        ({"segmentation": MASK | {"counts": "\u00ff"}}, "row 1: expected run"),
        ({"segmentation": MASK | {"counts": [300000]}}, "row 1: expected run"),
        ({"segmentation": MASK | {"counts": [-1, 200001]}}, "row 1: expected run"),
        ({"segmentation": {"size": [400, 500]}}, "row 1: expected run lengths"),
        ({"segmentation": [[]]}, "row 1: expected run lengths"),
        ({"segmentation": [10, 20, 50]}, "neither run lengths nor polygons"),
        ({"keypoints": [1, 2, 1]}, "row 1: expected x, y and score of 2 keypoints"),
        ({"keypoints": [1, 2, 1, 3, 4, float("nan")]}, "2 keypoints"),
        ({"keypoints": None}, "2 keypoints"),
    ],
)
def test_unusable_masks_and_keypoints(data, tmp_path, change, message):
    row = {"image_id": "a", "category_id": 1, "score": 0.5, "bbox": [0, 0, 1, 1]}
    good = row | {"segmentation": MASK, "keypoints": [1, 2, 1, 3, 4, 1]}
    (tmp_path / "d.json").write_text(json.dumps([good, good | change]))
    with pytest.raises(ValueError, match=message):
        load_detections(tmp_path / "d.json", data)


def test_selections_keep_them(data, detections):
    (best, _) = best_of_image(detections, 1)
    assert best.masks == detections[0].masks[:1] and best.keypoints.shape == (1, 2, 3)
    (left, _) = suppress(detections, threshold=0.3)
    assert left.masks == (detections[0].masks[0], detections[0].masks[2])
    assert np.array_equal(left.keypoints, detections[0].keypoints[[0, 2]])
    subset, (dogs, _) = only_classes(data, detections, ["dog"])
    assert dogs.masks == detections[0].masks[2:] and subset.has_masks


def test_uploads_have_one_task_each(record, dataset, detections, tmp_path):
    points = KeypointNames(("left", "right"))
    data = dataset(
        [record("7"), record("9")],
        layout="coco",
        name="coco_2017_test-dev",
        has_masks=True,
        keypoints=points,
    )
    own = [
        replace(entry, image_id=image_id)
        for entry, image_id in zip(detections, "79", strict=True)
    ]
    expected = {
        "bbox": ("detections_test-dev2017_mine_results", "bbox"),
        "segm": ("detections_test-dev2017_mine_results", "segmentation"),
        "keypoints": ("person_keypoints_test-dev2017_mine_results", "keypoints"),
    }
    for task, (name, key) in expected.items():
        folder = tmp_path / task
        path = save_coco_upload(folder, own, data, algorithm="mine", task=task)
        assert path == folder / f"{name}.zip"
        (row, *_) = json.loads((folder / f"{name}.json").read_text())
        assert sorted(row) == sorted(["image_id", "category_id", "score", key])
