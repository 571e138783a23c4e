"""Open TensorBoard on a folder of runs."""

import sys
from collections.abc import Sequence

from .roots import output_root


def main(words: Sequence[str] | None = None, prog: str = "frcnn tensorboard") -> None:
    """Serve the runs; further arguments go to TensorBoard, such as ``--port``."""
    from tensorboard import main as tensorboard

    words = sys.argv[1:] if words is None else words
    sys.argv = [prog, "--logdir", str(output_root()), *words]
    tensorboard.run_main()
