"""The arguments of the demo."""

import argparse
from pathlib import Path

from .parser import Parser
from .roots import output_root

_DESCRIPTION = (
    "Detect objects in pictures, videos, cameras; or on a page, with --serve."
)
_EPILOG = (
    "Exit status: 0 all done, 1 some files failed (listed at the end), 2 wrong input, "
    "130 stopped; the same command then resumes."
)


def build_parser(prog: str | None = None) -> Parser:
    """Create the argument parser of frcnn demo."""
    parser = Parser(prog=prog, description=_DESCRIPTION, epilog=_EPILOG)
    add = parser.add_argument
    add("checkpoint", help="a .pth file, a run's folder, or a name of the model zoo")
    add(
        "sources",
        metavar="SOURCE",
        nargs="*",
        help="pictures, videos, folders, patterns in quotes, a camera's number, or - "
        "for paths on stdin",
    )
    add("--output", type=Path, help="folder of results; default output/demo/CHECKPOINT")
    add("--json", action="store_true", help="a JSON file of each, and one of all")
    add("--no-pictures", action="store_true", help="draw nothing, only write JSON")
    add(
        "--threshold",
        type=_score,
        default=0.5,
        help="scores must exceed it, default 0.5",
    )
    add("--classes", metavar="A,B", help="only these; default: all")
    add("--show", action="store_true", help="in a window too: a key goes on, q ends")
    add("--frames", type=_count, metavar="N", help="of a camera, default: till Ctrl-C")
    add("--batch", type=_count, metavar="N", help="at once; default 8 on CUDA, else 1")
    add("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"))
    add("--precision", default="auto", choices=("auto", "float32", "bfloat16"))
    add("--compile", action="store_true", help="slow to start, then faster on a GPU")
    add(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        dest="overrides",
        metavar=("SECTION.KEY", "VALUE"),
        help="settings on top, e.g. --set test.nms_threshold 0.5",
    )
    add("--serve", action="store_true", help="show a page for one picture at a time")
    add("--port", type=int, default=8000, help="port of the page, default 8000")
    return parser


def default_output(checkpoint: Path) -> Path:
    """Return a folder for a checkpoint's results, which includes the run's name."""
    place = checkpoint.resolve().parent
    run = f"{place.parent.name}-" if place.name == "checkpoints" else ""
    return output_root() / "demo" / f"{run}{checkpoint.stem}"


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number, found {text!r}")
    return int(text)


def _score(text: str) -> float:
    try:
        if 0 <= float(text) <= 1:
            return float(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, found {text!r}")
