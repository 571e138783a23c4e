"""Open TensorBoard on a folder of runs."""

import argparse
import sys

from tensorboard import main as tensorboard

from .roots import output_root


def main(arguments: argparse.Namespace) -> None:
    """Serve the runs; the command's words go to TensorBoard, such as ``--port``."""
    words = ["--logdir", str(output_root()), *arguments.words]
    sys.argv = [arguments.prog, *words]
    tensorboard.run_main()
