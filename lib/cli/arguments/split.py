"""Write the split of a data set as lists of images, one for each of its sets.

Each line is the path of an image, relative to the folder of the data. Images that
nobody has split are split as in training; the same choice is used from then on.
"""

from pathlib import Path

from ..parser import Parser


def build_parser(prog: str | None = None) -> Parser:
    """Create the argument parser of frcnn split."""
    parser = Parser(prog=prog, description=__doc__)
    parser.add_argument(
        "dataset", metavar="DATASET", help="the path of a folder, as for frcnn train"
    )
    parser.add_argument(
        "--shares",
        help="shares of training, validation and test images, such as 0.8/0.1/0.1, for "
        "images without a split; default: those of an earlier call, at first 0.8/0.2",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="folder for train.txt, val.txt, test.txt; default: output/split/DATASET",
    )
    return parser
