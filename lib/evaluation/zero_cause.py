"""Explain a mean average precision of 0 although there are detections."""

from collections.abc import Sequence

import numpy as np

from ..datasets.index.indexed_records import as_records
from ..datasets.records import Dataset
from .image_detections import FlatDetections, ImageDetections, flatten
from .voc_matching import Objects, flatten_objects, nearest_objects

_SHARE = 0.05
"""Share of the detections that must show an error for it to be the likely cause."""


def likely_cause(dataset: Dataset, detections: Sequence[ImageDetections]) -> str:
    """Return the most likely error of detections that match no object.

    Args:
        detections: one entry per image of ``dataset``, at least one of them not empty.

    Raises:
        ValueError: see ``flatten``.
    """
    flat, objects = flatten(dataset, detections), flatten_objects(dataset)
    return (
        _other_frame(dataset, flat)
        or _other_classes(dataset, flat, objects)
        or (
            "not one matches an object. Likely the checkpoint was trained on other "
            "classes, or hardly trained, or images and annotations do not belong "
            "together; look at the images drawn by the test"
        )
    )


def _other_frame(dataset: Dataset, flat: FlatDetections) -> str:
    sizes = as_records(dataset.records).sizes[flat.images]
    outside = np.any(flat.boxes[:, 2:] > sizes + 1, axis=1)
    if np.count_nonzero(outside) < _SHARE * len(outside):
        return ""
    row = int(np.argmax(outside))
    return (
        f"{np.count_nonzero(outside)} of {len(outside)} boxes leave their images, "
        f"first {flat.boxes[row].tolist()} in image "
        f"{dataset.records[flat.images[row]].image_id!r} of {sizes[row, 0]} x "
        f"{sizes[row, 1]} pixels. Likely they are in pixels of resized images, or "
        "corners were read as widths and heights"
    )


def _other_classes(dataset: Dataset, flat: FlatDetections, objects: Objects) -> str:
    """Search for objects under the boxes, of any class."""
    overlaps, nearest = nearest_objects(
        flat.boxes.astype(np.float64), flat.images, objects.boxes, objects.images
    )
    rows = np.flatnonzero(overlaps > 0.5)
    taken = objects.classes[nearest[rows]]
    pairs = flat.classes[rows] * len(dataset.classes) + taken
    pairs = pairs[flat.classes[rows] != taken]
    if len(pairs) < _SHARE * len(overlaps) or not len(pairs):
        return ""
    found, true = divmod(int(np.bincount(pairs).argmax()), len(dataset.classes))
    return (
        f"{len(pairs)} of {len(overlaps)} lie on objects of other classes, most often "
        f"{dataset.classes[found]!r} on {dataset.classes[true]!r}. Likely the "
        "checkpoint was trained on other classes, or their order differs"
    )
