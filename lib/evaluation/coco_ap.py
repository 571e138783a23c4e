"""The twelve numbers of the COCO detection challenge, for all classes and for each."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..datasets.records import Dataset
from .coco_evaluators import IOU_THRESHOLDS, SIZES, Curves, Evaluator, coco_curves
from .coco_objects import Float64Array, coco_detections, coco_image_ids, coco_objects
from .image_detections import FlatDetections, ImageDetections, flatten

# In the order of COCOeval.stats. AP: mean over IoU 0.50:0.95; s, m, l: objects below
# 32^2 pixels, between, and above 96^2; AR1: recall with one detection per image.
METRICS = (
    "AP",
    "AP50",
    "AP75",
    "APs",
    "APm",
    "APl",
    "AR1",
    "AR10",
    "AR100",
    "ARs",
    "ARm",
    "ARl",
)
COUNTED = 100
"""Number of best detections of an image and class that COCO's AP considers."""


@dataclass(frozen=True, slots=True)
class CocoResult:
    """COCO's numbers for a data set, each in 0..1, or NaN where no object counts.

    Attributes:
        metrics: the twelve numbers by the names in ``METRICS``.
        per_class: class name to AP over the IoU thresholds, all sizes, 100 detections.
        class_metrics: class name to its own twelve numbers.
        iou_thresholds: thresholds that AP and AR are averaged over.
        left_out: detections beyond the 100 best of their image and class.
        max_detections: another limit on them; None if not requested.
        at_max: the metrics that depend on the limit, with that limit: AP, AR and the
            like.
    """

    metrics: dict[str, float]
    per_class: dict[str, float]
    class_metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    iou_thresholds: tuple[float, ...] = IOU_THRESHOLDS
    left_out: int = 0
    max_detections: int | None = None
    at_max: dict[str, float] = field(default_factory=dict)


def coco_metrics(
    dataset: Dataset,
    detections: Sequence[ImageDetections],
    *,
    evaluator: Evaluator = "hotcoco",
    iou_thresholds: Sequence[float] = IOU_THRESHOLDS,
    max_detections: int | None = None,
) -> CocoResult:
    """Compute COCO's AP and AR.

    With an annotation file, the ground truth is that file, unclipped and with its
    zero-area boxes, as on the evaluation server; otherwise it is made from the records
    (see ``coco_objects``).

    Args:
        dataset: ground truth. Only its own images and classes are evaluated.
        detections: one entry per image of ``dataset``.
        evaluator: "hotcoco" or, as its oracle, "pycocotools": equal, but much slower.
        iou_thresholds: COCO's ten, or others; AP50 and AP75 are NaN without theirs.
        max_detections: an additional limit on the detections of an image and class; the
            twelve numbers always use COCO's 100.

    Raises:
        ValueError: detections do not match the data set; the annotation file cannot be
            read; the evaluator, a threshold or the limit is invalid.
    """
    if max_detections is not None and max_detections < 1:
        raise ValueError(
            f"expected max_detections of 1 or more, found {max_detections}"
        )
    flat = flatten(dataset, detections)
    names, category_ids = dataset.classes[1:], dataset.category_ids[1:]
    if not dataset.records:
        nan = float("nan")
        none = dict.fromkeys(METRICS, nan)
        return CocoResult(
            none,
            dict.fromkeys(names, nan),
            {name: dict(none) for name in names},
            tuple(iou_thresholds),
            max_detections=max_detections,
        )
    limits = sorted({1, 10, COUNTED, max_detections or COUNTED})
    curves = coco_curves(
        coco_image_ids(dataset).tolist(),
        category_ids,
        coco_objects(dataset),
        coco_detections(dataset, flat),
        evaluator=evaluator,
        iou_thresholds=iou_thresholds,
        limits=limits,
    )
    at = {limit: place for place, limit in enumerate(limits)}
    shown = [at[limit] for limit in (1, 10, COUNTED)]
    at_max: dict[str, float] = {}
    if max_detections is not None:
        place = at[max_detections]
        numbers = _twelve(_at_limits(curves, [place] * 3), iou_thresholds)
        at_max = {
            name: numbers[name] for name in METRICS if not name[2:].startswith("1")
        }
        at_max[f"AR{max_detections}"] = numbers["AR100"]
    curves = _at_limits(curves, shown)
    # The curves' categories are sorted by id.
    places = np.argsort(np.argsort(category_ids)).tolist()
    class_metrics = {
        name: _twelve(_of_class(curves, place), iou_thresholds)
        for name, place in zip(names, places, strict=True)
    }
    return CocoResult(
        _twelve(curves, iou_thresholds),
        {name: numbers["AP"] for name, numbers in class_metrics.items()},
        class_metrics,
        tuple(iou_thresholds),
        _left_out(flat),
        max_detections,
        at_max,
    )


def _left_out(flat: FlatDetections) -> int:
    """Count detections beyond the ``COUNTED`` best of their image and class."""
    pairs = np.stack([flat.images, flat.classes])
    _, counts = np.unique(pairs, axis=1, return_counts=True)
    return int((counts - COUNTED).clip(0).sum())


def _at_limits(curves: Curves, places: Sequence[int]) -> Curves:
    return Curves(curves.precision[..., places], curves.recall[..., places])


def _of_class(curves: Curves, place: int) -> Curves:
    own = slice(place, place + 1)
    return Curves(curves.precision[:, :, own], curves.recall[:, own])


def _twelve(curves: Curves, iou_thresholds: Sequence[float]) -> dict[str, float]:
    """Average curves into ``METRICS``."""
    precision, recall = curves
    # Compared as decimals, which linspace's floats miss by a little.
    rows = {round(t, 6): row for row, t in enumerate(iou_thresholds)}
    none = precision[:0]
    at = {t: precision[[rows[t]]] if t in rows else none for t in (0.5, 0.75)}
    small, medium, large = range(1, len(SIZES))
    values = (
        precision[..., 0, -1],
        at[0.5][..., 0, -1],
        at[0.75][..., 0, -1],
        precision[..., small, -1],
        precision[..., medium, -1],
        precision[..., large, -1],
        recall[..., 0, 0],
        recall[..., 0, 1],
        recall[..., 0, 2],
        recall[..., small, -1],
        recall[..., medium, -1],
        recall[..., large, -1],
    )
    return {name: _mean(value) for name, value in zip(METRICS, values, strict=True)}


def _mean(values: Float64Array) -> float:
    """Average without -1, which means "no object counts"; NaN if nothing is left."""
    known = values[values > -1]
    return float(known.mean()) if known.size else float("nan")
