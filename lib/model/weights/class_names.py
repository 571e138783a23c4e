"""Names of the classes of published detectors, whose files hold only their number."""

from pathlib import Path

from ...datasets.formats.voc import VOC_CLASSES
from ...datasets.records import BACKGROUND
from ..checkpoint import CheckpointError
from .fit import few

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


def read_classes(given: str | None, num_classes: int) -> list[str]:
    """Names of a detector's classes, background first.

    Args:
        given: names separated by commas, or a file with one per line, without
            background; None for those of VOC or COCO, by their number.
        num_classes: with background.

    Raises:
        CheckpointError: none are given, and the number is neither VOC's nor COCO's; or
            others are given than there are classes, or one twice.
    """
    if given is None:
        for known in (VOC_CLASSES, COCO_CLASSES):
            if len(known) == num_classes - 1:
                return [BACKGROUND, *known]
        raise CheckpointError(
            f"the detector has {num_classes - 1} classes, neither VOC's 20 nor COCO's "
            "80; name them, in order, with --classes NAMES or --classes FILE"
        )
    path = Path(given)
    lines = path.read_text("utf-8").splitlines() if path.is_file() else given.split(",")
    names = [line.strip() for line in lines if line.strip()]
    if len(names) != num_classes - 1 or len(set(names)) != len(names):
        raise CheckpointError(
            f"--classes: expected {num_classes - 1} names, all different, found "
            f"{len(names)}: {few(names)}; leave the background out"
        )
    return [BACKGROUND, *names]
