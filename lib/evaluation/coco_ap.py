"""The numbers of the COCO challenges, for all classes and for each."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ..datasets.index.indexed_records import as_records
from ..datasets.records import Dataset
from .coco_evaluators import SIZES, Curves, Evaluator, coco_curves
from .coco_objects import (
    CocoImages,
    CocoObjects,
    coco_detections,
    coco_image_ids,
    coco_objects,
)
from .image_detections import FlatDetections, ImageDetections, flatten
from .tasks import AREAS, COCO, IOU_THRESHOLDS, MAX_DETECTIONS, CocoParameters, Task


class _Number(NamedTuple):
    """The part of the curves that a number averages.

    Attributes:
        curve: "precision" or "recall".
        size: one of ``SIZES``.
        iou: its only IoU threshold; if None, all.
        place: of its limit among the ascending ones; the largest if there are fewer.
    """

    curve: str
    size: str = "all"
    iou: float | None = None
    place: int = 2


# In the order of COCOeval.stats. AP: mean over IoU 0.50:0.95; s, m, l: objects below
# 32^2 pixels, between, and above 96^2; AR1: recall with one detection per image.
_BOXES = {
    "AP": _Number("precision"),
    "AP50": _Number("precision", iou=0.5),
    "AP75": _Number("precision", iou=0.75),
    "APs": _Number("precision", "small"),
    "APm": _Number("precision", "medium"),
    "APl": _Number("precision", "large"),
    "AR1": _Number("recall", place=0),
    "AR10": _Number("recall", place=1),
    "AR100": _Number("recall"),
    "ARs": _Number("recall", "small"),
    "ARm": _Number("recall", "medium"),
    "ARl": _Number("recall", "large"),
}
_KEYPOINTS = {
    **{name: _BOXES[name] for name in ("AP", "AP50", "AP75", "APm", "APl")},
    "AR": _Number("recall"),
    "AR50": _Number("recall", iou=0.5),
    "AR75": _Number("recall", iou=0.75),
    **{name: _BOXES[name] for name in ("ARm", "ARl")},
}
METRICS = tuple(_BOXES)
KEYPOINT_METRICS = tuple(_KEYPOINTS)
"""The ten numbers of keypoints, with OKS in place of IoU and 20 detections."""


@dataclass(frozen=True, slots=True)
class CocoResult:
    """COCO's numbers for a data set, each in 0..1, or NaN where no object counts.

    Attributes:
        metrics: the twelve numbers by the names in ``METRICS``, or the ten of
            keypoints. With another limit on detections, AR100 is named after it.
        per_class: class name to AP over the IoU thresholds and all sizes.
        class_metrics: class name to its own numbers.
        iou_thresholds: thresholds that AP and AR are averaged over.
        left_out: detections beyond the limit of their image and class.
        max_detections: limit on the detections of an image and class.
        task: the overlap that was measured.
        areas: sides in pixels of the squares between small, medium and large.
    """

    metrics: dict[str, float]
    per_class: dict[str, float]
    class_metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    iou_thresholds: tuple[float, ...] = IOU_THRESHOLDS
    left_out: int = 0
    max_detections: int = MAX_DETECTIONS["bbox"]
    task: Task = "bbox"
    areas: tuple[float, float] = AREAS

    @property
    def usual(self) -> bool:
        """Return whether the limit on detections is COCO's."""
        return self.max_detections == MAX_DETECTIONS[self.task]


def coco_metrics(
    dataset: Dataset,
    detections: Sequence[ImageDetections],
    *,
    task: Task = "bbox",
    evaluator: Evaluator = "hotcoco",
    parameters: CocoParameters = COCO,
) -> CocoResult:
    """Compute COCO's AP and AR of boxes, masks or keypoints.

    With an annotation file, the ground truth is that file, unclipped and with its
    zero-area boxes, as on the evaluation server; otherwise it is made from the records
    (see ``coco_objects``).

    Args:
        dataset: ground truth. Only its own images and classes are evaluated.
        task: what to match by: IoU of boxes or of masks, or OKS of keypoints.
        evaluator: "hotcoco" or, as its oracle, "pycocotools": equal, but much slower.

    Raises:
        ValueError: detections do not match the data set; the annotation file cannot be
            read; the evaluator or a sigma is invalid.
    """
    return coco_results(
        dataset,
        detections,
        tasks=(task,),
        evaluator=evaluator,
        parameters=parameters,
    )[task]


