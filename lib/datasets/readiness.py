"""Checks before the first update that a data set can be trained or tested on."""

import itertools
import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from ..utils.monitoring.slow_steps import slow_step
from .index.indexed_records import as_records
from .loading.channels import is_deep, read_channels
from .loading.images import ImageError
from .loading.orientation import is_annotated_turned
from .records import Dataset, Record, few

logger = logging.getLogger(__name__)

_SAMPLE = 200
"""Number of images of a training set that are checked before training."""

_READERS = 8
"""Number of files opened at once, which network file systems need."""

_DEEP_IMAGES = 3
_DARK = 1 << 14
"""Images whose values stay below this keep 63 of 255 levels at most."""

_CROWD = "crowd"
_DIFFICULT = "object marked difficult"
_TINY = "box of a pixel or less"
_CLIPPED = "clipped box"

_LOST = {
    _CROWD: "a crowd is never trained on: is iscrowd 1 meant?",
    _DIFFICULT: "is the flag meant? data.use_difficult true trains on them",
    _TINY: "are the corners shares of the image (0 to 1) in place of pixels?",
    "inverted box": "are the corners in another order, or does the file hold width and "
    "height in place of the far corner?",
    "zero-area box": "are width and height missing?",
    "box outside the image": "are the boxes in pixels of another size of the images?",
    "box with a NaN or infinite coordinate": "are the boxes missing?",
}
"""Kinds of objects that nothing is learned from, and the likely cause of many."""

_CLIPPED_CAUSE = (
    "are far corners where width and height are expected, or are the boxes in pixels "
    "of another size of the images?"
)
_ASIDE = {
    "annotation of an image that is not listed": "do the image ids of annotations and "
    "images belong together?",
    "object of a class not in data.classes": "are these the wanted names?",
    "image without a label file, taken to have no objects": "are the labels in place?",
}
"""Faults that may be intended, and may explain why there are no objects at all."""


class _Account(NamedTuple):
    """Fate of the objects of a data set."""

    total: int  # number of annotated objects
    left: int  # number of those that can be learned from
    text: str  # losses of the others with their causes, the most frequent first
    doubtful: bool  # whether most objects are lost or clipped


def expect_trainable(
    dataset: Dataset, *, use_difficult: bool, max_unreadable: float
) -> list[str]:
    """Refuse a training set from which nothing can be learned.

    Args:
        max_unreadable: share of the images that training replaces before it stops.

    Returns:
        Warnings about faults with which training can begin.

    Raises:
        ValueError: there are no images, or no object to learn from, or too many of the
            images looked at cannot be used.
    """
    _expect_images(dataset)
    objects = _account(dataset, use_difficult=use_difficult)
    if not objects.left:
        raise ValueError(
            f"{dataset.name}: expected objects to learn from, found none in "
            f"{len(dataset.records)} images: {objects.text}"
        )
    concerns = []
    if objects.doubtful:
        concerns.append(
            f"{dataset.name}: {objects.left} of {objects.total} objects are left to "
            f"learn from: {objects.text}"
        )
    looked_at = _sample(dataset)
    faults = _image_faults(dataset, looked_at)
    found = f"{dataset.name}: {len(faults)} of {len(looked_at)} images looked at cannot"
    if len(faults) > max_unreadable * len(looked_at):
        raise ValueError(
            f"{found} be used, more than data.max_unreadable = {max_unreadable:g} "
            f"allows, first: {faults[0]}"
        )
    if faults:
        concerns.append(
            f"{found} be used and are replaced by others, first: {faults[0]}"
        )
    return concerns


def expect_testable(dataset: Dataset) -> list[str]:
    """Refuse a test or validation set that a test would fail on.

    A single unusable image is enough: the AP of the others is not that of the set.

    Returns:
        Warnings about faults with which a test can begin.

    Raises:
        ValueError: there are no images, or some cannot be used.
    """
    _expect_images(dataset)
    faults = _image_faults(dataset, range(len(dataset.records)))
    if faults:
        raise ValueError(
            f"{dataset.name}: {len(faults)} of {len(dataset.records)} images cannot be "
            f"tested on, first: {faults[0]}"
        )
    objects = _account(dataset, use_difficult=False)
    if not objects.total and dataset.layout == "coco" and not dataset.annotation_file:
        return []  # a published test set, whose objects are not published
    if objects.left and not objects.doubtful:
        return []
    return [
        f"{dataset.name}: {objects.left} of {objects.total} objects are left to test "
        f"on: {objects.text}"
    ]


