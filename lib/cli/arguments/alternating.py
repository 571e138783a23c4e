"""Train a detector in the four alternating steps of Faster R-CNN, section 3.2.

1. A region proposal network, from the initial weights.
2. Fast R-CNN on its proposals, from the same initial weights: nothing is shared yet.
3. A region proposal network on the backbone of step 2, which is frozen.
4. Fast R-CNN, continued from step 2 with a frozen backbone, on the proposals of step 3.

The layers of steps 3 and 4 then form one detector, which is tested like any other. Each
step is a run of its own: the same command resumes where an earlier one stopped.
"""

import argparse

from ..parser import Parser
from .shared import add_arguments, add_process_arguments, add_training_arguments


def build_parser(prog: str | None = None) -> Parser:
    """Create the argument parser of frcnn alternating."""
    parser = Parser(
        prog=prog,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    add_training_arguments(parser)
    add_process_arguments(parser)
    parser.add_argument(
        "--step-iters",
        type=int,
        nargs=4,
        metavar="N",
        help="updates of each of the four steps; default: --iters, or the recipe's",
    )
    parser.add_argument("--no-test", action="store_true", help="only train")
    return parser
