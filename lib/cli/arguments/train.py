"""Train a detector, then test its final checkpoint, or the best if it validates."""

import argparse
from pathlib import Path

from ..parser import Parser
from .shared import add_arguments, add_process_arguments, add_training_arguments


def build_parser(prog: str | None = None) -> Parser:
    """Create the argument parser of frcnn train."""
    parser = Parser(prog=prog, description=__doc__)
    add_arguments(parser)
    add_training_arguments(parser)
    add_process_arguments(parser)
    _add_dry_run_arguments(parser)
    _add_profile_arguments(parser)
    parser.add_argument("--no-test", action="store_true", help="only train")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="expect a checkpoint of this run to continue from; without the option, a "
        "run continues if there is one, and begins otherwise",
    )
    parser.add_argument(
        "--extend",
        action="store_true",
        help="continue the run --tag for more iterations, or at another rate or "
        "schedule, given by --iters and --set (docs/training.md)",
    )
    return parser


def _add_dry_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of a dry run."""
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="show parameters, FLOPs, memory, schedule and the first batch, make one "
        "forward and backward pass, and stop",
    )
    parser.add_argument(
        "--picture",
        type=Path,
        metavar="FILE",
        help="where --dry-run draws the first batch (.jpg or .png); default: "
        "first_batch.jpg in the run's folder",
    )


def _add_profile_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of a profile."""
    parser.add_argument(
        "--profile",
        action="store_true",
        help="time some updates by stage, and trace some more, into profile/ of the "
        "run's folder",
    )
    parser.add_argument(
        "--profile-updates",
        type=int,
        default=5,
        metavar="N",
        help="updates that --profile times, after as many of warm-up; default: 5",
    )
