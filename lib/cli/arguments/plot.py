"""Plot the curves of several runs together: losses, learning rate, AP.

A run is given by its folder, output/<net>/<train set>/<tag>. The command writes an
image, and a page that works offline, on which runs can be hidden and the last values
sorted.
"""

from pathlib import Path

from ..parser import Parser
from ..roots import output_root


def build_parser(prog: str | None = None) -> Parser:
    """Create the parser: the runs, and how to plot them."""
    parser = Parser(prog=prog, description=__doc__)
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="folder of a run"
    )
    parser.add_argument(
        "--smooth",
        type=int,
        metavar="N",
        help="iterations to average curves over, 0 for none; default: a fiftieth "
        "of the longest run",
    )
    parser.add_argument(
        "--curves",
        nargs="+",
        default=[],
        metavar="NAME",
        help="curves to plot, by their names in metrics.jsonl; default: losses, lr and "
        "the results of tests and validations",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=output_root() / "curves",
        metavar="STEM",
        help="STEM.png and STEM.html are written; default: %(default)s",
    )
    return parser
