"""Detect objects in pictures, videos, cameras; or on a page, with --serve."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..demo.folder import checkpoint_settings, detect_into
from ..demo.run import DemoOptions
from ..demo.server import serve
from ..demo.sources import find_items, read_list
from ..detector import Detector
from ..detector.from_checkpoint import find_checkpoint
from ..utils.device import keep_freed_memory
from .parser import Parser, add_overrides, count
from .roots import output_root
from .user_errors import clear_errors

_EPILOG = (
    "Exit status: 0 all done, 1 some files failed (listed at the end), 2 wrong input, "
    "130 stopped; the same command then resumes."
)


def build_parser(prog: str | None = None) -> Parser:
    """Create the argument parser of frcnn demo."""
    parser = Parser(prog=prog, description=__doc__, epilog=_EPILOG)
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
    add("--classes", metavar="A,B", help="detect only these; default: all")
    add("--show", action="store_true", help="also in a window: q ends, others continue")
    add(
        "--frames",
        type=count,
        metavar="N",
        help="frames of a camera, default: until Ctrl-C",
    )
    add(
        "--batch",
        type=count,
        metavar="N",
        help="images at once; default 8 on CUDA, else 1",
    )
    add("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"))
    add("--precision", default="auto", choices=("auto", "float32", "bfloat16"))
    add("--compile", action="store_true", help="slow to start, then faster on a GPU")
    add_overrides(parser, "test.nms_threshold 0.5")
    add("--serve", action="store_true", help="show a page for one picture at a time")
    add("--port", type=int, default=8000, help="port of the page, default 8000")
    return parser


def main(words: Sequence[str] | None = None, prog: str = "frcnn demo") -> None:
    """Find the sources, load the detector, write the detections."""
    parser = build_parser(prog)
    arguments = parser.parse_args(words)
    if bool(arguments.sources) == arguments.serve:
        parser.error("give either SOURCE... or --serve")
    keep_freed_memory()
    with clear_errors():
        checkpoint = find_checkpoint(arguments.checkpoint)
        folder = arguments.output or default_output(checkpoint)
        listed = read_list(sys.stdin.buffer) if "-" in arguments.sources else []
        items = find_items(arguments.sources, listed=listed, output=folder)
        detector = Detector.from_checkpoint(
            checkpoint,
            device=arguments.device,
            precision=arguments.precision,
            compile=arguments.compile,
            overrides=arguments.overrides,
        )
        if arguments.serve:
            serve(detector, name=checkpoint.name, port=arguments.port)
            return
        settings = checkpoint_settings(checkpoint, arguments.overrides)
        good = detect_into(
            folder,
            items,
            detector,
            settings={**settings, "precision": arguments.precision},
            options=DemoOptions(
                threshold=arguments.threshold,
                classes=arguments.classes and arguments.classes.split(","),
                batch=arguments.batch,
                drawn=not arguments.no_pictures,
                as_json=arguments.json,
                frames=arguments.frames,
            ),
            show=arguments.show,
        )
        sys.exit(0 if good else 1)


def default_output(checkpoint: Path) -> Path:
    """Return a folder for a checkpoint's results, which includes the run's name."""
    place = checkpoint.resolve().parent
    run = f"{place.parent.name}-" if place.name == "checkpoints" else ""
    return output_root() / "demo" / f"{run}{checkpoint.stem}"


def _score(text: str) -> float:
    try:
        if 0 <= float(text) <= 1:
            return float(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, found {text!r}")
