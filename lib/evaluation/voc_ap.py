"""Average precision of the PASCAL VOC challenge, with both of its interpolations.

D  detections of the whole data set
T  IoU thresholds
C  classes with background as class 0
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from ..datasets.records import BoolArray, Dataset, FloatArray
from .image_detections import ImageDetections, flatten
from .voc_matching import Float64Array, flatten_objects, nearest_objects, true_positives

Metric = Literal["07", "all"]


@dataclass(frozen=True, slots=True)
class ClassResult:
    """Precision against recall of one class.

    Attributes:
        objects: number of ground-truth objects that count: neither difficult nor crowd.
        detections: number of detections of this class, D_c.
        ap: average precision in 0..1; NaN if ``objects`` is 0.
        recall: ``(D_c,)`` after each detection, best score first; NaN if ``objects`` is
            0.
        precision: ``(D_c,)`` after each detection; 0 while nothing has been counted.
        scores: ``(D_c,)`` scores of the detections, falling.
    """

    objects: int
    detections: int
    ap: float
    recall: Float64Array
    precision: Float64Array
    scores: FloatArray


@dataclass(frozen=True, slots=True)
class VocResult:
    """VOC average precision of a data set.

    Attributes:
        metric: "07" for the 11-point interpolation, "all" for the area under the curve.
        iou_threshold: overlap that a match must exceed.
        per_class: class name to its result, in the order of the data set's classes.
    """

    metric: Metric
    iou_threshold: float
    per_class: dict[str, ClassResult]

    @property
    def mean_ap(self) -> float:
        """Average over the classes that have objects; NaN if none has."""
        values = [result.ap for result in self.per_class.values() if result.objects]
        return float(np.mean(values)) if values else float("nan")


def voc_average_precision(
    dataset: Dataset,
    detections: Sequence[ImageDetections],
    *,
    iou_threshold: float = 0.5,
    metric: Metric,
) -> VocResult:
    """Compute the average precision of each class by the rules of the VOC devkit.

    1. Each detection looks at the one object of its image and class that it overlaps
       most; it hits that object if the overlap is more than ``iou_threshold``.
    2. Hits on ``difficult`` objects (and on COCO's crowds) count neither way.
    3. The best-scored hit on an object is a true positive, further ones are false
       positives, as are detections without a hit. Equal scores keep their order.
    4. Precision against recall, over all images, becomes the average precision.

    Args:
        iou_threshold: overlap in 0..1.
        metric: "07" averages the best precision at recalls 0, 0.1, ..., 1 (the rule of
            VOC 2007); "all" takes the area under the monotone curve (VOC 2010 on).

    Raises:
        ValueError: the metric or a threshold is invalid, or detections do not match.
    """
    (result,) = voc_average_precisions(
        dataset, detections, iou_thresholds=(iou_threshold,), metrics=(metric,)
    )
    return result[metric]


def voc_average_precisions(
    dataset: Dataset,
    detections: Sequence[ImageDetections],
    *,
    iou_thresholds: Sequence[float],
    metrics: Sequence[Metric] = ("07", "all"),
) -> tuple[dict[Metric, VocResult], ...]:
    """Compute ``voc_average_precision`` at several overlaps and by several metrics.

    Returns:
        For each of the T thresholds, the result by metric.

    Raises:
        ValueError: see ``voc_average_precision``.
    """
    for metric in metrics:
        if metric not in get_args(Metric):
            raise ValueError(f'expected metric "07" or "all", found {metric!r}')
    for threshold in iou_thresholds:
        if not 0 <= threshold < 1:
            raise ValueError(f"expected an IoU threshold in [0, 1), found {threshold}")
    flat = flatten(dataset, detections)
    objects = flatten_objects(dataset)
    order = np.lexsort((-flat.scores, flat.classes))  # stable: ties keep their order
    size = len(dataset.classes)
    overlaps, nearest = nearest_objects(
        flat.boxes.astype(np.float64),
        flat.images * size + flat.classes,
        objects.boxes,
        objects.images * size + objects.classes,
    )
    scores = flat.scores[order]
    ends = np.searchsorted(flat.classes[order], np.arange(1, size + 1)).tolist()
    counts = np.bincount(objects.classes[~objects.ignored], minlength=size)
    results = []
    for threshold in iou_thresholds:
        true, ignored = (
            judged[order]
            for judged in true_positives(
                overlaps, nearest, objects.ignored, threshold, order
            )
        )
        per_class: dict[Metric, dict[str, ClassResult]] = {m: {} for m in metrics}
        for c, name in enumerate(dataset.classes[1:], start=1):
            own = slice(ends[c - 1], ends[c])
            objects_of_class = int(counts[c])
            curve = _curve(true[own], ignored[own], objects_of_class)
            for metric in metrics:
                per_class[metric][name] = ClassResult(
                    objects_of_class,
                    own.stop - own.start,
                    _INTERPOLATIONS[metric](*curve) if counts[c] else float("nan"),
                    *curve,
                    scores[own],
                )
        results.append({m: VocResult(m, threshold, per_class[m]) for m in metrics})
    return tuple(results)


def _curve(
    true: BoolArray, ignored: BoolArray, objects: int
) -> tuple[Float64Array, Float64Array]:
    """Compute recall and precision after each judged detection, best score first."""
    hits = np.cumsum(true)
    precision = hits / np.maximum(np.cumsum(~ignored), 1)
    return hits / objects if objects else np.full(len(true), np.nan), precision


def _monotone(precision: Float64Array) -> Float64Array:
    """Return the best precision ``(D_c,)`` at this recall or a higher one."""
    best: Float64Array = np.maximum.accumulate(precision[::-1])[::-1]
    return best


def _eleven_points(recall: Float64Array, precision: Float64Array) -> float:
    """Average the best precision at recalls 0, 0.1, ..., 1; 0 where not reached."""
    # k / 10 is the float nearest to the exact value, as is a recall of exactly k / 10;
    # np.arange(0, 1.1, 0.1) is above it at 0.3, 0.6 and 0.7 and would miss the point.
    rows = np.searchsorted(recall, np.arange(11) / 10, side="left")
    best = np.append(_monotone(precision), 0.0)
    return float(best[rows].sum() / 11)


def _area_under_curve(recall: Float64Array, precision: Float64Array) -> float:
    steps = np.diff(recall, prepend=0.0)
    return float((steps * _monotone(precision)).sum())


_INTERPOLATIONS = {"07": _eleven_points, "all": _area_under_curve}