def untrained_classes(train: Dataset, tested: Dataset) -> list[str]:
    """Report classes of a test set that the training set has no example of."""
    shown, asked = (
        {d.classes[c] for c in np.unique(as_records(d.records).classes)}
        for d in (train, tested)
    )
    missing = sorted(asked - shown)
    if not missing:
        return []
    return [
        f"{tested.name}: {train.name} has no example of {few(missing)}, so a detector "
        "will not find them; add examples, or choose the classes by data.classes"
    ]


def dark_images(dataset: Dataset) -> list[str]:
    """Report images of 16 bits that use few of them, and are nearly black as 8 bits."""
    paths = (dataset.records[row].path for row in _sample(dataset))
    deep = (path for path in paths if path.suffix != ".npy" and is_deep(path))
    looked_at = list(itertools.islice(deep, _DEEP_IMAGES))
    try:
        largest = max((read_channels(path).max() for path in looked_at), default=0)
    except ImageError:  # other checks report the image
        return []
    if not 255 < largest < _DARK:
        return []
    return [
        f"{dataset.name}: pixels of 16 bits reach {largest:.0f} of 65535, first in "
        f"{looked_at[0]}, and are nearly black as 8-bit RGB, which keeps the upper 8 "
        "bits; set net.in_channels, net.pixel_mean and net.pixel_std as frcnn check "
        "DATASET --pixel-statistics prints them (docs/channels.md)"
    ]


def is_tiny(box: Sequence[float]) -> bool:
    """Return whether a box, clipped at the left and top, spans at most a pixel."""
    x1, y1, x2, y2 = box
    return x2 - max(x1, 0) <= 1 and y2 - max(y1, 0) <= 1


def _expect_images(dataset: Dataset) -> None:
    if not dataset.records:
        raise ValueError(f"{dataset.name}: expected images, found none; fill its list")


def _sample(dataset: Dataset) -> list[int]:
    """Return the rows of images that are spread over a data set."""
    rows = np.linspace(0, len(dataset.records) - 1, _SAMPLE).astype(int)
    return sorted({*rows.tolist()})


def _account(dataset: Dataset, *, use_difficult: bool) -> _Account:
    """Count the objects that nothing is learned from, each under one kind."""
    records = as_records(dataset.records)
    lost = {kind: n for kind, n in dataset.drops.items() if kind in _LOST}
    total = len(records.classes) + sum(lost.values())
    left = np.ones(len(records.classes), np.bool_)
    sides = records.boxes[:, 2:] - records.boxes[:, :2]
    for kind, rows in (
        (_CROWD, records.crowd),
        (_DIFFICULT, records.difficult & (not use_difficult)),
        (_TINY, (sides <= 1).all(axis=1)),
    ):
        lost[kind] = int(np.count_nonzero(rows & left))
        left &= ~rows
    count = int(np.count_nonzero(left))
    causes = {**_LOST, _CLIPPED: _CLIPPED_CAUSE}
    counts = {**lost, _CLIPPED: dataset.drops.get(_CLIPPED, 0)}
    if not count:
        causes |= _ASIDE
        counts |= {kind: dataset.drops.get(kind, 0) for kind in _ASIDE}
    order = sorted((kind for kind in counts if counts[kind]), key=lambda k: -counts[k])
    text = "; ".join(f"{counts[kind]} x {kind} ({causes[kind]})" for kind in order)
    return _Account(
        total,
        count,
        text or "none is annotated",
        doubtful=2 * count < total or 2 * counts[_CLIPPED] > total,
    )


def _image_faults(dataset: Dataset, rows: Iterable[int]) -> list[str]:
    """Describe why images cannot be used, and count those that EXIF turns."""
    records = as_records(dataset.records)
    looking = slow_step(f"looking at images of {dataset.name}")
    with looking, ThreadPoolExecutor(_READERS) as pool:
        found = list(pool.map(_inspect, (records[row] for row in rows)))
    turned = sum(is_turned for _, is_turned in found)
    if turned:
        logger.info(
            "%s: %d of %d images looked at are turned as EXIF says: their annotations "
            "have the turned picture's size",
            dataset.name,
            turned,
            len(found),
        )
    return [fault for fault, _ in found if fault]


def _inspect(record: Record) -> tuple[str, bool]:
    """Return the fault of an image, "" for none, and whether EXIF turns it."""
    try:
        return "", is_annotated_turned(record.path, (record.width, record.height))
    except ImageError as error:
        return str(error), False
