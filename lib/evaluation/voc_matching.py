"""Match detections with objects by the rules of the PASCAL VOC devkit.

    D  detections of the whole data set
    G  ground-truth objects of the whole data set

Boxes are pixel edges, so the overlap is measured with plain ``x2 - x1``; that equals
the devkit's ``xmax - xmin + 1`` on its inclusive pixels.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..datasets.index.indexed_records import as_records
from ..datasets.records import BoolArray, Dataset, IntArray
from .image_detections import FlatDetections

Float64Array = npt.NDArray[np.float64]


class Objects(NamedTuple):
    """Ground truth of the whole data set, grouped by image and class.

    Attributes:
        images: ``(G,)`` index into ``dataset.records``.
        classes: ``(G,)``, 1..C-1.
        boxes: ``(G, 4)`` pixel edges.
        ignored: ``(G,)`` difficult or crowd.
    """

    images: IntArray
    classes: IntArray
    boxes: Float64Array
    ignored: BoolArray


def flatten_objects(dataset: Dataset) -> Objects:
    """Join the objects of all images, ordered by image, then class."""
    records = as_records(dataset.records)
    images, classes = records.images, records.classes.astype(np.int64)
    order = np.lexsort((classes, images))
    return Objects(
        images[order],
        classes[order],
        records.boxes.astype(np.float64)[order],
        (records.difficult | records.crowd)[order],
    )


def best_overlaps(
    flat: FlatDetections, objects: Objects, num_classes: int
) -> tuple[Float64Array, IntArray]:
    """Find for each detection the object of its image and class it overlaps most.

    Returns:
        IoU ``(D,)`` and row in ``objects`` ``(D,)``; 0 and 0 where nothing overlaps.
        Ties go to the first object.
    """
    return best_of_groups(
        flat.boxes.astype(np.float64),
        flat.images * num_classes + flat.classes,
        objects.boxes,
        objects.images * num_classes + objects.classes,
    )


def true_positives(
    overlaps: Float64Array,
    nearest: IntArray,
    object_ignored: BoolArray,
    iou_threshold: float,
) -> tuple[BoolArray, BoolArray]:
    """Find the true positives ``(D,)`` and the detections to ignore ``(D,)``.

    Args:
        overlaps: ``(D,)`` from ``best_overlaps``; within a class, best score first.
        nearest: ``(D,)`` from ``best_overlaps``, in the same order.
        object_ignored: ``(G,)`` difficult or crowd.
        iou_threshold: overlap that a match must exceed.
    """
    hit = overlaps > iou_threshold
    ignored = hit.copy()
    ignored[hit] = object_ignored[nearest[hit]]
    claims = np.flatnonzero(hit & ~ignored)
    _, first = np.unique(nearest[claims], return_index=True)
    true = np.zeros(len(hit), np.bool_)
    true[claims[first]] = True
    return true, ignored


def best_of_groups(
    boxes: Float64Array,
    keys: IntArray,
    gt_boxes: Float64Array,
    gt_keys: IntArray,
) -> tuple[Float64Array, IntArray]:
    """Find for each box the ground truth of the same key that it overlaps most.

    The rounds go over "the k-th object of each group" rather than over groups, so the
    number of rounds is the size of the largest group, and late rounds are tiny.

    Args:
        boxes: ``(D, 4)`` pixel edges.
        keys: ``(D,)`` group of each box.
        gt_boxes: ``(G, 4)`` pixel edges.
        gt_keys: ``(G,)`` groups, ascending.

    Returns:
        IoU ``(D,)`` and row in ``gt_boxes`` ``(D,)``; 0 and 0 where nothing overlaps.
        Ties go to the first object.
    """
    overlaps = np.zeros(len(boxes))
    nearest = np.zeros(len(boxes), np.int64)
    first = np.searchsorted(gt_keys, keys, side="left")
    end = np.searchsorted(gt_keys, keys, side="right")
    rows = np.flatnonzero(first < end)
    candidates = first[rows]
    while rows.size:
        iou = paired_iou(boxes[rows], gt_boxes[candidates])
        better = iou > overlaps[rows]
        overlaps[rows[better]] = iou[better]
        nearest[rows[better]] = candidates[better]
        more = candidates + 1 < end[rows]
        rows, candidates = rows[more], candidates[more] + 1
    return overlaps, nearest


def paired_iou(first: Float64Array, second: Float64Array) -> Float64Array:
    """Compute IoU ``(P,)`` of two lists of boxes ``(P, 4)`` by row; pixel edges."""
    low = np.maximum(first[:, :2], second[:, :2])
    high = np.minimum(first[:, 2:], second[:, 2:])
    shared: Float64Array = np.maximum(high - low, 0).prod(axis=1)
    areas = [np.maximum(b[:, 2:] - b[:, :2], 0).prod(axis=1) for b in (first, second)]
    union = areas[0] + areas[1] - shared
    # Two boxes without area have no union, and do not overlap.
    return shared / np.where(union > 0, union, 1)
