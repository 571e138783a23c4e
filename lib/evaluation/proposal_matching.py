"""Match proposals with objects by COCO's rules, in NumPy.

COCO processes an image's proposals from the best score down. Each takes the object that
it overlaps most among those left, if the overlap reaches the threshold. The result is
the same if all proposals request their preferred object at once, each object keeps the
proposal with the best score, and the others request their next choice, until no request
is refused (Gale and Shapley 1962): a few rounds for all images together, instead of one
step per proposal. A proposal that matches an object that does not count matches no
other, so such objects are removed first.

    P  proposals, G objects: of an image, or of all
    Q  pairs of a proposal and an object
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..datasets.records import IntArray
from .coco_objects import CocoObjects, Float64Array, xywh
from .image_detections import FlatDetections

_FAR = 1e10
AREAS = ((0.0, _FAR), (0.0, 32.0**2), (32.0**2, 96.0**2), (96.0**2, _FAR))
"""Square pixels of all, small, medium and large objects, ends included."""


class _Pairs(NamedTuple):
    """Overlapping pairs by proposal, the preferred object of each first.

    Attributes:
        proposals: ``(Q,)`` ascending by image, then by falling score.
        objects: ``(Q,)``.
        overlaps: ``(Q,)`` IoU.
        ranks: ``(Q,)`` rank of the proposal among those of its image, from 0.
    """

    proposals: IntArray
    objects: IntArray
    overlaps: Float64Array
    ranks: IntArray


def proposal_recalls(
    image_ids: IntArray,
    objects: CocoObjects,
    flat: FlatDetections,
    *,
    limits: Sequence[int],
    iou_thresholds: Sequence[float],
) -> Float64Array:
    """Compute the share of the objects that proposals find.

    Args:
        image_ids: ``(I,)`` COCO's id of each image.
        flat: proposals, ordered by image.
        iou_thresholds: T.

    Returns:
        ``(T, 4, M)`` recall of all, small, medium and large objects; NaN where there
        are none.
    """
    recalls = np.full((len(iou_thresholds), len(AREAS), len(limits)), np.nan)
    pairs = _find_pairs(
        image_ids, objects, flat, least=min(iou_thresholds), most=limits[-1]
    )
    counted = [
        ~objects.crowd & (objects.areas >= low) & (objects.areas <= high)
        for low, high in AREAS
    ]
    for t, threshold in enumerate(iou_thresholds):
        # A threshold of 1 is reached by a little less, as in COCO's code.
        near = pairs.overlaps >= min(threshold, 1 - 1e-10)
        for a, own in enumerate(counted):
            count = np.count_nonzero(own)
            if count:
                ranks = _match(pairs, np.flatnonzero(near & own[pairs.objects]))
                found = np.searchsorted(np.sort(ranks), limits)
                recalls[t, a] = found / count
    return recalls


def _find_pairs(
    image_ids: IntArray,
    objects: CocoObjects,
    flat: FlatDetections,
    *,
    least: float,
    most: int,
) -> _Pairs:
    # Among equal overlaps COCO takes the later object, by category, then by order.
    rows = np.lexsort((objects.category_ids, objects.image_ids))
    rows = rows[~objects.crowd[rows]]
    firsts = np.searchsorted(objects.image_ids[rows], image_ids, side="left")
    ends = np.searchsorted(objects.image_ids[rows], image_ids, side="right")
    bounds = np.searchsorted(flat.images, np.arange(len(image_ids) + 1))
    none = np.zeros(0, np.int64)
    parts: list[_Pairs] = [_Pairs(none, none, np.zeros(0), none)]
    for i, (start, end) in enumerate(itertools.pairwise(bounds)):
        own = rows[firsts[i] : ends[i]]
        best = np.argsort(-flat.scores[start:end], kind="stable")[:most]
        overlaps = _iou(xywh(flat.boxes[start:end][best]), objects.boxes[own])
        ranks, columns = np.nonzero(overlaps >= min(least, 1 - 1e-10))
        found = overlaps[ranks, columns]
        wish = np.lexsort((-columns, -found, ranks))
        ranks, columns = ranks[wish], columns[wish]
        parts.append(_Pairs(ranks + start, own[columns], found[wish], ranks))
    return _Pairs(
        np.concatenate([part.proposals for part in parts]),
        np.concatenate([part.objects for part in parts]),
        np.concatenate([part.overlaps for part in parts]),
        np.concatenate([part.ranks for part in parts]),
    )


def _match(pairs: _Pairs, chosen: IntArray) -> IntArray:
    """Match using only the chosen rows.

    Returns:
        For each object with a proposal the rank of that proposal, in any order.
    """
    proposals, objects = pairs.proposals[chosen], pairs.objects[chosen]
    starts = np.flatnonzero(np.diff(proposals, prepend=-1))
    ends = np.append(starts[1:], len(proposals))[: len(starts)]
    wishes = starts.copy()  # for each proposal, the row of its current request
    nobody = len(starts)
    holders = np.full(objects.max(initial=-1) + 1, nobody)
    asking = np.arange(len(starts))
    while len(asking):
        np.minimum.at(holders, objects[wishes[asking]], asking)
        active = np.flatnonzero(wishes < ends)
        refused = active[holders[objects[wishes[active]]] != active]
        wishes[refused] += 1
        asking = refused[wishes[refused] < ends[refused]]
    ranks: IntArray = pairs.ranks[chosen[starts[holders[holders < nobody]]]]
    return ranks


def _iou(boxes: Float64Array, objects: Float64Array) -> Float64Array:
    """Compute IoU ``(P, G)`` of x, y, width, height with COCO's order of operations."""
    sizes = []
    for axis in (0, 1):
        low, far = boxes[:, None, axis], objects[None, :, axis]
        end = low + boxes[:, None, axis + 2]
        far_end = far + objects[None, :, axis + 2]
        sizes.append(np.minimum(end, far_end) - np.maximum(low, far))
    touch = (sizes[0] > 0) & (sizes[1] > 0)
    shared = sizes[0] * sizes[1]
    areas = [b[:, 2] * b[:, 3] for b in (boxes, objects)]
    union = areas[0][:, None] + areas[1] - shared
    overlaps: Float64Array = np.where(touch, shared, 0) / np.where(touch, union, 1)
    return overlaps
