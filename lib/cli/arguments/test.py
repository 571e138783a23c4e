"""Test a checkpoint: print per-class AP and mAP, save detections and pictures."""

import argparse
from pathlib import Path

from ..parser import Parser
from .evaluation import add_evaluation_arguments
from .results import add_result_arguments
from .shared import add_arguments, add_process_arguments


def build_parser(prog: str | None = None) -> Parser:
    """Create the argument parser of frcnn test."""
    parser = Parser(prog=prog, description=__doc__, check=_check)
    add_arguments(parser, optional_dataset=True)
    add_process_arguments(parser, sharing=True)
    add_evaluation_arguments(parser)
    parser.set_defaults(eval=None)  # decided by the checkpoint's network
    parser.add_argument(
        "--split",
        default="test",
        choices=("train", "trainval", "val", "test"),
        help="split of DATASET to test on; train for the proposals that Fast R-CNN "
        "alone is trained on (docs/proposals.md), trainval with the validation images "
        "too. Default: test",
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE|NAME",
        help="a checkpoint, a detector of another program, or a name from docs/zoo.md; "
        "default: the newest one of the run --tag, or of the newest run; best: the "
        "best one in validation. With a file, DATASET may be left out",
    )
    add_result_arguments(parser)
    parser.add_argument(
        "--show-dir",
        type=Path,
        metavar="DIR",
        help="folder for a picture of every image, its ground truth and detections",
    )
    return parser


def _check(arguments: argparse.Namespace) -> str | None:
    if arguments.dataset is None and arguments.checkpoint in (None, Path("best")):
        return "give DATASET, or --checkpoint FILE for the test set of its run"
    return None
