"""Every detection judged by VOC's rules, with the objects that it lies near.

D  detections of the whole data set
G  ground-truth objects of the whole data set
C  classes with background as class 0
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...datasets.index.indexed_records import as_records
from ...datasets.records import BoolArray, Dataset, IntArray
from ..results import FlatDetections, ImageDetections, flatten
from .overlaps import Float64Array, nearest_objects


class Objects(NamedTuple):
    """Ground truth of the whole data set, one row per object.

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


@dataclass(frozen=True, slots=True)
class Matches:
    """Judged detections.

    Attributes:
        classes: C names, background first.
        images: number of images.
        foreground: IoU that a hit must exceed.
        found: D detections.
        objects: G objects.
        true: ``(D,)`` the best-scored hit on an object that counts.
        ignored: ``(D,)`` hits on an ignored object, which count neither way.
        overlap: ``(D,)`` best IoU with an object of the own class.
        nearest: ``(D,)`` that object, -1 for none.
        counted_overlap: ``(D,)`` the same among the objects that count.
        counted_nearest: ``(D,)`` likewise.
        other_overlap: ``(D,)`` the same among those of all other classes that count.
        other_nearest: ``(D,)`` likewise.
    """

    classes: tuple[str, ...]
    images: int
    foreground: float
    found: FlatDetections
    objects: Objects
    true: BoolArray
    ignored: BoolArray
    overlap: Float64Array
    nearest: IntArray
    counted_overlap: Float64Array
    counted_nearest: IntArray
    other_overlap: Float64Array
    other_nearest: IntArray

    @property
    def false(self) -> BoolArray:
        """``(D,)`` neither true nor ignored."""
        return ~self.true & ~self.ignored

    @property
    def hit_by(self) -> IntArray:
        """``(G,)`` the true detection of each object, -1 for none."""
        hit = np.full(len(self.objects.classes), -1, np.int64)
        rows = np.flatnonzero(self.true)
        hit[self.nearest[rows]] = rows
        return hit

    def count_objects(self, kept: BoolArray | None = None) -> IntArray:
        """``(C,)`` objects that count, of those in the mask ``(G,)`` if given."""
        rows = ~self.objects.ignored if kept is None else kept & ~self.objects.ignored
        return np.bincount(self.objects.classes[rows], minlength=len(self.classes))


def match_detections(
    dataset: Dataset,
    detections: Sequence[ImageDetections],
    *,
    foreground: float = 0.5,
) -> Matches:
    """Judge detections by the rules of ``voc_average_precision``.

    A detection looks at the object of its class that it overlaps most; by more than
    ``foreground`` is a hit; the best-scored hit is true, equal scores in their order.

    Args:
        dataset: ground truth.
        detections: one entry per image of ``dataset``.
        foreground: IoU in [0, 1).

    Raises:
        ValueError: a threshold out of range; detections that do not fit the set.
    """
    if not 0 <= foreground < 1:
        raise ValueError(f"expected a foreground IoU in [0, 1), found {foreground}")
    records = as_records(dataset.records)
    objects = Objects(
        records.images,
        records.classes.astype(np.int64),
        records.boxes.astype(np.float64),
        records.areas.astype(np.float64),
        records.difficult | records.crowd,
    )
    found = flatten(dataset, detections)
    boxes = found.boxes.astype(np.float64)
    counted = np.flatnonzero(~objects.ignored)
    size = len(dataset.classes)
    keys = found.images * size + found.classes
    gt_keys = objects.images * size + objects.classes

    overlap, nearest = nearest_objects(boxes, keys, objects.boxes, gt_keys)
    counted_overlap, near = nearest_objects(
        boxes, keys, objects.boxes[counted], gt_keys[counted]
    )
    other_overlap, other = nearest_objects(
        boxes,
        found.images,
        objects.boxes[counted],
        objects.images[counted],
        labels=(found.classes, objects.classes[counted]),
    )
    rows = np.append(counted, -1)  # so that "none", -1, stays -1
    hit = overlap > foreground
    ignored = hit & objects.ignored[nearest] if len(objects.ignored) else hit
    true = np.zeros(len(hit), np.bool_)
    true[first_claims(found.scores, nearest, hit & ~ignored)] = True
    return Matches(
        classes=dataset.classes,
        images=len(records),
        foreground=foreground,
        found=found,
        objects=objects,
        true=true,
        ignored=ignored,
        overlap=overlap,
        nearest=nearest,
        counted_overlap=counted_overlap,
        counted_nearest=rows[near],
        other_overlap=other_overlap,
        other_nearest=rows[other],
    )


def first_claims(
    scores: np.typing.NDArray[np.float32], nearest: IntArray, claiming: BoolArray
) -> IntArray:
    """Give the best-scored of the detections that claim the same object.

    Args:
        scores: ``(D,)``.
        nearest: ``(D,)`` the object that each would claim.
        claiming: ``(D,)`` those that do.

    Returns:
        Rows of the winners, one per claimed object.
    """
    order = np.argsort(-scores, kind="stable")
    claims = order[claiming[order]]
    _, first = np.unique(nearest[claims], return_index=True)
    return claims[first]
