"""Masks and keypoints in the report."""

import json
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
from drawn_instances import box_mask, encoded
from faster_rcnn.datasets.records import KeypointNames
from faster_rcnn.evaluation.page.overlays import limb_path, outline_path
from faster_rcnn.evaluation.page.report import write_report
from faster_rcnn.evaluation.scoring import evaluate

CAT = [20, 20, 120, 120]


def numbers(path):
    return [[*map(float, p.split())] for p in re.findall(r"[\d.]+ [\d.]+", path)]


def test_an_outline_runs_along_the_edges_of_the_pixels():
    bits = np.zeros((40, 50), bool)
    bits[10:20, 5:30] = True
    path = outline_path(encoded(bits))
    xs, ys = np.array(numbers(path)).T
    assert path.count("Z") == 1
    assert (xs.min(), xs.max(), ys.min(), ys.max()) == pytest.approx(
        (5, 30, 10, 20), abs=0.5
    )
    bits[13:17, 10:20] = False
    assert outline_path(encoded(bits)).count("Z") == 2  # the hole
    assert outline_path(encoded(bits & False)) == ""
    part = np.array([[1, 2], [3, 4], [5, 0.25]], np.float32)
    assert outline_path((part,)) == "M1.0 2.0L3.0 4.0L5.0 0.2Z"
    assert outline_path(()) == ""


def test_limbs_and_points():
    points = np.array([[1, 2, 0.9], [3, 4, 0.5], [5, 6, 0.1]], np.float32)
    path = limb_path(points, [(0, 1), (1, 2)], 0.2)
    assert path == "M1.0 2.0L3.0 4.0M1.0 2.0h0M3.0 4.0h0"


@pytest.fixture
def written(tmp_path, record, dataset, found):
    """The report of two images with a cat each, of which one mask is poor."""
    square = np.array([[20, 20], [120, 20], [120, 120], [20, 120]], np.float32)
    points = np.array([[[40.5, 40.5, 2], [90.5, 40.5, 2]]], np.float32)
    names = KeypointNames(("left ear", "right ear"), skeleton=((0, 1),))
    records, entries = [], []
    for i, right in enumerate((120, 60)):
        path = tmp_path / f"im{i}.jpg"
        assert cv2.imwrite(str(path), np.full((400, 500, 3), 90, np.uint8))
        truth = replace(record(f"im{i}", [CAT], [1]), path=path)
        records.append(replace(truth, masks=((square,),), keypoints=points))
        entry = found(f"im{i}", [CAT], [0.9])
        mask = box_mask(20, 20, right, 120)
        entries.append(replace(entry, masks=(mask,), keypoints=points))
    data = dataset(records, has_masks=True, keypoints=names)
    write_report(tmp_path, data, entries, evaluate(data, entries), resamples=2)
    return tmp_path


def test_the_report_shows_masks_and_keypoints(written):
    page = (written / "report.html").read_text()
    text = re.search(r"<script type=application/json id=data>(.*?)</script>", page)[1]
    data = json.loads(text)
    worst, best = data["masks"]
    assert worst["mark"][5] == "cat 0.90, mask IoU 0.40" and "1.00" in best["mark"][5]
    assert data["images"][worst["image"]]["name"] == "im1"
    truth, detection = data["images"][worst["image"]]["marks"]
    assert truth[6] == "M20.0 20.0L120.0 20.0L120.0 120.0L20.0 120.0Z"
    assert max(x for x, _ in numbers(detection[6])) == pytest.approx(60, abs=0.5)
    assert detection[7] == "M40.5 40.5L90.5 40.5M40.5 40.5h0M90.5 40.5h0"
    for head in ("AP of masks", "AP of keypoints", "PCK@0.1", "right ear", "mean IoU"):
        assert head in page
    errors = json.loads((written / "errors.json").read_text())
    assert errors["mask_iou"]["mean"] == pytest.approx(0.7)
    assert errors["keypoints"]["left ear"]["PCK@0.05"] == 1
