"""Select the saved detections to evaluate: by score, class and overlap."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ..datasets.records import Dataset, FloatArray, did_you_mean
from ..nms.nms import nms
from ..nms.soft_nms import Decay, soft_nms
from .image_detections import ImageDetections


def above_score(
    detections: Sequence[ImageDetections], threshold: float | FloatArray
) -> list[ImageDetections]:
    """Keep detections that score more than a threshold, or than their class's ``(C,)``.

    As in a test, scores must exceed it.
    """
    if isinstance(threshold, np.ndarray):
        return [e.pick(e.scores > threshold[e.classes]) for e in detections]
    return [entry.pick(entry.scores > threshold) for entry in detections]


def best_of_image(
    detections: Sequence[ImageDetections], count: int
) -> list[ImageDetections]:
    """Keep the ``count`` best-scored detections of each image."""
    return [
        entry.pick(np.argsort(-entry.scores, kind="stable")[:count])
        for entry in detections
    ]


def only_classes(
    dataset: Dataset, detections: Sequence[ImageDetections], names: Sequence[str]
) -> tuple[Dataset, list[ImageDetections]]:
    """Keep the objects and detections of some classes, as if there were no others.

    Args:
        names: names of classes; the data set's order is kept.

    Raises:
        ValueError: the data set has no such class.
    """
    for name in names:
        if name not in dataset.classes[1:]:
            raise ValueError(
                f"{dataset.name} has no class {name!r}"
                f"{did_you_mean(name, dataset.classes[1:])}; it has "
                f"{', '.join(dataset.classes[1:])}"
            )
    kept = [0, *(c for c, name in enumerate(dataset.classes) if name in names)]
    number = np.zeros(len(dataset.classes), np.int64)  # 0 for classes not selected
    number[kept] = np.arange(len(kept))
    records = []
    for record in dataset.records:
        own = number[record.classes] > 0
        masks, keypoints = record.masks, record.keypoints
        records.append(
            replace(
                record,
                boxes=record.boxes[own],
                classes=number[record.classes[own]],
                difficult=record.difficult[own],
                crowd=record.crowd[own],
                areas=record.areas[own],
                object_ids=record.object_ids[own],
                masks=masks and tuple(itertools.compress(masks, own)),
                keypoints=None if keypoints is None else keypoints[own],
            )
        )
    found = [entry.pick(number[entry.classes] > 0) for entry in detections]
    return (
        replace(
            dataset,
            classes=tuple(dataset.classes[c] for c in kept),
            category_ids=tuple(dataset.category_ids[c] for c in kept),
            records=tuple(records),
        ),
        [replace(entry, classes=number[entry.classes]) for entry in found],
    )


def suppress(
    detections: Sequence[ImageDetections], *, threshold: float
) -> list[ImageDetections]:
    """Suppress again: drop each box that overlaps a better one of its class.

    Args:
        detections: result of an earlier suppression. Only a stricter one has an effect.
        threshold: IoU of pixel edges above which a box is dropped.
    """
    result = []
    for entry in detections:
        picked, kept = nms(**_batch_of_one(entry), threshold=threshold)
        result.append(entry.pick(picked[kept].numpy()))
    return result


def suppress_softly(
    detections: Sequence[ImageDetections], decay: Decay
) -> list[ImageDetections]:
    """Lower the score of boxes that overlap a better one of their class."""
    result = []
    for entry in detections:
        picked, kept, scores = soft_nms(**_batch_of_one(entry), decay=decay)
        rows = entry.pick(picked[kept].numpy())
        result.append(replace(rows, scores=scores[kept].numpy()))
    return result


def _batch_of_one(entry: ImageDetections) -> dict[str, Any]:
    """Return the arguments of suppression for one image, class by class."""
    scores = torch.tensor(entry.scores)[None]
    return {
        "boxes": torch.tensor(entry.boxes)[None],
        "scores": scores,
        "valid": torch.ones_like(scores, dtype=torch.bool),
        "groups": torch.tensor(entry.classes)[None],
        "max_outputs": len(entry.scores),
    }
