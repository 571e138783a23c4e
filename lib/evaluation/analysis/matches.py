"""Detections judged by VOC's rules, with the objects that they overlap most.

D  detections of the whole data set
G  ground-truth objects of the whole data set
C  classes with background as class 0
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...datasets.records import BoolArray, Dataset, FloatArray, IntArray
from ..image_detections import FlatDetections, ImageDetections, flatten
from ..voc_matching import (
    Float64Array,
    Objects,
    flatten_objects,
    nearest_objects,
    true_positives,
)


@dataclass(frozen=True, slots=True)
class Matches:
    """Judged detections.

    Attributes:
        classes: C names, background first.
        foreground: IoU that a match must exceed.
        found: D detections.
        objects: G objects.
        true: ``(D,)`` true positives.
        ignored: ``(D,)`` matches of an ignored object, which count neither way.
        overlap: ``(D,)`` best IoU with an object of the same class.
        nearest: ``(D,)`` that object; -1 if the detection overlaps none.
        counted_overlap: ``(D,)`` best IoU with an object of the same class that counts.
        counted_nearest: ``(D,)`` that object, or -1.
        other_overlap: ``(D,)`` best IoU with an object of another class that counts.
        other_nearest: ``(D,)`` that object, or -1.
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
        """``(D,)`` false positives: neither true nor ignored."""
        return ~self.true & ~self.ignored

    @property
    def hit_by(self) -> IntArray:
        """``(G,)`` the true positive of each object; -1 if it has none."""
        hit = np.full(len(self.objects.classes), -1, np.int64)
        rows = np.flatnonzero(self.true)
        hit[self.nearest[rows]] = rows
        return hit

    def count_objects(self, kept: BoolArray | None = None) -> IntArray:
        """Count the objects of each class ``(C,)``, of those in the mask ``(G,)``."""
        rows = ~self.objects.ignored if kept is None else kept & ~self.objects.ignored
        return np.bincount(self.objects.classes[rows], minlength=len(self.classes))

    def counted(
        self, kept: BoolArray | None = None
    ) -> tuple[FloatArray, IntArray, BoolArray]:
        """Return scores, classes and ``true`` of the detections that count.

        Args:
            kept: ``(D,)`` detections to select from; if None, all.
        """
        rows = ~self.ignored if kept is None else kept & ~self.ignored
        return self.found.scores[rows], self.found.classes[rows], self.true[rows]

    def by_score(self, kept: BoolArray) -> IntArray:
        """Return the rows in a mask ``(D,)``, best score first, ties in their order."""
        rows = np.flatnonzero(kept)
        return rows[np.argsort(-self.found.scores[rows], kind="stable")]


def match_detections(
    dataset: Dataset,
    detections: Sequence[ImageDetections],
    *,
    foreground: float = 0.5,
) -> Matches:
    """Judge detections by the rules of ``voc_average_precision``.

    Args:
        foreground: IoU in [0, 1) that a match must exceed.

    Raises:
        ValueError: ``foreground`` is out of range, or detections do not match the data
            set.
    """
    if not 0 <= foreground < 1:
        raise ValueError(f"expected a foreground IoU in [0, 1), found {foreground}")
    found, objects = flatten(dataset, detections), flatten_objects(dataset)
    boxes, size = found.boxes.astype(np.float64), len(dataset.classes)
    keys = found.images * size + found.classes
    gt_keys = objects.images * size + objects.classes
    counted = np.flatnonzero(~objects.ignored)

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
    order = np.argsort(-found.scores, kind="stable")
    true, ignored = true_positives(overlap, nearest, objects.ignored, foreground, order)
    rows = np.append(counted, -1)  # so that -1 (no object) stays -1
    return Matches(
        classes=dataset.classes,
        images=len(dataset.records),
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
