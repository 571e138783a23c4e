"""The object that each detection overlaps most, without a table of all pairs."""

import numpy as np
import numpy.typing as npt

from ...datasets.records import IntArray
from ..voc_matching import paired_iou

Float64Array = npt.NDArray[np.float64]


def nearest_objects(
    boxes: Float64Array,
    keys: IntArray,
    gt_boxes: Float64Array,
    gt_keys: IntArray,
    *,
    labels: tuple[IntArray, IntArray] | None = None,
) -> tuple[Float64Array, IntArray]:
    """Find for each box the ground truth of the same key that it overlaps most.

    Every round compares all boxes with "the k-th object of their key", so the number
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
    place = np.searchsorted(sorted_keys, keys, side="left")
    end = np.searchsorted(sorted_keys, keys, side="right")
    rows = np.flatnonzero(place < end)
    while rows.size:
        objects = by_key[place[rows]]
        iou = paired_iou(boxes[rows], gt_boxes[objects])
        better = iou > overlaps[rows]
        if labels is not None:
            better &= labels[0][rows] != labels[1][objects]
        overlaps[rows[better]] = iou[better]
        nearest[rows[better]] = objects[better]
        place[rows] += 1
        rows = rows[place[rows] < end[rows]]
    return overlaps, nearest
