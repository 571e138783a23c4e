"""Detections in pixels of the original images, checked against the data set.

Boxes are pixel edges: float32 ``x1, y1, x2, y2`` with pixel k spanning [k, k+1), so
that ``x2 - x1`` is the width.

    D  detections of an image, or of a whole data set
"""

import itertools
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..datasets.index.indexed_records import as_records
from ..datasets.records import BoolArray, Dataset, FloatArray, IntArray, RunLengths

# Rounding may invert a degenerate box, but never by a whole pixel.
_INVERTED_BY = 1.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ImageDetections:
    """Detections in one image.

    Attributes:
        image_id: the record's ``image_id``.
        boxes: ``(D, 4)`` float32 pixel edges of the original image.
        scores: ``(D,)`` float32, descending.
        classes: ``(D,)`` int64 class indices, 1..C-1.
        masks: D masks of the original image; None if the detector predicts none.
        keypoints: ``(D, K, 3)`` float32 x and y in continuous pixels of the original
            image, and score; None if the detector predicts none.
        features: ``(D, F)`` float32 vector of each box; None unless requested.
        class_scores: ``(D, C)`` float32 probabilities; None unless requested.
    """

    image_id: str
    boxes: FloatArray
    scores: FloatArray
    classes: IntArray
    masks: tuple[RunLengths, ...] | None = None
    keypoints: FloatArray | None = None
    features: FloatArray | None = None
    class_scores: FloatArray | None = None

    def pick(self, rows: BoolArray | IntArray) -> "ImageDetections":
        """Return the detections of a mask ``(D,)``, or of places, in their order."""
        kept = np.arange(len(self.scores))[rows]
        masks, others = self.masks, (self.keypoints, self.features, self.class_scores)
        return ImageDetections(
            self.image_id,
            self.boxes[kept],
            self.scores[kept],
            self.classes[kept],
            None if masks is None else tuple(masks[row] for row in kept.tolist()),
            *(None if values is None else values[kept] for values in others),
        )


class FlatDetections(NamedTuple):
    """The detections of a whole data set, one row each, in the order of its records.

    Attributes:
        images: ``(D,)`` int64 index into ``dataset.records``.
        boxes: ``(D, 4)`` float32 pixel edges.
        scores: ``(D,)`` float32.
        classes: ``(D,)`` int64, 1..C-1.
        masks: D masks of the original images; None if there are none.
        keypoints: ``(D, K, 3)`` float32; None if there are none.
    """

    images: IntArray
    boxes: FloatArray
    scores: FloatArray
    classes: IntArray
    masks: tuple[RunLengths, ...] | None = None
    keypoints: FloatArray | None = None


def flatten(dataset: Dataset, detections: Sequence[ImageDetections]) -> FlatDetections:
    """Join the detections of all images, checked against the data set.

    Args:
        detections: one entry per image of ``dataset``, in any order; an image without
            detections has an entry with zero rows.

    Raises:
        ValueError: images are unknown, missing or repeated; arrays differ in length;
            values are not finite; boxes are inverted; classes are unknown.
    """
    _check_images(dataset, detections)
    by_id = {entry.image_id: entry for entry in detections}
    entries = [by_id[image_id] for image_id in as_records(dataset.records).image_ids]
    for entry in entries:
        count = len(entry.scores)
        if entry.boxes.shape != (count, 4) or entry.classes.shape != (count,):
            raise ValueError(
                f"image {entry.image_id}: expected boxes (D, 4), scores (D,) and "
                f"classes (D,), found {entry.boxes.shape}, {entry.scores.shape} and "
                f"{entry.classes.shape}; each detection needs all three"
            )
    counts = [len(entry.scores) for entry in entries]
    none = ImageDetections(
        "", np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
    )
    entries = [none, *entries]  # np.concatenate needs at least one array
    flat = FlatDetections(
        np.repeat(np.arange(len(counts), dtype=np.int64), counts),
        np.concatenate([entry.boxes for entry in entries], dtype=np.float32),
        np.concatenate([entry.scores for entry in entries], dtype=np.float32),
        np.concatenate([entry.classes for entry in entries], dtype=np.int64),
        _all_masks(entries),
        _all_keypoints(entries),
    )
    _check_values(dataset, flat)
    _check_mask_sizes(dataset, flat)
    return flat


def _all_masks(entries: Sequence[ImageDetections]) -> tuple[RunLengths, ...] | None:
    """Join the masks of all images; None if no entry has masks."""
    if all(entry.masks is None for entry in entries):
        return None
    for entry in entries:
        if len(entry.masks or ()) != len(entry.scores):
            raise ValueError(
                f"image {entry.image_id}: expected {len(entry.scores)} masks, found "
                f"{len(entry.masks or ())}; each detection needs one"
            )
    return tuple(mask for entry in entries for mask in entry.masks or ())


def _all_keypoints(entries: Sequence[ImageDetections]) -> FloatArray | None:
    """Join the keypoints of all images; None if no entry has keypoints."""
    given = [entry.keypoints for entry in entries if entry.keypoints is not None]
    if not given:
        return None
    none = np.zeros((0, *given[0].shape[1:]), np.float32)
    for entry in entries:
        points = none if entry.keypoints is None else entry.keypoints
        expected = (len(entry.scores), *none.shape[1:2], 3)
        if points.shape != expected or not np.isfinite(points).all():
            raise ValueError(
                f"image {entry.image_id}: expected finite keypoints {expected}, found "
                f"{points.shape}, finite: {bool(np.isfinite(points).all())}; each "
                "detection needs K keypoints (x, y, score)"
            )
    return np.concatenate(given, dtype=np.float32)


