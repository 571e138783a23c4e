"""Plot the curves of several runs together: losses, learning rate, AP.

A run is given by its folder, output/<net>/<train set>/<tag>. The command writes an
image, and a page that works offline, on which runs can be hidden and the last values
sorted.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from ..evaluation.page.run_page import write_run_plots
from ..utils.monitoring.curves import read_runs
from .parser import Parser
from .roots import output_root
from .user_errors import clear_errors

logger = logging.getLogger(__name__)


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


def main(words: Sequence[str] | None = None, prog: str = "frcnn plot") -> None:
    """Read the curves of the runs, and plot them."""
    arguments = build_parser(prog).parse_args(words)
    with clear_errors():
        runs = read_runs(arguments.runs)
        window = arguments.smooth
        if window is None:
            last = [c.iterations[-1] for run in runs for c in run.curves.values()]
            window = int(max(last)) // 50
        if window < 0:
            raise ValueError(f"--smooth: expected 0 or more iterations, found {window}")
        files = write_run_plots(
            arguments.output, runs, window=window, wanted=arguments.curves
        )
        logger.info("curves of %d runs: %s and %s", len(runs), *files)
