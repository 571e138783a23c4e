"""Options of the evaluation, for the tools that evaluate detections."""

import argparse
from collections.abc import Sequence
from typing import cast, get_args

import numpy as np

from ...evaluation.coco_evaluators import Evaluator
from ...evaluation.results_summary import Measure, Rules
from ...evaluation.tasks import TASKS, Task

RULES: tuple[Rules, ...] = get_args(Rules)


def add_evaluation_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --eval, --evaluator and --comp."""
    parser.add_argument(
        "--eval",
        nargs="+",
        default=["detection"],
        choices=(*get_args(Measure), *TASKS),
        help="measure average precision of boxes, masks and keypoints (bbox segm "
        "keypoints; detection: all that there are), or average recall of proposals "
        "(proposal, in other programs proposal_fast); default: detection",
    )
    parser.add_argument(
        "--evaluator",
        default="hotcoco",
        choices=get_args(Evaluator),
        help="implementation of COCO's numbers; both agree, pycocotools is slow",
    )
    parser.add_argument(
        "--comp",
        metavar="NAME",
        help="write VOC's result files of this competition, such as comp4",
    )


def split_measures(
    words: Sequence[str] | None,
) -> tuple[Measure | None, tuple[Task, ...] | None]:
    """Split the words of --eval into what is measured and, of detections, the tasks.

    Raises:
        ValueError: they combine proposals with something else.
    """
    if not words:
        return None, None
    tasks = tuple(word for word in words if word in TASKS)
    others = {cast(Measure, word) for word in words if word not in TASKS}
    if len(others) + bool(tasks) > 1:
        raise ValueError(
            f"--eval {' '.join(words)} combines what different tests measure; give one "
            f"of {', '.join(get_args(Measure))}, or some of {', '.join(TASKS)}"
        )
    return (others.pop() if others else "detection"), tasks or None


def iou_list(text: str) -> tuple[float, ...]:
    """Parse ``0.5``, ``0.3,0.5,0.7``, ``0.5:0.95`` (in steps of 0.05) or with a step.

    Raises:
        ArgumentTypeError: the text is none of these, or not between 0 and 1.
    """
    try:
        if ":" in text:
            first, last, *step = map(float, text.split(":"))
            (step_size,) = step or [0.05]
            count = round((last - first) / step_size) + 1
            ious = tuple(np.linspace(first, last, count).tolist())
        else:
            ious = tuple(float(word) for word in text.split(","))
    except (ValueError, ZeroDivisionError):
        ious = ()
    if not ious or not all(0 < iou < 1 for iou in ious):
        raise argparse.ArgumentTypeError(
            f"expected IoUs between 0 and 1 such as 0.3,0.5 or 0.5:0.95, found {text!r}"
        )
    return ious
