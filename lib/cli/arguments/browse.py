"""Show what the network is trained on: contact sheets of augmented batches.

The images are the batches of a training run with the same arguments, from its first
iteration on, including padding (black). Grey boxes are visible objects that are not
trained on: crowds, difficult objects, and objects of which a crop leaves too little.
"""

from pathlib import Path

from ..parser import Parser, count
from .shared import add_arguments, add_training_arguments


def build_parser(prog: str | None = None) -> Parser:
    """Create the parser: arguments of a training run, and of the sheets."""
    parser = Parser(prog=prog, description=__doc__, conflict_handler="resolve")
    add_arguments(parser)
    add_training_arguments(parser)
    for option, default, text in (
        ("--count", 24, "images to show"),
        ("--columns", 4, "images in a row"),
        ("--rows", 6, "rows of a sheet"),
        ("--size", 400, "longer side of an image in pixels"),
    ):
        parser.add_argument(
            option,
            type=count,
            default=default,
            help=f"{text}; default: {default}",
        )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help=".jpg or .png; if there are more sheets than one, their number is added; "
        "default: output/browse/DATASET_NET.jpg",
    )
    return parser