def group_by_image(
    dataset: Dataset, flat: FlatDetections, *, source: Path
) -> list[ImageDetections]:
    """Split detections that were read from files, in any order, by image.

    Args:
        source: origin for the log, which warns if detections repeat, as after joining
            files, and if most images have none.

    Returns:
        One entry per image of ``dataset``, in its order, best score first.
    """
    order = np.lexsort((-flat.scores, flat.images))
    images, scores = flat.images[order], flat.scores[order]
    boxes, classes = flat.boxes[order], flat.classes[order]
    masks = None if flat.masks is None else [flat.masks[row] for row in order]
    keypoints = None if flat.keypoints is None else flat.keypoints[order]
    same = (images[1:] == images[:-1]) & (scores[1:] == scores[:-1])
    same &= (classes[1:] == classes[:-1]) & np.all(boxes[1:] == boxes[:-1], axis=1)
    count = len(dataset.records)
    if same.any():
        row = int(np.argmax(same))
        logger.warning(
            "%s: %d of %d detections repeat another, first %s in image %s; was a file "
            "joined to itself?",
            source,
            np.count_nonzero(same),
            len(same) + 1,
            boxes[row].tolist(),
            dataset.records[images[row]].image_id,
        )
    found = len(np.unique(images))
    if 2 * found < count:
        logger.warning(
            "%s: only %d of the %d images of %s have detections; were they all tested?",
            source,
            found,
            count,
            dataset.name,
        )
    bounds = np.searchsorted(images, np.arange(count + 1))
    return [
        ImageDetections(
            image_id,
            boxes[start:end],
            scores[start:end],
            classes[start:end],
            None if masks is None else tuple(masks[start:end]),
            None if keypoints is None else keypoints[start:end],
        )
        for image_id, (start, end) in zip(
            as_records(dataset.records).image_ids,
            itertools.pairwise(bounds),
            strict=True,
        )
    ]


def _check_images(dataset: Dataset, detections: Sequence[ImageDetections]) -> None:
    expected = Counter(as_records(dataset.records).image_ids)
    found = Counter(entry.image_id for entry in detections)
    checks = (
        (
            [i for i, times in expected.items() if times > 1],
            "are listed more than once in",
            "remove the repeated set or lines",
        ),
        (
            [i for i in found if i not in expected],
            "have detections but are not in",
            "evaluate the detections on the set that they were made on",
        ),
        (
            [i for i, times in found.items() if times > 1],
            "have more than one entry of detections for",
            "give each image one entry",
        ),
        (
            [i for i in expected if i not in found],
            "have no entry of detections for",
            "test the whole set (without detections, an entry has zero rows)",
        ),
    )
    for image_ids, what, remedy in checks:
        if image_ids:
            raise ValueError(
                f"{len(image_ids)} images {what} {dataset.name} ({len(expected)} "
                f"images), first {image_ids[0]!r}; {remedy}"
            )


def _check_mask_sizes(dataset: Dataset, flat: FlatDetections) -> None:
    if not flat.masks:
        return
    found = np.array([mask.size for mask in flat.masks])
    expected = as_records(dataset.records).sizes[flat.images, ::-1]
    bad = np.flatnonzero((found != expected).any(axis=1))
    if len(bad):
        row = int(bad[0])
        raise ValueError(
            f"{len(bad)} of {len(found)} masks differ in height and width from their "
            f"image, first in image {dataset.records[flat.images[row]].image_id!r}: "
            f"expected {expected[row].tolist()}, found {found[row].tolist()}; give "
            "masks of the whole original image"
        )


def _check_values(dataset: Dataset, flat: FlatDetections) -> None:
    boxes, count = flat.boxes, len(dataset.classes)
    x1, y1, x2, y2 = boxes.T
    inverted = (x2 - x1 < -_INVERTED_BY) | (y2 - y1 < -_INVERTED_BY)
    checks: tuple[tuple[BoolArray, str, str], ...] = (
        (~np.isfinite(flat.scores), "a score that is not finite", "look for NaN"),
        (
            ~(np.isfinite(x1) & np.isfinite(y1) & np.isfinite(x2) & np.isfinite(y2)),
            "a box that is not finite",
            "look for NaN",
        ),
        (inverted, "a box with x2 < x1 or y2 < y1", "give x1, y1, x2, y2"),
        (
            (flat.classes < 1) | (flat.classes >= count),
            f"a class outside 1..{count - 1}",
            "test with the network of this data set",
        ),
    )
    for bad, what, remedy in checks:
        if bad.any():
            row = int(np.argmax(bad))
            raise ValueError(
                f"{np.count_nonzero(bad)} of {len(bad)} detections have {what}, first "
                f"in image {dataset.records[flat.images[row]].image_id!r}: box "
                f"{boxes[row].tolist()}, score {float(flat.scores[row])}, class "
                f"{int(flat.classes[row])}; {remedy}"
            )
