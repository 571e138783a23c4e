"""Average precision of the PASCAL VOC challenge, with both of its interpolations.

    D  detections of the whole data set
    G  ground-truth objects of the whole data set
    C  classes with background as class 0

Boxes are pixel edges, so the overlap is measured with plain ``x2 - x1``; that equals
the devkit's ``xmax - xmin + 1`` on its inclusive pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ..datasets.index.access import as_records
from ..datasets.records import BoolArray, Dataset, IntArray
from .results import FlatDetections, ImageDetections, flatten

Metric = Literal["07", "all"]
Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ClassResult:
    """Precision against recall of one class.

    Attributes:
        objects: ground-truth objects that count: neither difficult nor crowd.
        detections: detections of this class, D_c.
        ap: average precision in 0..1; NaN where ``objects`` is 0.
        recall: ``(D_c,)`` after each detection, best score first; NaN likewise.
        precision: ``(D_c,)`` likewise; 0 while nothing has been counted.
    """

    objects: int
    detections: int
    ap: float
    recall: Float64Array
    precision: Float64Array


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
        """Mean over the classes that have objects; NaN if none has."""
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
        dataset: ground truth.
        detections: one entry per image of ``dataset``.
        iou_threshold: overlap in 0..1.
        metric: "07" averages the best precision at recalls 0, 0.1, ..., 1 (the rule of
            VOC 2007); "all" takes the area under the monotone curve (VOC 2010 on).

    Raises:
        ValueError: unknown metric or threshold; detections that do not fit the set.
    """
    if metric not in ("07", "all"):
        raise ValueError(f'expected metric "07" or "all", found {metric!r}')
    if not 0 <= iou_threshold < 1:
        raise ValueError(f"expected an IoU threshold in [0, 1), found {iou_threshold}")
    objects = _flatten_objects(dataset)
    flat = flatten(dataset, detections)
    # 1. to 3., then best score first within each class
    true, ignored = _judge(flat, objects, len(dataset.classes), iou_threshold)
    order = np.lexsort((-flat.scores, flat.classes))
    bounds = np.searchsorted(
        flat.classes[order], np.arange(1, len(dataset.classes) + 1)
    )
    counts = np.bincount(
        objects.classes[~objects.ignored], minlength=len(dataset.classes)
    )
    per_class = {}
    for c, name in enumerate(dataset.classes[1:], start=1):
        rows = order[bounds[c - 1] : bounds[c]]
        per_class[name] = _class_result(
            true[rows], ignored[rows], int(counts[c]), metric
        )
    return VocResult(metric, iou_threshold, per_class)


class _Objects(NamedTuple):
    """Ground truth of the whole data set, one row per object."""

    images: IntArray  # (G,)
    classes: IntArray  # (G,)
    boxes: Float64Array  # (G, 4)
    ignored: BoolArray  # (G,)


def _flatten_objects(dataset: Dataset) -> _Objects:
    records = as_records(dataset.records)
    return _Objects(
        records.images,
        records.classes.astype(np.int64),
        records.boxes.astype(np.float64),
        records.difficult | records.crowd,
    )


def _judge(
    flat: FlatDetections, objects: _Objects, num_classes: int, iou_threshold: float
) -> tuple[BoolArray, BoolArray]:
    """Tell the true positives ``(D,)`` and the detections to ignore ``(D,)``."""
    # Objects of one image and class lie together once sorted by this key.
    object_keys = objects.images * num_classes + objects.classes
    by_key = np.argsort(object_keys, kind="stable")
    overlaps, nearest = _best_overlaps(
        flat.boxes.astype(np.float64),
        flat.images * num_classes + flat.classes,
        objects.boxes[by_key],
        object_keys[by_key],
    )
    hit = overlaps > iou_threshold
    ignored = hit.copy()
    ignored[hit] = objects.ignored[by_key][nearest[hit]]
    order = np.argsort(-flat.scores, kind="stable")
    claims = order[(hit & ~ignored)[order]]
    _, first = np.unique(nearest[claims], return_index=True)
    true = np.zeros(len(hit), np.bool_)
    true[claims[first]] = True
    return true, ignored


def _best_overlaps(
    boxes: Float64Array,
    keys: IntArray,
    gt_boxes: Float64Array,
    gt_keys: IntArray,
) -> tuple[Float64Array, IntArray]:
    """Find for each box the ground truth of the same key that it overlaps most.

    Goes over "the k-th object of each group" rather than over groups, so that the
    number of rounds is the size of the largest group, and late rounds are tiny.

    Args:
        boxes: ``(D, 4)`` pixel edges.
        keys: ``(D,)`` group of each box.
        gt_boxes: ``(G, 4)`` pixel edges.
        gt_keys: ``(G,)`` groups, ascending.

    Returns:
        IoU ``(D,)`` and row in ``gt_boxes`` ``(D,)``; 0 and 0 where nothing overlaps.
        Of equal overlaps the first object wins.
    """
    overlaps = np.zeros(len(boxes))
    nearest = np.zeros(len(boxes), np.int64)
    first = np.searchsorted(gt_keys, keys, side="left")
    end = np.searchsorted(gt_keys, keys, side="right")
    rows = np.flatnonzero(first < end)
    candidates = first[rows]
    while rows.size:
        iou = _paired_iou(boxes[rows], gt_boxes[candidates])
        better = iou > overlaps[rows]
        overlaps[rows[better]] = iou[better]
        nearest[rows[better]] = candidates[better]
        more = candidates + 1 < end[rows]
        rows, candidates = rows[more], candidates[more] + 1
    return overlaps, nearest


def _paired_iou(first: Float64Array, second: Float64Array) -> Float64Array:
    """IoU ``(P,)`` of two lists of boxes ``(P, 4)``, row by row; pixel edges."""
    low = np.maximum(first[:, :2], second[:, :2])
    high = np.minimum(first[:, 2:], second[:, 2:])
    shared: Float64Array = np.maximum(high - low, 0).prod(axis=1)
    areas = [np.maximum(b[:, 2:] - b[:, :2], 0).prod(axis=1) for b in (first, second)]
    union = areas[0] + areas[1] - shared
    # Two boxes without area have no union; they do not overlap.
    return shared / np.where(union > 0, union, 1)


def _class_result(
    true: BoolArray, ignored: BoolArray, objects: int, metric: Metric
) -> ClassResult:
    """Turn judged detections ``(D_c,)``, best score first, into precision and AP."""
    hits = np.cumsum(true)
    counted = np.cumsum(~ignored)
    precision = hits / np.maximum(counted, 1)
    if not objects:
        nan = np.full(len(true), np.nan)
        return ClassResult(objects, len(true), float("nan"), nan, precision)
    recall = hits / objects
    interpolate = _eleven_points if metric == "07" else _area_under_curve
    ap = interpolate(recall, precision)
    return ClassResult(objects, len(true), ap, recall, precision)


def _monotone(precision: Float64Array) -> Float64Array:
    """Best precision ``(D_c,)`` at this recall or a higher one."""
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
