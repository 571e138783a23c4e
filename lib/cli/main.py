"""Find the command that a command line names, and pass it the remaining words."""

import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module, metadata
from pathlib import Path
from typing import NamedTuple

from ..utils.monitoring.logs import setup_logging
from ..utils.printable import printable, show
from .parser import nearest

logger = logging.getLogger(__name__)


class Command(NamedTuple):
    """A command of ``frcnn``.

    Attributes:
        module: module of this package with ``main(arguments)``, and of `arguments`
            with ``build_parser(prog)``.
    """

    module: str
    summary: str


COMMANDS = {
    "train": Command("train", "train a detector, then test it"),
    "alternating": Command("alternating", "train in the paper's four steps, then test"),
    "test": Command("test", "test a checkpoint: per-class AP and mAP, detections"),
    "reval": Command("reval", "evaluate saved detections again, without the network"),
    "detect": Command("demo", "detect objects in pictures and videos"),
    "demo": Command("demo", "the same, and with --serve on a page in the browser"),
    "serve": Command("serve", "answer requests with pictures over HTTP"),
    "export": Command("export", "torch.export program, AOTInductor, ONNX or OpenVINO"),
    "publish": Command("publish", "make a checkpoint ready for others"),
    "convert": Command("convert", "recognise a file of weights, and convert it"),
    "fetch data": Command("fetch_data", "fetch and unpack public data sets"),
    "fetch weights": Command("fetch_weights", "fetch published weights"),
    "check": Command("check", "check a data set before anything is trained on it"),
    "split": Command("split", "write lists of the images of each set"),
    "browse": Command("browse", "show the network's input in training"),
    "plot": Command("plot", "plot the curves of several runs together"),
    "tensorboard": Command("tensorboard", "open TensorBoard on the runs"),
}

_FIRST_STEPS = """\
frcnn train DATA [NET]            train on a folder of pictures, then test
frcnn test DATA                   test the newest detector again
frcnn detect CHECKPOINT PICTURES  find objects in pictures and videos
frcnn check DATA                  look for faults in a data set
frcnn export CHECKPOINT           write a file that runs without this package
frcnn demo CHECKPOINT --serve     try a detector in the browser

frcnn --help lists all commands; frcnn COMMAND --help shows the options of one."""

PROG = "FRCNN_PROG"
"""Environment variable with the name by which a shell script was called."""


def main(words: Sequence[str] | None = None) -> None:
    """Run ``frcnn`` with the words of a command line, by default this process's."""
    words = sys.argv[1:] if words is None else words
    if not words:
        show(_FIRST_STEPS)
    elif words[0] in ("-h", "--help", "help"):
        show(overview())
    elif words[0] == "--version":
        show(f"frcnn {metadata.version('faster-rcnn')}")
    else:
        for count in (2, 1):
            name = " ".join(words[:count])
            if name in COMMANDS:
                run(name, words[count:], prog=f"frcnn {name}")
                return
        _refuse(words)


def door(name: str, file: str) -> None:
    """Run a command for a script of a checkout, with the checkout's data and output.

    Args:
        file: path of the script, in a folder of the checkout.
    """
    checkout = Path(file).resolve().parents[1]
    for variable, folder in (("FRCNN_OUTPUT", "output"), ("FRCNN_DATA", "data")):
        os.environ.setdefault(variable, str(checkout / folder))
    prog = os.environ.pop(PROG, None) or Path(file).name
    run(name, sys.argv[1:], prog=prog)


def run(name: str, words: Sequence[str], *, prog: str) -> None:
    """Run a command.

    Args:
        prog: program name in its help and errors.

    Raises:
        SystemExit: the input is wrong, or the command ends with its own status.
    """
    module = COMMANDS[name].module
    # The parser first: the command's module imports PyTorch, which takes seconds.
    parser = import_module(f".arguments.{module}", __package__).build_parser(prog)
    arguments = parser.parse_args(words)
    if "torch" not in sys.modules:
        setup_logging()
        logger.info("%s: starting", prog)
    import_module(f".{module}", __package__).main(arguments)


def overview() -> str:
    """List the commands, one per line."""
    lines = [f"  {name:<15}{command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: frcnn COMMAND ...",
            "",
            *lines,
            "",
            "frcnn COMMAND --help shows details; frcnn --version prints the version.",
        ]
    )


def _refuse(words: Sequence[str]) -> None:
    """Report which command was not found, or is incomplete."""
    following = [name for name in COMMANDS if name.startswith(f"{words[0]} ")]
    if following:
        problem = f"expected {' or '.join(following)}, found {' '.join(words[:2])}"
        problem += nearest(" ".join(words[:2]), following) if words[1:] else ""
    else:
        problem = f"unknown command {words[0]!r}{nearest(words[0], COMMANDS)}"
    text = f"{overview()}\n\nfrcnn: error: {problem}"
    print(printable(text, lines=True), file=sys.stderr)
    sys.exit(2)
