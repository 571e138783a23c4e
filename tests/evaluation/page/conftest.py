"""A small test with pictures, and the report of it."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from faster_rcnn.datasets.records import Dataset
from faster_rcnn.evaluation.image_detections import ImageDetections
from faster_rcnn.evaluation.page.report import write_report
from faster_rcnn.evaluation.results import save_detections
from faster_rcnn.evaluation.scoring import Evaluation, evaluate, save_results

CAT, DOG, STRAY = [20, 20, 120, 120], [200, 100, 420, 300], [300, 10, 380, 60]


class Tested(NamedTuple):
    """Files of a test."""

    dataset: Dataset
    detections: list[ImageDetections]
    evaluation: Evaluation
    folder: Path


@pytest.fixture
def tested(tmp_path, record, dataset, found) -> Tested:
    """Four images: one faultless, one with strays, one confused, one with misses.

    There are cats and dogs in them, and no emus.
    """
    boxes, labels = [CAT, DOG], [1, 2]
    entries = [
        found("im0", boxes, [0.9, 0.8], labels),
        found("im1", [*boxes, STRAY], [0.9, 0.8, 0.7], [*labels, 1]),
        found("im2", [DOG, CAT], [0.95, 0.9], [1, 1]),
        found("im3", [STRAY], [0.1], [2]),
    ]
    rng = np.random.default_rng(0)
    records = []
    for i in range(4):
        path = tmp_path / "images" / f"im{i}.jpg"
        path.parent.mkdir(exist_ok=True)
        pixels = rng.integers(0, 255, (400, 500, 3), np.uint8)
        assert cv2.imwrite(str(path), cv2.GaussianBlur(pixels, (0, 0), 9))
        records.append(replace(record(f"im{i}", boxes, labels), path=path))
    classes = ("__background__", "cat", "dog", "emu")
    data = dataset(records, name="pets <test> & co", classes=classes)
    evaluation = evaluate(data, entries)
    return Tested(data, entries, evaluation, tmp_path / "run")


@pytest.fixture
def report(tested, found) -> Path:
    """The report of that test, compared with an earlier one."""
    earlier = tested.folder / "earlier"
    others = [*tested.detections[:1], *(found(f"im{i}") for i in (1, 2, 3))]
    save_detections(earlier / "detections.json", others, tested.dataset)
    save_results(
        tested.folder / "results.json",
        tested.evaluation,
        settings={"checkpoint": "<best>", "test": {"nms": 0.3}},
    )
    write_report(
        tested.folder,
        tested.dataset,
        tested.detections,
        tested.evaluation,
        earlier=earlier,
        known={"net": "res18", "run": "res18/<mine>", "nothing": ""},
        resamples=50,
    )
    return tested.folder / "report.html"
