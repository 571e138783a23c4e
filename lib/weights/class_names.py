"""Class names of published detectors, whose files contain only their number."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..datasets.allowed_names import check_class_names
from ..datasets.formats.voc import VOC_CLASSES
from ..datasets.records import BACKGROUND, KeypointNames, few
from ..evaluation.image_detections import ImageDetections
from .checkpoint import CheckpointError

# In the order of COCO's category ids, which have gaps.
COCO_CLASSES = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck"),
    *("boat", "traffic light", "fire hydrant", "stop sign", "parking meter", "bench"),
    *("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra"),
    *("giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee"),
    *("skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove"),
    *("skateboard", "surfboard", "tennis racket", "bottle", "wine glass", "cup"),
    *("fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange"),
    *("broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch"),
    *("potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse"),
    *("remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink"),
    *("refrigerator", "book", "clock", "vase", "scissors", "teddy bear"),
    *("hair drier", "toothbrush"),
)
# Ids from 1 to 90 that COCO does not use.
_GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)


_names = iter(COCO_CLASSES)
COCO_IDS = tuple(f"N/A {i}" if i in _GAPS else next(_names) for i in range(1, 91))
"""Names for the ids from 1 to 90: the classes of torchvision's detectors."""

_SIDES = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
COCO_KEYPOINTS = KeypointNames(
    ("nose", *(f"{side}_{part}" for part in _SIDES for side in ("left", "right"))),
    tuple((left, left + 1) for left in range(1, 17, 2)),
    (
        *((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6)),
        *((5, 7), (6, 8), (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4)),
        *((3, 5), (4, 6)),
    ),
)
"""COCO's keypoints of a person."""


def read_classes(
    given: str | None, num_classes: int, *, persons: bool = False
) -> list[str]:
    """Return the names of a detector's classes, background first.

    Args:
        given: names separated by commas, or a file with one per line, without
            background. If None, the number of classes selects those of VOC, of COCO, or
            of COCO's category ids with their gaps as in torchvision's detectors.
        num_classes: number of classes, background included.
        persons: whether a single class is COCO's persons, as with their keypoints.

    Raises:
        CheckpointError: no names are given, and the number is not VOC's or COCO's; or
            the given names differ in number from the classes, or repeat.
        ValueError: a name is invalid.
    """
    if given is None:
        alone = (("person",),) if persons else ()
        for known in (VOC_CLASSES, COCO_CLASSES, COCO_IDS, *alone):
            if len(known) == num_classes - 1:
                return [BACKGROUND, *known]
        raise CheckpointError(
            f"the detector has {num_classes - 1} classes, neither VOC's 20 nor COCO's "
            "80 or 90; name them, in order, with --classes NAMES or --classes FILE"
        )
    path = Path(given)
    lines = path.read_text("utf-8").splitlines() if path.is_file() else given.split(",")
    names = [line.strip() for line in lines if line.strip()]
    if len(names) != num_classes - 1 or len(set(names)) != len(names):
        raise CheckpointError(
            f"--classes: expected {num_classes - 1} names, all different, found "
            f"{len(names)}: {few(names)}; leave the background out"
        )
    check_class_names([BACKGROUND, *names], "--classes")
    return [BACKGROUND, *names]


def coco_category_ids(classes: Sequence[str]) -> list[int]:
    """Return the id of each class, background first: COCO's if it has COCO's 80.

    Other ids are the indices of the classes.
    """
    if tuple(classes[1:]) == COCO_CLASSES:
        return [0, *(COCO_IDS.index(name) + 1 for name in classes[1:])]
    return list(range(len(classes)))


def class_places(known: Sequence[str], wanted: Sequence[str]) -> list[int] | None:
    """Find the classes that a detector knows among those of a data set.

    Args:
        known: names of the detector's classes, background first; torchvision's ten
            more than COCO's 80.
        wanted: names of the data set's classes, background first.

    Returns:
        For each known class its index among the wanted ones, 0 if it is not wanted;
        None if the detector lacks a wanted class.
    """
    if not set(wanted) <= set(known):
        return None
    return [wanted.index(name) if name in wanted else 0 for name in known]


def in_places(found: ImageDetections, places: Sequence[int]) -> ImageDetections:
    """Map detections in an image to the places from `class_places`; drop the others."""
    classes = np.asarray(places, np.int64)[found.classes]
    wanted = classes > 0
    return replace(found.pick(wanted), classes=classes[wanted])
