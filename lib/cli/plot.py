"""Plot the curves of several runs together: losses, learning rate, AP."""

import argparse
import logging

from ..evaluation.page.run_page import write_run_plots
from ..utils.monitoring.curves import differing_settings, read_runs
from .user_errors import clear_errors

logger = logging.getLogger(__name__)


def main(arguments: argparse.Namespace) -> None:
    """Read the curves of the runs, and plot them."""
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
        for key, values in differing_settings(runs).items():
            listed = ", ".join(
                f"{r.name} {v}" for r, v in zip(runs, values, strict=True)
            )
            logger.info("%s differs: %s", key, listed)
        logger.info("curves of %d runs: %s and %s", len(runs), *files)
