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

Float64Array = npt.NDArray[np.float64]


class Objects(NamedTuple):
    """Ground truth of the whole data set, one row per object, ordered by image.

    Attributes:
        images: ``(G,)`` index into ``dataset.records``.
        classes: ``(G,)`` 1..C-1.
        boxes: ``(G, 4)`` pixel edges.
        areas: ``(G,)`` square pixels, as annotated.
        ignored: ``(G,)`` difficult or crowd: counts neither way.
    """

    images: IntArray
    classes: IntArray
    boxes: Float64Array
    areas: Float64Array
    ignored: BoolArray


def flatten_objects(dataset: Dataset) -> Objects:
    """Join the objects of all images."""
    records = as_records(dataset.records)
    return Objects(
        records.images,
        records.classes.astype(np.int64),
        records.boxes.astype(np.float64),
        records.areas.astype(np.float64),
        records.difficult | records.crowd,
    )


def nearest_objects(
    boxes: Float64Array,
    keys: IntArray,
    gt_boxes: Float64Array,
    gt_keys: IntArray,
    *,
    labels: tuple[IntArray, IntArray] | None = None,
) -> tuple[Float64Array, IntArray]:
    """Find for each box the ground truth of the same key that it overlaps most.

    Each round compares all boxes with "the k-th object of their key", so the number
    of rounds is the size of the largest group, and late rounds are tiny.

    Args:
        boxes: ``(D, 4)`` pixel edges.
        keys: ``(D,)`` group of each box, such as its image.
        gt_boxes: ``(G, 4)`` pixel edges.
        gt_keys: ``(G,)`` groups, in any order.
        labels: labels of boxes ``(D,)`` and of objects ``(G,)``; pairs with the same
            label are skipped.

    Returns:
        IoU ``(D,)`` and row in ``gt_boxes`` ``(D,)``; 0 and -1 where nothing overlaps.
        Ties go to the first object.
    """
    by_key = np.argsort(gt_keys, kind="stable")
    sorted_keys = gt_keys[by_key]
    overlaps = np.zeros(len(boxes))
    nearest = np.full(len(boxes), -1, np.int64)
    first = np.searchsorted(sorted_keys, keys, side="left")
    end = np.searchsorted(sorted_keys, keys, side="right")
    rows = np.flatnonzero(first < end)
    places = first[rows]
    while rows.size:
        objects = by_key[places]
        iou = paired_iou(boxes[rows], gt_boxes[objects])
        better = iou > overlaps[rows]
        if labels is not None:
            better &= labels[0][rows] != labels[1][objects]
        overlaps[rows[better]] = iou[better]
        nearest[rows[better]] = objects[better]
        more = places + 1 < end[rows]
        rows, places = rows[more], places[more] + 1
    return overlaps, nearest


def first_claims(nearest: IntArray, rows: IntArray) -> IntArray:
    """Return the first of the rows that claim each object, best score first.

    Args:
        nearest: ``(D,)`` object that each detection claims.
        rows: rows of the claiming detections, best score first within a class.
    """
    _, first = np.unique(nearest[rows], return_index=True)
    claims: IntArray = rows[first]
    return claims


def true_positives(
    overlaps: Float64Array,
    nearest: IntArray,
    object_ignored: BoolArray,
    iou_threshold: float,
    order: IntArray,
) -> tuple[BoolArray, BoolArray]:
    """Find the true positives ``(D,)`` and the detections to ignore ``(D,)``.

    Args:
        overlaps: ``(D,)`` IoU with the object of the same image and class that the
            detection overlaps most.
        nearest: ``(D,)`` that object.
        object_ignored: ``(G,)`` difficult or crowd.
        iou_threshold: overlap in [0, 1) that a match must exceed.
        order: ``(D,)`` rows, best score first within a class.
    """
    hit = overlaps > iou_threshold
    ignored = hit.copy()
    ignored[hit] = object_ignored[nearest[hit]]
    true = np.zeros(len(hit), np.bool_)
    true[first_claims(nearest, order[(hit & ~ignored)[order]])] = True
    return true, ignored


def paired_iou(first: Float64Array, second: Float64Array) -> Float64Array:
    """Compute IoU ``(P,)`` of two lists of boxes ``(P, 4)`` by row; pixel edges."""
    low = np.maximum(first[:, :2], second[:, :2])
    high = np.minimum(first[:, 2:], second[:, 2:])
    shared: Float64Array = np.maximum(high - low, 0).prod(axis=1)
    areas = [np.maximum(b[:, 2:] - b[:, :2], 0).prod(axis=1) for b in (first, second)]
    union = areas[0] + areas[1] - shared
    # Two boxes without area have no union, and do not overlap.
    return shared / np.where(union > 0, union, 1)