def coco_results(
    dataset: Dataset,
    detections: Sequence[ImageDetections],
    *,
    tasks: Sequence[Task],
    evaluator: Evaluator = "hotcoco",
    parameters: CocoParameters = COCO,
) -> dict[Task, CocoResult]:
    """Compute the numbers of several tasks; see ``coco_metrics``."""
    flat = flatten(dataset, detections)
    if not dataset.records:
        shape = (
            len(parameters.iou_thresholds),
            len(dataset.classes) - 1,
            len(SIZES),
            1,
        )
        none = Curves(np.full((shape[0], 0, *shape[1:]), -1.0), np.full(shape, -1.0))
        return {task: _result(dataset, flat, none, task, parameters) for task in tasks}
    objects = coco_objects(dataset, tasks)
    _check_keypoints(flat, objects)
    found = coco_detections(dataset, flat)
    sizes = as_records(dataset.records).sizes if "segm" in tasks else None
    images = CocoImages(coco_image_ids(dataset), sizes)
    results: dict[Task, CocoResult] = {}
    for task in tasks:
        limit = parameters.limit(task)
        curves = coco_curves(
            images,
            dataset.category_ids[1:],
            objects,
            found,
            task=task,
            evaluator=evaluator,
            parameters=parameters,
            limits=sorted({min(1, limit), min(10, limit), limit}),
        )
        results[task] = _result(dataset, flat, curves, task, parameters)
    return results


def _check_keypoints(flat: FlatDetections, objects: CocoObjects) -> None:
    if flat.keypoints is None or objects.keypoints is None:
        return
    found, expected = flat.keypoints.shape[1], objects.keypoints.shape[1]
    if found != expected:
        raise ValueError(
            f"expected detections with the data set's {expected} keypoints, found "
            f"{found}; test with the network of this data set (keypoint.count)"
        )


def _result(
    dataset: Dataset,
    flat: FlatDetections,
    curves: Curves,
    task: Task,
    parameters: CocoParameters,
) -> CocoResult:
    thresholds, limit = tuple(parameters.iou_thresholds), parameters.limit(task)
    # The curves' categories are sorted by id.
    places = np.argsort(np.argsort(dataset.category_ids[1:])).tolist()
    class_metrics = {}
    for name, place in zip(dataset.classes[1:], places, strict=True):
        own = Curves(curves.precision[:, :, [place]], curves.recall[:, [place]])
        class_metrics[name] = _averages(own, thresholds, task, limit)
    return CocoResult(
        _averages(curves, thresholds, task, limit),
        {name: numbers["AP"] for name, numbers in class_metrics.items()},
        class_metrics,
        thresholds,
        _left_out(flat, limit),
        limit,
        task,
        parameters.areas,
    )


def _left_out(flat: FlatDetections, limit: int) -> int:
    """Count detections beyond the ``limit`` best of their image and class."""
    pairs = flat.images * (1 + flat.classes.max(initial=0)) + flat.classes
    _, counts = np.unique(pairs, return_counts=True)
    return int((counts - limit).clip(0).sum())


def _averages(
    curves: Curves,
    iou_thresholds: Sequence[float],
    task: Task = "bbox",
    limit: int = MAX_DETECTIONS["bbox"],
) -> dict[str, float]:
    """Average curves into the numbers of a task; NaN where no object counts."""
    # Compared as decimals, which linspace's floats miss by a little.
    rows = {round(t, 6): row for row, t in enumerate(iou_thresholds)}
    last = curves.recall.shape[-1] - 1
    numbers = {}
    for name, part in (_KEYPOINTS if task == "keypoints" else _BOXES).items():
        curve = curves.precision if part.curve == "precision" else curves.recall
        values = curve[..., SIZES.index(part.size), min(part.place, last)]
        if part.iou is not None:
            values = values[[rows[part.iou]]] if part.iou in rows else values[:0]
        known = values[values > -1]
        mean = float(known.mean()) if known.size else float("nan")
        numbers[f"AR{limit}" if name == "AR100" else name] = mean
    return numbers
