"""Small data sets and detections, written down by hand or drawn at random."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faster_rcnn.datasets.records import Dataset, Record
from faster_rcnn.evaluation.image_detections import ImageDetections

Scene = tuple[Dataset, list[ImageDetections]]


def _record(
    image_id: str,
    boxes: Sequence[Sequence[float]] = (),
    classes: Sequence[int] = (),
    difficult: Sequence[bool] | None = None,
    crowd: Sequence[bool] | None = None,
) -> Record:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    none = [False] * len(array)
    return Record(
        image_id=image_id,
        path=Path(f"{image_id}.jpg"),
        width=500,
        height=400,
        boxes=array,
        classes=np.array(classes, np.int64),
        difficult=np.array(difficult or none, np.bool_),
        crowd=np.array(crowd or none, np.bool_),
        areas=(array[:, 2:] - array[:, :2]).prod(axis=1),
        object_ids=np.arange(len(array)),
    )


def _dataset(records: Sequence[Record], **changes: Any) -> Dataset:
    classes = changes.pop("classes", ("__background__", "cat", "dog"))
    fields = {
        "name": "pets_test",
        "layout": "voc",
        "classes": classes,
        "records": tuple(records),
        "drops": {},
        "annotation_file": None,
        "category_ids": tuple(range(len(classes))),
    }
    return Dataset(**(fields | changes))


def _found(
    image_id: str,
    boxes: Sequence[Sequence[float]] = (),
    scores: Sequence[float] = (),
    classes: Sequence[int] | None = None,
) -> ImageDetections:
    return ImageDetections(
        image_id,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array([1] * len(scores) if classes is None else classes, np.int64),
    )


def _random_scene(seed: int) -> Scene:
    """Draw objects of every kind, and hits, near misses, doubles and strays."""
    rng = np.random.default_rng(seed)
    records, detections = [], []
    for i in range(20):
        count = int(rng.integers(0, 7))
        low = rng.integers(0, 100, (count, 2))
        boxes = np.concatenate([low, low + rng.integers(10, 60, (count, 2))], axis=1)
        classes = rng.integers(1, 3, count)
        flags = rng.random((2, count)) < 0.2
        records.append(
            _record(f"im{i}", boxes, classes, flags[0].tolist(), flags[1].tolist())
        )
        rows = rng.integers(0, count, 3 * count) if count else []
        near = boxes[rows] + rng.uniform(-5, 5, (len(rows), 4))
        low = rng.integers(0, 100, (2, 2))
        far = np.concatenate([low, low + rng.integers(5, 60, (2, 2))], axis=1)
        labels = np.concatenate([classes[rows], [1, 2]]).astype(int)
        scores = rng.integers(1, 20, len(labels)) / 20  # many ties
        order = np.argsort(-scores, kind="stable")
        found = np.concatenate([near, far])[order]
        detections.append(_found(f"im{i}", found, scores[order], labels[order]))
    return _dataset(records), detections


@pytest.fixture
def record() -> Callable[..., Record]:
    """Make a 500x400 record from an id, boxes, classes and flags."""
    return _record


@pytest.fixture
def dataset() -> Callable[..., Dataset]:
    """Make a data set of the classes cat and dog from records; fields as keywords."""
    return _dataset


@pytest.fixture
def found() -> Callable[..., ImageDetections]:
    """Make the detections of an image from an id, boxes, scores and classes."""
    return _found


@pytest.fixture(params=range(3))
def random_scene(request: pytest.FixtureRequest) -> Scene:
    """Make a random data set with detections on it."""
    return _random_scene(request.param)
