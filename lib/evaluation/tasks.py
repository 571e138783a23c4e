"""What is measured: boxes, masks, keypoints, and by which of COCO's numbers."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..config.settings import Config
from ..datasets.records import Dataset
from .image_detections import ImageDetections

Task = Literal["bbox", "segm", "keypoints"]
"""IoU of boxes, IoU of masks, object keypoint similarity (OKS)."""

TASKS: tuple[Task, ...] = ("bbox", "segm", "keypoints")

MAX_DETECTIONS: dict[Task, int] = {"bbox": 100, "segm": 100, "keypoints": 20}
"""COCO's number of best detections of an image and class that AP considers."""

AREAS = (32.0, 96.0)
"""Sides in pixels of the squares between COCO's small, medium and large objects."""

COCO_SIGMAS = tuple(
    tenfold / 10  # as in pycocotools, to the bit
    for tenfold in (
        *(0.26, 0.25, 0.25, 0.35, 0.35, 0.79, 0.79, 0.72, 0.72),
        *(0.62, 0.62, 1.07, 1.07, 0.87, 0.87, 0.89, 0.89),
    )
)
"""Spread of annotators per keypoint of COCO's persons, relative to the object."""

IOU_THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())
"""0.50, 0.55, ... 0.95, the floats that COCO's own code makes of them."""

SIGMA = 0.05
"""The spread that other keypoints have unless one is given."""


@dataclass(frozen=True)
class CocoParameters:
    """Parameters of COCO's evaluation; the defaults are COCO's own.

    Attributes:
        iou_thresholds: overlaps in (0, 1] that a match must reach. AP and AR are
            averages over them; AP50 and AP75 are NaN without theirs.
        max_detections: number of best detections of an image and class to consider; if
            None, 100, and 20 for keypoints.
        areas: sides in pixels of the squares that separate small, medium and large
            objects.
        sigmas: spread of each keypoint, or one for all; see ``keypoint_sigmas``.

    Raises:
        ValueError: a threshold is outside (0, 1], the limit is below 1, or the areas do
            not ascend.
    """

    iou_thresholds: Sequence[float] = IOU_THRESHOLDS
    max_detections: int | None = None
    areas: tuple[float, float] = AREAS
    sigmas: Sequence[float] = ()

    def __post_init__(self) -> None:
        thresholds, (low, high) = list(self.iou_thresholds), self.areas
        if not thresholds or not all(0 < t <= 1 for t in thresholds):
            raise ValueError(f"expected IoUs in (0, 1], found {thresholds}")
        if self.max_detections is not None and self.max_detections < 1:
            raise ValueError(
                f"expected max_detections of 1 or more, found {self.max_detections}"
            )
        if not 0 < low < high:
            raise ValueError(
                f"expected two ascending sides of areas, found {[low, high]}"
            )

    def limit(self, task: Task) -> int:
        """Return the number of detections of an image and class to consider."""
        return self.max_detections or MAX_DETECTIONS[task]


COCO = CocoParameters()
"""COCO's own parameters."""


def coco_parameters(config: Config) -> CocoParameters:
    """Return the parameters that a run's configuration sets."""
    return CocoParameters(
        max_detections=config.test.max_detections,
        areas=config.test.areas,
        sigmas=config.keypoint.sigmas,
    )


def keypoint_sigmas(count: int, given: Sequence[float] = ()) -> tuple[float, ...]:
    """Return the spread of each of ``count`` keypoints.

    Args:
        count: K.
        given: K numbers, or one for all keypoints. Without any, COCO's if K is 17,
            else ``SIGMA``.

    Raises:
        ValueError: there are neither K numbers nor one, or one is not positive.
    """
    if not given:
        return COCO_SIGMAS if count == len(COCO_SIGMAS) else (SIGMA,) * count
    if len(given) not in (1, count) or not all(sigma > 0 for sigma in given):
        raise ValueError(
            f"expected {count} positive sigmas or one for all, found {list(given)}; "
            "give one for each keypoint of the data set (keypoint.sigmas)"
        )
    return tuple(given) if len(given) == count else (given[0],) * count


def predicted_tasks(detections: Sequence[ImageDetections]) -> tuple[Task, ...]:
    """Return the tasks that detections can be measured by, in order."""
    tasks: tuple[Task, ...] = ("bbox",)
    if any(entry.masks is not None for entry in detections):
        tasks += ("segm",)
    if any(entry.keypoints is not None for entry in detections):
        tasks += ("keypoints",)
    return tasks


def settle_tasks(
    dataset: Dataset,
    detections: Sequence[ImageDetections],
    tasks: Sequence[Task] | None = None,
) -> tuple[Task, ...]:
    """Return the tasks to measure, in the order of ``TASKS``.

    Args:
        tasks: requested tasks; if None, all that the data set and the detections have.

    Raises:
        ValueError: a task is unknown, or the data set or the detections lack it.
    """
    predicted, annotated = predicted_tasks(detections), {"bbox"}
    if dataset.has_masks:
        annotated.add("segm")
    if dataset.keypoints is not None:
        annotated.add("keypoints")
    if tasks is None:
        return tuple(task for task in predicted if task in annotated)
    if not tasks or set(tasks) - set(TASKS):
        raise ValueError(
            f"expected one or more of the tasks {', '.join(TASKS)}, found {list(tasks)}"
        )
    owners: dict[str, Collection[str]] = {
        dataset.name: annotated,
        "the detections": predicted,
    }
    for task in tasks:
        what = "masks" if task == "segm" else "keypoints"
        for owner, known in owners.items():
            if task not in known:
                raise ValueError(
                    f"cannot measure {task}: found no {what} in {owner}; leave out "
                    f"{task} (--eval)"
                )
    return tuple(task for task in TASKS if task in tasks)
