"""Download, verify and unpack public data sets, except those that are there already.

The same command resumes an interrupted download.
"""

from pathlib import Path

from ...datasets.archives import ARCHIVES
from ..parser import Parser
from ..roots import data_root


def build_parser(prog: str | None = None) -> Parser:
    """Create the argument parser of frcnn fetch data."""
    parser = Parser(prog=prog, description=__doc__)
    parser.add_argument(
        "datasets",
        nargs="+",
        metavar="DATASET",
        choices=tuple(ARCHIVES),
        help="voc (2007), voc0712, coco (2017)",
    )
    parser.add_argument(
        "--root",
        type=Path,
        default=data_root(),
        metavar="DIR",
        help="destination: data.root of frcnn train; default: %(default)s",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print the steps, and do nothing"
    )
    return parser
